"""Gemma 2 as transformers stores it (models/gemma2/modeling_gemma2.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    every_nth,
    field,
    must_be,
    per_layer,
    probability,
    token_id,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, under
from inarch.checkpoints.maps.source import Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# A table to be checked against the reference, line by line.
# fmt: off
LAYERS = field("num_hidden_layers", "num_layers", 26)
LENGTH = field("max_position_embeddings", "max_sequence_length", 8192)
HUGGING_FACE = Source(
    model_type="gemma2",
    architecture="Gemma2Model",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 256000),
        LAYERS,
        field("num_attention_heads", "num_heads", 8),
        field("hidden_size", "hidden_dim", 2304),
        field("intermediate_size", "intermediate_dim", 9216),
        per_layer("layer_types", "layer_types", layers=LAYERS,
            values={"full_attention": "full", "sliding_attention": "sliding"},
            older=every_nth(None, "full_attention", "sliding_attention", 2, is_last=True)),
        field("num_key_value_heads", "num_key_value_heads", 4),
        field("head_dim", "head_dim", 256),
        field("query_pre_attn_scalar", "query_pre_attn_scalar", 256),
        field("attn_logit_softcapping", "attention_soft_cap", 50.0, nullable=True),
        field("final_logit_softcapping", "logits_soft_cap", 30.0, nullable=True),
        field("sliding_window", "sliding_window", 4096, least=2),
        field("rope_parameters.rope_theta", "rope_theta", 10000.0,
            legacy=("rope_scaling.rope_theta", "rope_theta")),
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling,
            types=SCALING_FIELDS),
        probability("attention_dropout", "attention_dropout", 0.0, nullable=True),
        field("attention_bias", "attention_bias", False),
        choice("hidden_activation", "activation", "gelu_pytorch_tanh", values=ACTIVATIONS),
        field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
        LENGTH,
        token_id("pad_token_id", "padding_id", 0),
        must_be("is_causal", True),
        must_be("use_bidirectional_attention", None, False),
        must_be("token_classification_bias", True),
        [must_be(name, None) for name in ("kv_sharing_modes", "per_layer_config")],
        [must_be(name, None, reason="it is read where it stands next to a scaling")
            for name in ("original_max_position_embeddings", "partial_rotary_factor")],
    ],
    weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            norm("input_layernorm", "attention_norm", bias=False),
            dense("self_attn.q_proj", "attention/query", bias="attention_bias"),
            dense("self_attn.k_proj", "attention/key", bias="attention_bias"),
            dense("self_attn.v_proj", "attention/value", bias="attention_bias"),
            dense("self_attn.o_proj", "attention/output", bias="attention_bias"),
            norm("post_attention_layernorm", "attention_output_norm", bias=False),
            norm("pre_feedforward_layernorm", "feed_forward_norm", bias=False),
            dense("mlp.gate_proj", "feed_forward/gate", bias=False),
            dense("mlp.up_proj", "feed_forward/up", bias=False),
            dense("mlp.down_proj", "feed_forward/down", bias=False),
            norm("post_feedforward_layernorm", "feed_forward_output_norm", bias=False)),
        norm("norm", "final_norm", bias=False),
    ],
    heads={
        "causal_lm": causal_lm_head("Gemma2ForCausalLM", tokens=".embed_tokens.weight"),
        "text_classifier": last_token_head("Gemma2ForSequenceClassification"),
        "token_classifier": every_token_head("Gemma2ForTokenClassification"),
    },
)
