"""OPT as transformers stores it (models/opt/modeling_opt.py)."""

from collections.abc import Mapping
from typing import Any

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
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, last_token_head
from inarch.checkpoints.maps.rule import dense, embedding, norm, under, when
from inarch.checkpoints.maps.source import Head, Source


def is_narrow(arguments: Mapping[str, Any]) -> bool:
    """Return whether token embeddings are narrower than the decoder, or wider."""
    return arguments["embedding_dim"] not in (None, arguments["hidden_dim"])


# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="opt",
    architecture="OPTModel",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 50272),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("ffn_dim", "intermediate_dim", 3072),
        fallback("word_embed_proj_dim", "embedding_dim", other="hidden_size"),
        probability("dropout", "dropout", 0.1),
        probability("attention_dropout", "attention_dropout", 0.0),
        choice("activation_function", "activation", "relu", values=ACTIVATIONS),
        field("enable_bias", "use_bias", True),
        field("max_position_embeddings", "max_sequence_length", 2048),
        token_id("pad_token_id", "padding_id", 1),
        must_be("is_causal", True),
        field("do_layer_norm_before", "normalize_first", True),
        must_be("_remove_final_layer_norm", False, reason="the reference reads it"),
        ignored("layerdrop", reason="layers that training leaves out"),
        ignored("init_std", reason="initial weights"),
        must_be("layer_norm_elementwise_affine", True),
        *(must_be(name, None) for name in ("attention_chunk_size", "kv_sharing_modes",
            "layer_types", "per_layer_config", "sliding_window")),
    ],
    weights=[
        embedding("decoder.embed_tokens", "embeddings/token_embedding"),
        embedding("decoder.embed_positions", "embeddings/position_embedding"),
        when(is_narrow, dense("decoder.project_in", "embeddings/projection", bias=False)),
        under("decoder.layers.{i}", "layer_{i}",
            dense("self_attn.q_proj", "attention/query", bias="use_bias"),
            dense("self_attn.k_proj", "attention/key", bias="use_bias"),
            dense("self_attn.v_proj", "attention/value", bias="use_bias"),
            dense("self_attn.out_proj", "attention/output", bias="use_bias"),
            norm("self_attn_layer_norm", "attention_norm"),
            dense("fc1", "feed_forward/up", bias="use_bias"),
            dense("fc2", "feed_forward/down", bias="use_bias"),
            norm("final_layer_norm", "feed_forward_norm")),
        when("normalize_first", norm("decoder.final_layer_norm", "final_norm")),
        when(is_narrow, dense("decoder.project_out", "projection", bias=False)),
    ],
    heads={
        "causal_lm": causal_lm_head("OPTForCausalLM", tokens=".decoder.embed_tokens.weight"),
        "text_classifier": last_token_head("OPTForSequenceClassification"),
        "question_answering": Head(
            ("OPTForQuestionAnswering",),
            weights=dense("qa_outputs", "logits"),
        ),
    },
)
