"""Mixtral as transformers stores it (models/mixtral/modeling_mixtral.py, conversion_mapping.py)."""

from inarch.checkpoints.maps.config import field, ignored, must_be, with_defaults
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.llama import checkpoint as llama

# A table to be checked against the reference, line by line.
# fmt: off
ATTENTION = [
    norm("input_layernorm", "attention_norm", bias=False),
    dense("self_attn.q_proj", "attention/query", bias=False),
    dense("self_attn.k_proj", "attention/key", bias=False),
    dense("self_attn.v_proj", "attention/value", bias=False),
    dense("self_attn.o_proj", "attention/output", bias=False),
    norm("post_attention_layernorm", "feed_forward_norm", bias=False),
]
# By the names of the reference's modules, which hold the experts of a layer in two tensors.
STACKED = [
    rule("gate.weight", "router/kernel", "e i -> i e"),
    rule("experts.gate_up_proj", ["experts/gate", "experts/up"], "e (o + o) i -> e i o, e i o"),
    rule("experts.down_proj", "experts/down", "e o i -> e i o"),
]
HUGGING_FACE = Source(
    model_type="mixtral",
    architecture="MixtralModel",
    prefix="model.",
    config=[
        with_defaults(llama.SHARED, num_key_value_heads=8, intermediate_size=14336,
            rms_norm_eps=1e-5, max_position_embeddings=131072,
            **{"rope_parameters.rope_theta": 1e6}),
        field("num_local_experts", "num_experts", 8, aliases=("num_experts",)),
        field("num_experts_per_tok", "experts_per_token", 2),
        field("sliding_window", "sliding_window", None, least=2),
        must_be("output_router_logits", False),
        ignored("router_aux_loss_coef", reason="has a part with output_router_logits alone"),
        must_be("router_jitter_noise", 0.0),
        must_be("layer_types", None),
    ],
    weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            ATTENTION,
            under("block_sparse_moe", "feed_forward",
                rule("gate.weight", "router/kernel", "e i -> i e"),
                under("experts.{e}", "experts",
                    rule("w1.weight", "gate", "o i -> {e} i o"),
                    rule("w3.weight", "up", "o i -> {e} i o"),
                    rule("w2.weight", "down", "o i -> {e} i o"),
                    e="num_experts"))),
        norm("norm", "final_norm", bias=False),
    ],
    module_weights=[
        embedding("embed_tokens", "token_embedding"),
        under("layers.{i}", "layer_{i}", ATTENTION, under("mlp", "feed_forward", STACKED)),
        norm("norm", "final_norm", bias=False),
    ],
    heads={
        "causal_lm": causal_lm_head("MixtralForCausalLM", tokens=".embed_tokens.weight"),
        "text_classifier": last_token_head("MixtralForSequenceClassification"),
        "token_classifier": every_token_head("MixtralForTokenClassification"),
        "question_answering": Head(
            ("MixtralForQuestionAnswering",), dense("qa_outputs", "logits")
        ),
    },
    tie_word_embeddings=False,
)
