"""Mixtral and Qwen3-MoE as transformers stores them (models/mixtral, models/qwen3_moe).

Files have a tensor for each expert; its modules have two stacks for all experts of a layer
(conversion_mapping.py).
"""

from typing import Any

from inarch.checkpoints.maps.config import (
    constant,
    every_nth,
    field,
    ignored,
    must_be,
    with_defaults,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.entries import Entries
from inarch.checkpoints.maps.per_layer import EveryNthBut
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under, when
from inarch.checkpoints.maps.source import ConfigEntries, Head, Source
from inarch.models.llama import checkpoint as llama

# Tables to be checked against the reference, line by line.
# fmt: off
SHARED = [
    field("num_experts_per_tok", "experts_per_token", 2),
    must_be("output_router_logits", False),
    ignored("router_aux_loss_coef", reason="has a part with output_router_logits alone"),
    must_be("layer_types", None),
]
ATTENTION: list[Entries] = [
    norm("input_layernorm", "attention_norm", bias=False),
    [dense(f"self_attn.{theirs}_proj", f"attention/{ours}", bias="attention_bias")
        for theirs, ours in [("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")]],
    when("query_key_norm",
        norm("self_attn.q_norm", "attention/query_norm", bias=False),
        norm("self_attn.k_norm", "attention/key_norm", bias=False)),
    norm("post_attention_layernorm", "feed_forward_norm", bias=False),
]
ROUTER = rule("gate.weight", "router/kernel", "e i -> i e")
# The modules of both, and the feedforward layers without experts.
STACKED = [
    ROUTER,
    rule("experts.gate_up_proj", ["experts/gate", "experts/up"], "e (o + o) i -> e i o, e i o"),
    rule("experts.down_proj", "experts/down", "e o i -> e i o"),
]
DENSE = under("layers.{i}.mlp", "layer_{i}/feed_forward",
    dense("gate_proj", "gate", bias=False),
    dense("up_proj", "up", bias=False),
    dense("down_proj", "down", bias=False),
    i="num_layers[not sparse_layers]")


def make_source(
    model_type: str,
    family: str,
    experts: str,
    projections: tuple[str, str, str],
    *entries: ConfigEntries,
    answers_prefix: Any = None,
    **defaults: Any,
) -> Source:
    """Return the format of an architecture with this graph.

    Args:
        experts: what precedes the tensors of the router and of experts in a layer of a file.
        projections: what a file calls those of an expert: of the gate, up and down.
        entries: those of its config alone.
        answers_prefix: what precedes the graph's tensors in a file with a head for answers, where
            it isn't "model.".
        defaults: its defaults for the fields of all.
    """
    gate, up, down = projections

    def weights(mixture: Entries) -> list[Entries]:
        return [
            embedding("embed_tokens", "token_embedding"),
            under("layers.{i}", "layer_{i}", ATTENTION),
            mixture,
            when("sparse_layers", DENSE),
            norm("norm", "final_norm", bias=False),
        ]

    def mixture(name: str, *entries: Entries) -> Entries:
        ours = "layer_{i}/feed_forward"
        return under(f"layers.{{i}}.{name}", ours, *entries, i="num_layers[sparse_layers]")

    return Source(
        model_type=model_type,
        architecture=f"{family}Model",
        prefix="model.",
        config=with_defaults([llama.SHARED, SHARED, entries], **defaults),
        weights=weights(mixture(experts, ROUTER, under("experts.{e}", "experts",
            rule(f"{gate}.weight", "gate", "o i -> {e} i o"),
            rule(f"{up}.weight", "up", "o i -> {e} i o"),
            rule(f"{down}.weight", "down", "o i -> {e} i o"),
            e="num_experts"))),
        module_weights=weights(mixture("mlp", STACKED)),
        heads={
            "causal_lm": causal_lm_head(f"{family}ForCausalLM", tokens=".embed_tokens.weight"),
            "text_classifier": last_token_head(f"{family}ForSequenceClassification"),
            "token_classifier": every_token_head(f"{family}ForTokenClassification"),
            "question_answering": Head(
                (f"{family}ForQuestionAnswering",), dense("qa_outputs", "logits"),
                prefix=answers_prefix,
            ),
        },
        tie_word_embeddings=False,
    )


MIXTRAL = make_source("mixtral", "Mixtral", "block_sparse_moe", ("w1", "w3", "w2"),
    field("num_local_experts", "num_experts", 8, aliases=("num_experts",)),
    field("sliding_window", "sliding_window", None, least=2),
    must_be("router_jitter_noise", 0.0),
    [constant(name, value) for name, value in {"attention_bias": False, "query_key_norm": False,
        "moe_intermediate_dim": None, "normalize_weights": True, "sparse_layers": None,
        "use_sliding_window": True}.items()],
    num_key_value_heads=8, intermediate_size=14336, rms_norm_eps=1e-5,
    max_position_embeddings=131072,
    **{"rope_parameters.rope_theta": 1e6})
QWEN3_MOE = make_source("qwen3_moe", "Qwen3Moe", "mlp", ("gate_proj", "up_proj", "down_proj"),
    field("num_local_experts", "num_experts", 128, aliases=("num_experts",)),
    field("moe_intermediate_size", "moe_intermediate_dim", 768),
    field("norm_topk_prob", "normalize_weights", False),
    EveryNthBut("mlp_only_layers", "sparse_layers", None, layers=llama.LAYERS,
        step=every_nth("decoder_sparse_step", True, False, 1, is_last=True)),
    field("use_sliding_window", "use_sliding_window", False, reason="the config's class reads it"),
    field("sliding_window", "sliding_window", 4096, nullable=True, least=2,
        switch="use_sliding_window"),
    field("attention_bias", "attention_bias", False),
    constant("query_key_norm", True),
    must_be("attention_chunk_size", None),
    answers_prefix="transformer.",
    vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=24,
    num_key_value_heads=4, num_experts_per_tok=8, max_position_embeddings=32768)
