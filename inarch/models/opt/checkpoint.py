"""OPT as transformers stores it (models/opt/modeling_opt.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    token_id,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under
from inarch.checkpoints.maps.source import Head, Source

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
        # opt-350m, whose embeddings are narrower and whose norms come after, isn't computed.
        must_match("word_embed_proj_dim", lambda config: config.get("hidden_size", 768)),
        probability("dropout", "dropout", 0.1),
        probability("attention_dropout", "attention_dropout", 0.0),
        choice("activation_function", "activation", "relu", values=ACTIVATIONS),
        field("enable_bias", "use_bias", True),
        field("max_position_embeddings", "max_sequence_length", 2048),
        token_id("pad_token_id", "padding_id", 1),
        must_be("is_causal", True),
        must_be("do_layer_norm_before", True),
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
        under("decoder.layers.{i}", "layer_{i}",
            dense("self_attn.q_proj", "attention/query", bias="use_bias"),
            dense("self_attn.k_proj", "attention/key", bias="use_bias"),
            dense("self_attn.v_proj", "attention/value", bias="use_bias"),
            dense("self_attn.out_proj", "attention/output", bias="use_bias"),
            norm("self_attn_layer_norm", "attention_norm"),
            dense("fc1", "feed_forward/up", bias="use_bias"),
            dense("fc2", "feed_forward/down", bias="use_bias"),
            norm("final_layer_norm", "feed_forward_norm")),
        norm("decoder.final_layer_norm", "final_norm"),
    ],
    heads={
        "causal_lm": Head(
            ("OPTForCausalLM",),
            tied=tied("lm_head.weight", ".decoder.embed_tokens.weight"),
            untied=rule("lm_head.weight", "logits/kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("OPTForSequenceClassification",),
            weights=dense("score", "logits", bias=False),
        ),
        "question_answering": Head(
            ("OPTForQuestionAnswering",),
            weights=dense("qa_outputs", "logits"),
        ),
    },
)
