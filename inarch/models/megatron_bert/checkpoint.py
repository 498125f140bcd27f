"""MegatronBERT as transformers stores it (models/megatron_bert/modeling_megatron_bert.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    PADDING_ROW,
    choice,
    field,
    probability,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, unused
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="megatron-bert",
    architecture="MegatronBertModel",
    prefix="bert.",
    config=[
        field("vocab_size", "vocabulary_size", 29056),
        field("num_hidden_layers", "num_layers", 24),
        field("num_attention_heads", "num_heads", 16),
        field("hidden_size", "hidden_dim", 1024),
        field("intermediate_size", "intermediate_dim", 4096),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 2),
        ENCODER_ONLY,
        PADDING_ROW,
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        under("encoder.layer.{i}", "layer_{i}",
            dense("attention.self.query", "attention/query"),
            dense("attention.self.key", "attention/key"),
            dense("attention.self.value", "attention/value"),
            dense("attention.output.dense", "attention/output"),
            norm("attention.ln", "attention_norm"),
            dense("intermediate.dense", "feed_forward/up"),
            dense("output.dense", "feed_forward/down"),
            norm("ln", "feed_forward_norm")),
        norm("encoder.ln", "final_norm"),
        bert.POSITION_IDS,
    ],
    optional_layers={"pooler": dense("pooler.dense", "pooler")},
    heads={
        "masked_lm": Head(
            ("MegatronBertForMaskedLM", "MegatronBertForPreTraining"),
            weights=[
                dense("cls.predictions.transform.dense", "masked_lm_head/transform"),
                norm("cls.predictions.transform.LayerNorm", "masked_lm_head/transform_norm"),
            ],
            tied=[
                tied("cls.predictions.decoder.weight", ".embeddings.word_embeddings.weight"),
                rule("cls.predictions.bias", "masked_lm_head/output_bias", "v -> v"),
                tied("cls.predictions.decoder.bias", "cls.predictions.bias"),
            ],
            untied=[
                rule("cls.predictions.decoder.weight", "masked_lm_head/output_kernel",
                    "v d -> d v"),
                rule("cls.predictions.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
                unused("cls.predictions.bias", reason="the untied layer has its own bias",
                    like="cls.predictions.decoder.bias"),
            ],
        ),
        "next_sentence": Head(
            ("MegatronBertForNextSentencePrediction", "MegatronBertForPreTraining"),
            weights=dense("cls.seq_relationship", "next_sentence"),
        ),
        "text_classifier": Head(
            ("MegatronBertForSequenceClassification",),
            weights=dense("classifier", "logits"),
            requires=("pooler",),
        ),
        "multiple_choice": Head(
            ("MegatronBertForMultipleChoice",),
            weights=dense("classifier", "logits"),
        ),
        "token_classifier": Head(
            ("MegatronBertForTokenClassification",),
            weights=dense("classifier", "logits"),
        ),
        "question_answering": Head(
            ("MegatronBertForQuestionAnswering",),
            weights=dense("qa_outputs", "logits"),
        ),
    },
)
