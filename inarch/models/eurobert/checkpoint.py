"""EuroBERT as transformers stores it (models/eurobert/modeling_eurobert.py).

Published configs name the authors' own code, of which this is the successor.
"""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    fallback,
    field,
    ignored,
    must_be,
    probability,
)
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, when
from inarch.checkpoints.maps.source import Head, Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# A table to be checked against the reference, line by line.
# fmt: off
LENGTH = field("max_position_embeddings", "max_sequence_length", 8192)
HEADS = field("num_attention_heads", "num_heads", 12)
WIDTH = field("hidden_size", "hidden_dim", 768)
# The authors' code of before transformers 5 has another name for it.
POOLING = choice("classifier_pooling", "classifier_pooling", "late", legacy=("clf_pooling",),
    values={"bos": "bos", "mean": "mean", "late": "late"})
HUGGING_FACE = Source(
    model_type="eurobert",
    architecture="EuroBertModel",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 128256),
        field("num_hidden_layers", "num_layers", 12),
        HEADS,
        WIDTH,
        field("intermediate_size", "intermediate_dim", 3072),
        fallback("num_key_value_heads", "num_key_value_heads", other=HEADS.read),
        fallback("head_dim", "head_dim",
            other=lambda config: WIDTH.read(config) // HEADS.read(config)),
        probability("attention_dropout", "attention_dropout", 0.0),
        choice("hidden_act", "activation", "silu", values=ACTIVATIONS),
        field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        field("rope_parameters.rope_theta", "rope_theta", 10000.0,
            legacy=("rope_scaling.rope_theta", "rope_theta")),
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling, types=SCALING_FIELDS),
        [must_be(name, None, reason="read where it stands next to a scaling")
            for name in ("original_max_position_embeddings", "partial_rotary_factor")],
        field("attention_bias", "attention_bias", False),
        field("mlp_bias", "feed_forward_bias", False),
        POOLING,
        LENGTH,
        TEXT_ENCODER,
        ignored("pretraining_tp", "hidden_dropout", reason="no version of the code reads it"),
        ignored("bos_token", "eos_token", "pad_token", "mask_token", "mask_token_id",
            reason="of the tokenizer, which has them in its own files"),
    ],
    weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            *(dense(f"self_attn.{name[0]}_proj", f"attention/{name}", bias="attention_bias")
                for name in ("query", "key", "value", "output")),
            norm("input_layernorm", "attention_norm", bias=False),
            *(dense(f"mlp.{name}_proj", f"feed_forward/{name}", bias="feed_forward_bias")
                for name in ("gate", "up", "down")),
            norm("post_attention_layernorm", "feed_forward_norm", bias=False)),
        norm("norm", "final_norm", bias=False),
    ],
    heads={
        "masked_lm": Head(
            ("EuroBertForMaskedLM",),
            weights=when("feed_forward_bias",
                rule("lm_head.bias", "masked_lm_head/output_bias", "v -> v")),
            tied=tied("lm_head.weight", ".embed_tokens.weight"),
            untied=rule("lm_head.weight", "masked_lm_head/output_kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("EuroBertForSequenceClassification",),
            weights=[dense("dense", "pooled_dense"), dense("classifier", "logits")],
        ),
        "token_classifier": Head(
            ("EuroBertForTokenClassification",), dense("classifier", "logits")),
    },
    tie_word_embeddings=False,
)
