"""Phi-3 and Phi-4 as transformers stores them (models/phi3/modeling_phi3.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    fallback,
    field,
    ignored,
    must_be,
    probability,
    token_id,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under
from inarch.checkpoints.maps.source import Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# A table to be checked against the reference, line by line.
# fmt: off
HEADS = field("num_attention_heads", "num_heads", 32)
WIDTH = field("hidden_size", "hidden_dim", 3072)
LENGTH = field("max_position_embeddings", "max_sequence_length", 4096)
HUGGING_FACE = Source(
    model_type="phi3",
    architecture="Phi3Model",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 32064),
        field("num_hidden_layers", "num_layers", 32),
        HEADS,
        WIDTH,
        field("intermediate_size", "intermediate_dim", 8192),
        fallback("num_key_value_heads", "num_key_value_heads", other=HEADS.read),
        fallback("head_dim", "head_dim",
            other=lambda config: WIDTH.read(config) // HEADS.read(config)),
        field("sliding_window", "sliding_window", None, least=2),
        probability("resid_pdrop", "dropout", 0.0),
        probability("attention_dropout", "attention_dropout", 0.0),
        choice("hidden_act", "activation", "silu", values=ACTIVATIONS),
        field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        field("rope_parameters.rope_theta", "rope_theta", 10000.0,
            legacy=("rope_scaling.rope_theta", "rope_theta")),
        # The length of training stands next to the scaling; former names mean the one type.
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling,
            types={"longrope": SCALING_FIELDS["longrope"]},
            spellings={"su": "longrope", "yarn": "longrope"},
            original=field("original_max_position_embeddings", "rope_scaling", 4096)),
        field("rope_parameters.partial_rotary_factor", "partial_rotary_factor", 1.0,
            legacy=("rope_scaling.partial_rotary_factor", "partial_rotary_factor")),
        LENGTH,
        token_id("pad_token_id", "padding_id", 32000),
        must_be("is_causal", True),
        must_be("pruned_heads", {}, reason="versions of transformers before 5 read it"),
        must_be("attention_chunk_size", None, reason="masks without a window read it"),
        [must_be(name, None) for name in ("kv_sharing_modes", "layer_types", "per_layer_config")],
        must_be("token_classification_bias", True),
        ignored("embd_pdrop", "attention_bias", "mlp_bias", "lm_head_bias",
            reason="the reference never reads them, and has no such biases"),
        ignored("full_attn_mod", "interpolate_factor", reason="settings of the authors' training"),
    ],
    weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            norm("input_layernorm", "attention_norm", bias=False),
            rule("self_attn.qkv_proj.weight",
                [f"attention/{name}/kernel" for name in ("query", "key", "value")],
                "(q + k + v) i -> i q, i k, i v"),
            dense("self_attn.o_proj", "attention/output", bias=False),
            norm("post_attention_layernorm", "feed_forward_norm", bias=False),
            rule("mlp.gate_up_proj.weight",
                [f"feed_forward/{name}/kernel" for name in ("gate", "up")],
                "(o + o) i -> i o, i o"),
            dense("mlp.down_proj", "feed_forward/down", bias=False)),
        norm("norm", "final_norm", bias=False),
    ],
    heads={
        "causal_lm": causal_lm_head("Phi3ForCausalLM", tokens=".embed_tokens.weight"),
        "text_classifier": last_token_head("Phi3ForSequenceClassification"),
        "token_classifier": every_token_head("Phi3ForTokenClassification"),
    },
    tie_word_embeddings=False,
)
