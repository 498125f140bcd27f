"""Gemma 3's texts as transformers stores them (models/gemma3/modeling_gemma3.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    every_nth,
    field,
    ignored,
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

# A table to be checked against the reference, line by line.
# fmt: off
GLOBAL, LOCAL = "rope_parameters.full_attention", "rope_parameters.sliding_attention"
LAYERS = field("num_hidden_layers", "num_layers", 26)
LENGTH = field("max_position_embeddings", "max_sequence_length", 131072)
HUGGING_FACE = Source(
    model_type="gemma3_text",
    architecture="Gemma3TextModel",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 262208),
        LAYERS,
        field("num_attention_heads", "num_heads", 8),
        field("hidden_size", "hidden_dim", 2304),
        field("intermediate_size", "intermediate_dim", 9216),
        per_layer("layer_types", "layer_types", layers=LAYERS,
            values={"full_attention": "full", "sliding_attention": "sliding"},
            older=every_nth("sliding_window_pattern", "full_attention", "sliding_attention",
                default=6, is_last=True)),
        field("num_key_value_heads", "num_key_value_heads", 4),
        field("head_dim", "head_dim", 256),
        field("query_pre_attn_scalar", "query_pre_attn_scalar", 256),
        field("sliding_window", "sliding_window", 4096, least=2),
        field("use_bidirectional_attention", "bidirectional", False),
        field(f"{GLOBAL}.rope_theta", "global_rope_theta", 1e6,
            legacy=("rope_scaling.rope_theta", "rope_theta")),
        field(f"{LOCAL}.rope_theta", "local_rope_theta", 1e4, legacy=("rope_local_base_freq",)),
        rotary_scaling("rope_scaling", holder=GLOBAL, length=LENGTH, check=check_scaling,
            types=SCALING_FIELDS),
        must_be(f"{LOCAL}.rope_type", "default"),
        probability("attention_dropout", "attention_dropout", 0.0, nullable=True),
        field("attention_bias", "attention_bias", False),
        choice("hidden_activation", "activation", "gelu_pytorch_tanh", values=ACTIVATIONS),
        field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
        LENGTH,
        token_id("pad_token_id", "padding_id", 0),
        must_be("is_causal", True),
        [must_be(name, None) for name in (
            "attn_logit_softcapping", "final_logit_softcapping", "kv_sharing_modes",
            "partial_rotary_factor", "per_layer_config")],
        must_be("original_max_position_embeddings", None,
            reason="read where it stands next to a scaling"),
        ignored("_sliding_window_pattern", reason="a copy of what layer_types says"),
    ],
    weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            norm("input_layernorm", "attention_norm", bias=False),
            dense("self_attn.q_proj", "attention/query", bias="attention_bias"),
            dense("self_attn.k_proj", "attention/key", bias="attention_bias"),
            dense("self_attn.v_proj", "attention/value", bias="attention_bias"),
            dense("self_attn.o_proj", "attention/output", bias="attention_bias"),
            norm("self_attn.q_norm", "attention/query_norm", bias=False),
            norm("self_attn.k_norm", "attention/key_norm", bias=False),
            norm("post_attention_layernorm", "attention_output_norm", bias=False),
            norm("pre_feedforward_layernorm", "feed_forward_norm", bias=False),
            dense("mlp.gate_proj", "feed_forward/gate", bias=False),
            dense("mlp.up_proj", "feed_forward/up", bias=False),
            dense("mlp.down_proj", "feed_forward/down", bias=False),
            norm("post_feedforward_layernorm", "feed_forward_output_norm", bias=False)),
        norm("norm", "final_norm", bias=False),
    ],
    heads={
        "causal_lm": causal_lm_head("Gemma3ForCausalLM", tokens=".embed_tokens.weight"),
        "text_classifier": last_token_head("Gemma3TextForSequenceClassification"),
    },
)
