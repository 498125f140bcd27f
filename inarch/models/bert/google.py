"""BERT as Google published it: a TensorFlow checkpoint (google-research/bert, modeling.py)."""

from dataclasses import replace
from pathlib import Path

from inarch.checkpoints.formats.tensor_bundle import find_bundle, open_bundle
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import choice, constant, field, ignored, probability
from inarch.checkpoints.maps.rule import TENSORFLOW, rule
from inarch.checkpoints.maps.source import Head, Source
from inarch.json_fields import read_object

CONFIG = "bert_config.json"

# GELU is the exact one, as it was in the code when the first checkpoints came out and as it is in
# Hugging Face's copies of them all; commit bee6030 made it the approximate one.
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "tanh": "tanh", "linear": "linear"}

OUTPUT = replace(TENSORFLOW, kernel="output_weights", bias="output_bias", kernel_axes="o i -> i o")

# A table to be checked against the reference, line by line.
# fmt: off
GOOGLE = Source(
    model_type="bert",
    architecture="BertModel",
    strict=True,
    prefix="bert/",
    config=[
        field("vocab_size", "vocabulary_size"),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        constant("layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 16),
        ignored(
            "directionality", "pooler_fc_size", "pooler_num_attention_heads",
            "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
            reason="settings of the multilingual models' configs that no version of the code reads",
        ),
    ],
    weights=[
        TENSORFLOW.embedding("embeddings/word_embeddings", "embeddings/token_embedding"),
        TENSORFLOW.embedding("embeddings/position_embeddings", "embeddings/position_embedding"),
        TENSORFLOW.embedding("embeddings/token_type_embeddings", "segment_embedding"),
        TENSORFLOW.norm("embeddings/LayerNorm", "embeddings_norm"),
        TENSORFLOW.under("encoder/layer_{i}", "layer_{i}",
            TENSORFLOW.dense("attention/self/query", "attention/query"),
            TENSORFLOW.dense("attention/self/key", "attention/key"),
            TENSORFLOW.dense("attention/self/value", "attention/value"),
            TENSORFLOW.dense("attention/output/dense", "attention/output"),
            TENSORFLOW.norm("attention/output/LayerNorm", "attention_norm"),
            TENSORFLOW.dense("intermediate/dense", "feed_forward/up"),
            TENSORFLOW.dense("output/dense", "feed_forward/down"),
            TENSORFLOW.norm("output/LayerNorm", "feed_forward_norm")),
    ],
    optional_layers={"pooler": TENSORFLOW.dense("pooler/dense", "pooler")},
    heads={
        "masked_lm": Head(
            ("run_pretraining.get_masked_lm_output",),
            weights=[
                TENSORFLOW.dense("cls/predictions/transform/dense", "masked_lm_head/transform"),
                TENSORFLOW.norm("cls/predictions/transform/LayerNorm",
                    "masked_lm_head/transform_norm"),
                rule("cls/predictions/output_bias", "masked_lm_head/output_bias", "v -> v"),
            ],
        ),
        "text_classifier": Head(
            ("run_classifier.create_model",),
            weights=OUTPUT.dense("", "logits"),
            config=[constant("dropout", 0.1)],  # whatever the config has: `keep_prob=0.9`
            requires=("pooler",),
        ),
        "next_sentence": Head(
            ("run_pretraining.get_next_sentence_output",),
            weights=OUTPUT.dense("cls/seq_relationship", "next_sentence"),
        ),
        "question_answering": Head(
            ("run_squad.create_model",),
            weights=OUTPUT.dense("cls/squad", "logits"),
        ),
    },
    ignored_tensors={
        "global_step": "count of training steps; not saved",
        "*/adam_[mv]": "the optimizer's state; not saved",
    },
)
# fmt: on


def _open(folder: Path) -> OpenedCheckpoint:
    weights = open_bundle(find_bundle(folder, "bert_model.ckpt"))
    return OpenedCheckpoint(GOOGLE, read_object(folder / CONFIG), weights)


FORMAT = AuthorFormat("Google's BERT, in TensorFlow", (CONFIG,), _open, GOOGLE)
