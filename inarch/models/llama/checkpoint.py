"""Llama, Mistral, Qwen2, Qwen3 and SmolLM3 as transformers stores them (models/llama and so on)."""

from typing import Any

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    constant,
    every_nth,
    fallback,
    field,
    first_layers,
    ignored,
    must_be,
    must_match,
    per_layer,
    probability,
    token_id,
    with_defaults,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.entries import flatten
from inarch.checkpoints.maps.per_layer import MAX_LAYERS
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under, unused, when
from inarch.checkpoints.maps.source import Head, Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# Tables to be checked against the reference, line by line.
# fmt: off
LENGTH = field("max_position_embeddings", "max_sequence_length", 2048)
LAYERS = field("num_hidden_layers", "num_layers", 32)
HEADS = field("num_attention_heads", "num_heads", 32)
WIDTH = field("hidden_size", "hidden_dim", 4096)
SHARED = [
    field("vocab_size", "vocabulary_size", 32000),
    LAYERS,
    HEADS,
    WIDTH,
    fallback("num_key_value_heads", "num_key_value_heads", other=HEADS.read),
    fallback("head_dim", "head_dim",
        other=lambda config: WIDTH.read(config) // HEADS.read(config)),
    field("intermediate_size", "intermediate_dim", 11008),
    probability("attention_dropout", "attention_dropout", 0.0, nullable=True),
    choice("hidden_act", "activation", "silu", values=ACTIVATIONS),
    field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
    field("rope_parameters.rope_theta", "rope_theta", 10000.0,
        legacy=("rope_scaling.rope_theta", "rope_theta")),
    token_id("pad_token_id", "padding_id", None, least=-1),  # which no token has
    LENGTH,
    rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling,
        types=SCALING_FIELDS),
    [must_be(name, None, reason="read where it stands next to a scaling")
        for name in ("original_max_position_embeddings", "partial_rotary_factor")],
    must_be("is_causal", True),
    must_be("token_classification_bias", True),
    [must_be(name, None) for name in ("kv_sharing_modes", "per_layer_config")],
]
# Without windows, which the layers of none of these have.
FULL = must_match("layer_types",
    lambda config: ["full_attention"] * min(LAYERS.read(config), MAX_LAYERS + 1))
# The last layers have a window, where it is switched on.
WINDOWS = [
    field("use_sliding_window", "use_sliding_window", False, reason="the config's class reads it"),
    field("sliding_window", "sliding_window", 4096, nullable=True, least=2,
        switch="use_sliding_window", reason="the config's class reads it"),
    per_layer("layer_types", "window_layers", layers=LAYERS,
        values={"full_attention": False, "sliding_attention": True},
        older=first_layers("max_window_layers", "full_attention", "sliding_attention", 28,
            switch="use_sliding_window")),
]
UNUSED_WINDOW = [
    must_be("use_sliding_window", False, reason="the config's class reads it"),
    FULL,
    ignored("sliding_window", "max_window_layers", reason="read with use_sliding_window alone"),
]
# Arguments that only some of the architectures vary.
PLAIN = {"attention_bias": False, "output_bias": None, "feed_forward_bias": False,
    "query_key_norm": False, "use_sliding_window": True, "sliding_window": None,
    "window_layers": None, "rotary_layers": None}
WEIGHTS = [
    embedding("embed_tokens", "token_embedding"),
    under("layers.{i}", "layer_{i}",
        norm("input_layernorm", "attention_norm", bias=False),
        dense("self_attn.q_proj", "attention/query", bias="attention_bias"),
        dense("self_attn.k_proj", "attention/key", bias="attention_bias"),
        dense("self_attn.v_proj", "attention/value", bias="attention_bias"),
        dense("self_attn.o_proj", "attention/output", bias=False),
        when(lambda given: given[
                "attention_bias" if given["output_bias"] is None else "output_bias"],
            rule("self_attn.o_proj.bias", "attention/output/bias", "o -> o")),
        when("query_key_norm",
            norm("self_attn.q_norm", "attention/query_norm", bias=False),
            norm("self_attn.k_norm", "attention/key_norm", bias=False)),
        norm("post_attention_layernorm", "feed_forward_norm", bias=False),
        dense("mlp.gate_proj", "feed_forward/gate", bias="feed_forward_bias"),
        dense("mlp.up_proj", "feed_forward/up", bias="feed_forward_bias"),
        dense("mlp.down_proj", "feed_forward/down", bias="feed_forward_bias"),
        unused("self_attn.rotary_emb.inv_freq", reason="frequencies, which the config has")),
    norm("norm", "final_norm", bias=False),
]


def make_source(
    model_type: str,
    family: str,
    *entries: Any,
    tie: bool = False,
    answers_prefix: Any = "transformer.",
    **defaults: Any,
) -> Source:
    """Return the format of an architecture with this graph.

    Args:
        entries: those of its config for which the others' code has constants.
        tie: whether output and input embeddings are one by default.
        answers_prefix: what precedes the graph's tensors in a file with a head for answers, where
            it isn't "model.".
        defaults: its defaults for the fields of `SHARED` and of `entries`.
    """
    varied = {getattr(entry, "ours", None) for entry in flatten(entries)}
    return Source(
        model_type=model_type,
        architecture=f"{family}Model",
        prefix="model.",
        config=[with_defaults([SHARED, entries], **defaults),
            [constant(name, value) for name, value in PLAIN.items() if name not in varied]],
        weights=WEIGHTS,
        heads={
            "causal_lm": causal_lm_head(f"{family}ForCausalLM", tokens=".embed_tokens.weight"),
            "text_classifier": last_token_head(f"{family}ForSequenceClassification"),
            "token_classifier": every_token_head(f"{family}ForTokenClassification"),
            "question_answering": Head(
                (f"{family}ForQuestionAnswering",), dense("qa_outputs", "logits"),
                prefix=answers_prefix,
            ),
        },
        tie_word_embeddings=tie,
    )


LLAMA = make_source("llama", "Llama",
    field("attention_bias", "attention_bias", False),
    field("mlp_bias", "feed_forward_bias", False),
    FULL,
    [must_be(name, None) for name in ("attention_chunk_size", "sliding_window")],
    ignored("pretraining_tp", reason="another order of the same sums"))
MISTRAL = make_source("mistral", "Mistral",
    field("sliding_window", "sliding_window", 4096, nullable=True, least=2),
    must_be("layer_types", None),
    answers_prefix=None,
    num_key_value_heads=8, intermediate_size=14336,
    max_position_embeddings=131072)
QWEN2 = make_source("qwen2", "Qwen2",
    constant("attention_bias", True), constant("output_bias", False),
    WINDOWS,
    vocab_size=151936, num_key_value_heads=32, intermediate_size=22016,
    max_position_embeddings=32768)
QWEN3 = make_source("qwen3", "Qwen3",
    constant("query_key_norm", True),
    field("attention_bias", "attention_bias", False),
    WINDOWS,
    vocab_size=151936, num_key_value_heads=32, head_dim=128, intermediate_size=22016,
    max_position_embeddings=32768)
SMOLLM3 = make_source("smollm3", "SmolLM3",
    per_layer("no_rope_layers", "rotary_layers", layers=LAYERS,
        values={1: True, 0: False}, may_be_longer=True,
        older=every_nth("no_rope_layer_interval", 0, 1, 4, is_last=True)),
    field("attention_bias", "attention_bias", False),
    field("mlp_bias", "feed_forward_bias", False),
    UNUSED_WINDOW,
    tie=True, vocab_size=128256, num_hidden_layers=36, num_attention_heads=16,
    max_position_embeddings=32768,
    num_key_value_heads=4, hidden_size=2048, pad_token_id=128004,
    **{"rope_parameters.rope_theta": 2e6})
