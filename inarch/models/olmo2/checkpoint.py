"""OLMo 2 and OLMo 3 as transformers stores them (models/olmo2, models/olmo3)."""

from typing import Any

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    constant,
    every_nth,
    fallback,
    field,
    must_be,
    per_layer,
    probability,
    token_id,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, last_token_head
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, under
from inarch.checkpoints.maps.source import Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# Tables to be checked against the reference, line by line.
# fmt: off
GLOBAL, LOCAL = "rope_parameters.full_attention", "rope_parameters.sliding_attention"
LENGTH = field("max_position_embeddings", "max_sequence_length", 2048)
LAYERS = field("num_hidden_layers", "num_layers", 32)
HEADS = field("num_attention_heads", "num_heads", 32)
WIDTH = field("hidden_size", "hidden_dim", 4096)
SHARED: list[Any] = [
    field("vocab_size", "vocabulary_size", 50304),
    LAYERS,
    HEADS,
    WIDTH,
    fallback("num_key_value_heads", "num_key_value_heads", other=HEADS.read),
    fallback("head_dim", "head_dim",
        other=lambda config: WIDTH.read(config) // HEADS.read(config)),
    field("intermediate_size", "intermediate_dim", 11008),
    probability("attention_dropout", "attention_dropout", 0.0),
    field("attention_bias", "attention_bias", False),
    choice("hidden_act", "activation", "silu", values=ACTIVATIONS),
    field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
    LENGTH,
    token_id("pad_token_id", "padding_id", 1),
    [must_be(name, None, reason="read where it stands next to a scaling")
        for name in ("original_max_position_embeddings", "partial_rotary_factor")],
    must_be("is_causal", True),
    must_be("pruned_heads", {}, reason="versions of transformers before 5 read it"),
    [must_be(name, None) for name in ("kv_sharing_modes", "per_layer_config")],
]
WEIGHTS = [
    embedding("embed_tokens", "token_embedding"),
    under("layers.{i}", "layer_{i}",
        dense("self_attn.q_proj", "attention/query", bias="attention_bias"),
        dense("self_attn.k_proj", "attention/key", bias="attention_bias"),
        dense("self_attn.v_proj", "attention/value", bias="attention_bias"),
        norm("self_attn.q_norm", "attention/query_norm", bias=False),
        norm("self_attn.k_norm", "attention/key_norm", bias=False),
        dense("self_attn.o_proj", "attention/output", bias="attention_bias"),
        norm("post_attention_layernorm", "attention_norm", bias=False),
        dense("mlp.gate_proj", "feed_forward/gate", bias=False),
        dense("mlp.up_proj", "feed_forward/up", bias=False),
        dense("mlp.down_proj", "feed_forward/down", bias=False),
        norm("post_feedforward_layernorm", "feed_forward_norm", bias=False)),
    norm("norm", "final_norm", bias=False),
]


def make_source(model_type: str, family: str, holder: str, *entries: Any) -> Source:
    """Return the format of an architecture with this graph.

    Args:
        holder: the object of a config that has the scaling of rotary positions, as of
            `rotary_scaling`.
        entries: those of its config alone.
    """
    return Source(
        model_type=model_type,
        architecture=f"{family}Model",
        prefix="model.",
        config=[
            SHARED,
            rotary_scaling("rope_scaling", holder=holder, length=LENGTH, check=check_scaling,
                types=SCALING_FIELDS),
            entries,
        ],
        weights=WEIGHTS,
        heads={
            "causal_lm": causal_lm_head(f"{family}ForCausalLM", tokens=".embed_tokens.weight"),
            "text_classifier": last_token_head(f"{family}ForSequenceClassification"),
        },
        tie_word_embeddings=False,
    )


OLMO2 = make_source("olmo2", "Olmo2", "rope_parameters",
    field("rope_parameters.rope_theta", "rope_theta", 10000.0,
        legacy=("rope_scaling.rope_theta", "rope_theta")),
    constant("sliding_window", None), constant("window_layers", None),
    constant("local_rope_theta", 500000.0),
    [must_be(name, None) for name in ("attention_chunk_size", "layer_types", "sliding_window")])
OLMO3 = make_source("olmo3", "Olmo3", GLOBAL,
    per_layer("layer_types", "window_layers", layers=LAYERS,
        values={"full_attention": False, "sliding_attention": True},
        older=every_nth(None, "full_attention", "sliding_attention", 4, is_last=True)),
    field("sliding_window", "sliding_window", 4096, least=2),
    field(f"{GLOBAL}.rope_theta", "rope_theta", 500000.0,
        legacy=("rope_scaling.rope_theta", "rope_theta")),
    field(f"{LOCAL}.rope_theta", "local_rope_theta", 500000.0),
    must_be(f"{LOCAL}.rope_type", "default"))
