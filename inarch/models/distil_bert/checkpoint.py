"""DistilBERT as transformers stores it (models/distilbert/modeling_distilbert.py)."""

import numpy as np

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    PADDING_ROW,
    choice,
    field,
    must_be,
    probability,
)
from inarch.checkpoints.maps.rule import dense, derived, embedding, norm, rule, tied, under
from inarch.checkpoints.maps.source import Head, Source

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="distilbert",
    architecture="DistilBertModel",
    prefix="distilbert.",
    config=[
        field("vocab_size", "vocabulary_size", 30522),
        field("n_layers", "num_layers", 6, aliases=("num_hidden_layers",)),
        field("n_heads", "num_heads", 12, aliases=("num_attention_heads",)),
        field("dim", "hidden_dim", 768, aliases=("hidden_size",)),
        field("hidden_dim", "intermediate_dim", 3072),
        probability("dropout", "dropout", 0.1),
        probability("attention_dropout", "attention_dropout", 0.1),
        choice("activation", "activation", "gelu", values=ACTIVATIONS),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("sinusoidal_pos_embds", "sinusoidal_positions", False),
        ENCODER_ONLY,
        PADDING_ROW,
        must_be("layer_norm_eps", 1e-12, reason="a constant of the code, which the field repeats"),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        under("transformer.layer.{i}", "layer_{i}",
            dense("attention.q_lin", "attention/query"),
            dense("attention.k_lin", "attention/key"),
            dense("attention.v_lin", "attention/value"),
            dense("attention.out_lin", "attention/output"),
            norm("sa_layer_norm", "attention_norm"),
            dense("ffn.lin1", "feed_forward/up"),
            dense("ffn.lin2", "feed_forward/down"),
            norm("output_layer_norm", "feed_forward_norm")),
        derived("embeddings.position_ids", lambda shape: np.arange(shape[-1]).reshape(shape),
            reason="range of positions"),
    ],
    heads={
        "masked_lm": Head(
            ("DistilBertForMaskedLM",),
            weights=[
                dense("vocab_transform", "masked_lm_head/transform"),
                norm("vocab_layer_norm", "masked_lm_head/transform_norm"),
                rule("vocab_projector.bias", "masked_lm_head/output_bias", "v -> v"),
            ],
            tied=tied("vocab_projector.weight", ".embeddings.word_embeddings.weight"),
            untied=rule("vocab_projector.weight", "masked_lm_head/output_kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("DistilBertForSequenceClassification",),
            weights=[
                dense("pre_classifier", "pre_classifier"),
                dense("classifier", "logits"),
            ],
            config=[probability("seq_classif_dropout", "dropout", 0.2)],
        ),
        "token_classifier": Head(
            ("DistilBertForTokenClassification",), dense("classifier", "logits")
        ),
        "multiple_choice": Head(
            ("DistilBertForMultipleChoice",),
            weights=[
                dense("pre_classifier", "pre_classifier"),
                dense("classifier", "logits"),
            ],
        ),
        "question_answering": Head(
            ("DistilBertForQuestionAnswering",), dense("qa_outputs", "logits"),
            config=[probability("qa_dropout", "dropout", 0.1)],
        ),
    },
)
