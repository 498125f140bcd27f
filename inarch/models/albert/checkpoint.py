"""ALBERT as transformers stores it (models/albert/modeling_albert.py)."""

import inarch.models.bert.checkpoint as bert
from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    field,
    ignored,
    must_be,
    probability,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, unused
from inarch.checkpoints.maps.source import Head, Source

DROPOUT = probability("classifier_dropout_prob", "dropout", 0.1)

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="albert",
    architecture="AlbertModel",
    prefix="albert.",
    config=[
        field("vocab_size", "vocabulary_size", 30000),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 64),
        field("embedding_size", "embedding_dim", 128),
        field("hidden_size", "hidden_dim", 4096),
        field("intermediate_size", "intermediate_dim", 16384),
        field("num_hidden_groups", "num_groups", 1),
        must_be("inner_group_num", 1),
        probability("hidden_dropout_prob", "dropout", 0.0),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.0),
        choice("hidden_act", "activation", "gelu_new", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 2),
        TEXT_ENCODER,
        ignored(
            "down_scale_factor", "gap_size", "layers_to_keep", "net_structure_type",
            "num_memory_blocks",
            reason="settings in Google's configs that no version of the code reads",
        ),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        dense("encoder.embedding_hidden_mapping_in", "embeddings_projection"),
        under("encoder.albert_layer_groups.{g}.albert_layers.0", "layer_{g}",
            dense("attention.query", "attention/query"),
            dense("attention.key", "attention/key"),
            dense("attention.value", "attention/value"),
            dense("attention.dense", "attention/output"),
            norm("attention.LayerNorm", "attention_norm"),
            dense("ffn", "feed_forward/up"),
            dense("ffn_output", "feed_forward/down"),
            norm("full_layer_layer_norm", "feed_forward_norm"), g="num_groups"),
        bert.POSITION_IDS,
    ],
    optional_layers={"pooler": dense("pooler", "pooler")},
    heads={
        "masked_lm": Head(
            ("AlbertForMaskedLM", "AlbertForPreTraining"),
            weights=[
                dense("predictions.dense", "masked_lm_head/transform"),
                norm("predictions.LayerNorm", "masked_lm_head/transform_norm"),
            ],
            tied=[
                rule("predictions.bias", "masked_lm_head/output_bias", "v -> v"),
                tied("predictions.decoder.weight", ".embeddings.word_embeddings.weight"),
                tied("predictions.decoder.bias", "predictions.bias"),
            ],
            untied=[
                rule("predictions.decoder.weight", "masked_lm_head/output_kernel", "v d -> d v"),
                rule("predictions.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
                unused("predictions.bias", reason="the untied decoder has its own bias",
                    like="predictions.decoder.bias"),
            ],
        ),
        "text_classifier": Head(
            ("AlbertForSequenceClassification",), dense("classifier", "logits"),
            config=[DROPOUT], requires=("pooler",),
        ),
        "sentence_order": Head(
            ("AlbertForPreTraining",), dense("sop_classifier.classifier", "sentence_order")
        ),
        "token_classifier": Head(
            ("AlbertForTokenClassification",), dense("classifier", "logits"), config=[DROPOUT],
        ),
        "multiple_choice": Head(("AlbertForMultipleChoice",), dense("classifier", "logits")),
        "question_answering": Head(
            ("AlbertForQuestionAnswering",), dense("qa_outputs", "logits")
        ),
    },
)
