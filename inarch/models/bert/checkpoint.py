"""BERT as transformers stores it (models/bert/modeling_bert.py)."""

import numpy as np

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    field,
    ignored,
    probability,
)
from inarch.checkpoints.maps.rule import dense, derived, embedding, norm, rule, tied, under, unused
from inarch.checkpoints.maps.source import Head, Source

# A table to be checked against the reference, line by line.
# fmt: off
AFTER_ATTENTION = [
    dense("attention.output.dense", "attention/output"),
    norm("attention.output.LayerNorm", "attention_norm"),
    dense("intermediate.dense", "feed_forward/up"),
    dense("output.dense", "feed_forward/down"),
    norm("output.LayerNorm", "feed_forward_norm"),
]
POSITION_IDS = derived("embeddings.position_ids",
    lambda shape: np.arange(shape[-1]).reshape(shape), reason="range of positions")
HUGGING_FACE = Source(
    model_type="bert",
    architecture="BertModel",
    prefix="bert.",
    config=[
        field("vocab_size", "vocabulary_size", 30522),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 2),
        TEXT_ENCODER,
        ignored(
            "directionality", "pooler_fc_size", "pooler_num_attention_heads",
            "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
            reason="settings of Google's TensorFlow code that no version reads",
        ),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        under("encoder.layer.{i}", "layer_{i}",
            dense("attention.self.query", "attention/query"),
            dense("attention.self.key", "attention/key"),
            dense("attention.self.value", "attention/value"),
            AFTER_ATTENTION),
        POSITION_IDS,
    ],
    optional_layers={"pooler": dense("pooler.dense", "pooler")},
    heads={
        "masked_lm": Head(
            ("BertForMaskedLM", "BertForPreTraining"),
            weights=[
                dense("cls.predictions.transform.dense", "masked_lm_head/transform"),
                norm("cls.predictions.transform.LayerNorm", "masked_lm_head/transform_norm"),
            ],
            tied=[
                rule("cls.predictions.bias", "masked_lm_head/output_bias", "v -> v"),
                tied("cls.predictions.decoder.weight", ".embeddings.word_embeddings.weight"),
                tied("cls.predictions.decoder.bias", "cls.predictions.bias"),
            ],
            untied=[
                rule("cls.predictions.decoder.weight", "masked_lm_head/output_kernel",
                    "v d -> d v"),
                rule("cls.predictions.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
                unused("cls.predictions.bias", reason="the untied decoder has its own bias",
                    like="cls.predictions.decoder.bias"),
            ],
        ),
        "text_classifier": Head(
            ("BertForSequenceClassification",),
            weights=dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", None)],
            requires=("pooler",),
        ),
        "next_sentence": Head(
            ("BertForNextSentencePrediction", "BertForPreTraining"),
            weights=dense("cls.seq_relationship", "next_sentence"),
        ),
        "token_classifier": Head(
            ("BertForTokenClassification",), dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "multiple_choice": Head(("BertForMultipleChoice",), dense("classifier", "logits")),
        "question_answering": Head(("BertForQuestionAnswering",), dense("qa_outputs", "logits")),
    },
)
