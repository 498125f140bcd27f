"""MPNet as transformers stores it (models/mpnet/modeling_mpnet.py)."""

from dataclasses import replace

import inarch.models.bert.checkpoint as bert
import inarch.models.roberta.checkpoint as roberta
from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    choice,
    constant,
    field,
    must_be,
    probability,
    table_rows,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, under
from inarch.checkpoints.maps.source import Head, Source

PADDING = constant("padding_id", 1)  # whatever pad_token_id is
MASKED_LM = roberta.ROBERTA.heads["masked_lm"]
CLASSIFIER = roberta.ROBERTA.heads["text_classifier"]

# A table to be read, and checked against the original with a finger.
# fmt: off
HUGGING_FACE = Source(
    model_type="mpnet",
    architecture="MPNetModel",
    prefix="mpnet.",
    config=[
        field("vocab_size", "vocabulary_size", 30527),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        PADDING,
        table_rows("max_position_embeddings", "max_sequence_length", 512, after=PADDING),
        must_be("relative_attention_num_buckets", 32),  # of another table 32 rows would be read
        ENCODER_ONLY,
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        embedding("encoder.relative_attention_bias", "relative_bias"),
        under("encoder.layer.{i}", "layer_{i}",
            dense("attention.attn.q", "attention/query"),
            dense("attention.attn.k", "attention/key"),
            dense("attention.attn.v", "attention/value"),
            dense("attention.attn.o", "attention/output"),
            norm("attention.LayerNorm", "attention_norm"),
            dense("intermediate.dense", "feed_forward/up"),
            dense("output.dense", "feed_forward/down"),
            norm("output.LayerNorm", "feed_forward_norm")),
        bert.POSITION_IDS,
    ],
    optional_layers=bert.HUGGING_FACE.optional_layers,
    heads={
        "masked_lm": replace(MASKED_LM, architectures=("MPNetForMaskedLM",)),
        "text_classifier": replace(
            CLASSIFIER, architectures=("MPNetForSequenceClassification",), config=()),
        "token_classifier": Head(("MPNetForTokenClassification",), dense("classifier", "logits")),
        "multiple_choice": Head(("MPNetForMultipleChoice",), dense("classifier", "logits")),
        "question_answering": Head(("MPNetForQuestionAnswering",), dense("qa_outputs", "logits")),
    },
)
