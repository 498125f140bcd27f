"""ESM as transformers stores it (models/esm/modeling_esm.py)."""

from collections.abc import Mapping
from typing import Any

from inarch.checkpoints.maps.config import (
    ENCODER_ONLY,
    choice,
    field,
    must_be,
    must_match,
    probability,
    table_rows,
    token_id,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, unused, when
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert
from inarch.models.roberta import checkpoint as roberta

PADDING = field("pad_token_id", "padding_id", least=0)
FREQUENCIES = "rotary_embeddings.inv_freq"
CONTACTS = "read by predict_contacts alone, for which there is no task"


def rotary(arguments: Mapping[str, Any]) -> bool:
    """Return whether a model of these arguments has rotary positions."""
    return arguments["positions"] == "rotary"


def absolute(arguments: Mapping[str, Any]) -> bool:
    """Return whether a model of these arguments has a table of positions."""
    return not rotary(arguments)


# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="esm",
    architecture="EsmModel",
    prefix="esm.",
    published={"vocab_size": 33, "pad_token_id": 1, "position_embedding_type": "rotary"},
    config=[
        field("vocab_size", "vocabulary_size"),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        PADDING,
        table_rows("max_position_embeddings", "max_sequence_length", 1026, after=PADDING),
        choice("position_embedding_type", "positions", "absolute",
            values={"absolute": "absolute", "rotary": "rotary"}),
        field("rope_theta", "rope_theta", 10000.0),
        choice("emb_layer_norm_before", "embeddings_norm", None,
            values={None: False, False: False, True: True}),
        field("token_dropout", "zero_mask_tokens", False),
        token_id("mask_token_id", "mask_id", None),
        must_match("head_dim", lambda config:
            config.get("hidden_size", 768) // config.get("num_attention_heads", 12)),
        must_be("is_folding_model", False, reason="the config's class reads it, for ESMFold"),
        [entry for entry in ENCODER_ONLY if "position_embedding_type" not in entry.known_names],
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        when(absolute,
            embedding("embeddings.position_embeddings", "embeddings/position_embedding")),
        when(rotary,
            rule(FREQUENCIES, "rotary/frequencies", "d -> d"),
            # One for each layer, as files of before transformers 5 have it, and one for all by the
            # name that releases of transformers 5 write.
            under("", "", tied(f"encoder.layer.{{i}}.attention.self.{FREQUENCIES}", FREQUENCIES),
                i="num_layers"),
            tied(f"encoder.layer.*.attention.self.{FREQUENCIES}", FREQUENCIES),
            unused("embeddings.position_embeddings.weight",
                reason="older files have it also where positions are rotary")),
        when("embeddings_norm", norm("embeddings.layer_norm", "embeddings/norm")),
        under("encoder.layer.{i}", "layer_{i}",
            norm("attention.LayerNorm", "attention_norm"),
            dense("attention.self.query", "attention/query"),
            dense("attention.self.key", "attention/key"),
            dense("attention.self.value", "attention/value"),
            dense("attention.output.dense", "attention/output"),
            norm("LayerNorm", "feed_forward_norm"),
            dense("intermediate.dense", "feed_forward/up"),
            dense("output.dense", "feed_forward/down")),
        norm("encoder.emb_layer_norm_after", "final_norm"),
        unused("contact_head.regression.weight", reason=CONTACTS,
            shape=lambda arguments: (1, arguments["num_layers"] * arguments["num_heads"])),
        unused("contact_head.regression.bias", reason=CONTACTS, shape=lambda arguments: (1,)),
        bert.POSITION_IDS,
    ],
    optional_layers=bert.HUGGING_FACE.optional_layers,
    heads={
        "masked_lm": Head(
            ("EsmForMaskedLM",),
            weights=[
                dense("lm_head.dense", "masked_lm_head/transform"),
                norm("lm_head.layer_norm", "masked_lm_head/transform_norm"),
                rule("lm_head.bias", "masked_lm_head/output_bias", "v -> v"),
            ],
            tied=tied("lm_head.decoder.weight", ".embeddings.word_embeddings.weight"),
            untied=rule("lm_head.decoder.weight", "masked_lm_head/output_kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("EsmForSequenceClassification",),
            roberta.ROBERTA.heads["text_classifier"].weights,
        ),
        "token_classifier": Head(
            ("EsmForTokenClassification",), dense("classifier", "logits")
        ),
    },
)
