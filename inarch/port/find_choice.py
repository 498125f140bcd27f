"""Find the choice of experts in a draft, and the arguments that say it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from inarch.port.decisions import guess
from inarch.port.graph import Graph
from inarch.port.known_arguments import BY_ARGUMENT, EXPERT_WIDTHS
from inarch.port.patterns import HIDDEN, INNER

# Fields that say whether the weights of a token's experts are divided by their sum.
NORMALIZED = ("norm_topk_prob", "normalize_expert_weights")
AS_THEY_ARE, BY_THEIR_SUM = "weights of experts as they are", "weights of experts over their sum"


def with_choice(graph: Graph, config: Mapping[str, Any]) -> Graph:
    """Return the graph with how a token's experts are weighted, by a field or by a guess."""
    mixture = graph.mixture
    if mixture is None:
        return graph
    decisions = list(graph.decisions)
    switches = dict(graph.switches)
    field = next((name for name in NORMALIZED if isinstance(config.get(name), bool)), None)
    if field is not None:
        switches["normalize_weights"] = field
    else:
        decisions.append(guess("experts", BY_THEIR_SUM, AS_THEY_ARE))
    if mixture.fused is not None:
        decisions.append(guess(mixture.fused.theirs, "the gate first", "the gate last"))
    sizes = {**graph.sizes, "num_experts": mixture.count}
    return graph.replace(switches=switches, sizes=sizes, decisions=tuple(decisions))


def with_read_choice(graph: Graph, read: Collection[str]) -> Graph:
    """Return the graph without the field of the weights of experts, where nothing reads it.

    Args:
        read: fields that the reference reads; empty where that isn't known.
    """
    field = graph.switches.get("normalize_weights")
    if field is None or not read or field in read:
        return graph
    switches = {name: one for name, one in graph.switches.items() if one != field}
    line = guess("experts", BY_THEIR_SUM, AS_THEY_ARE)
    return graph.replace(switches=switches, decisions=(*graph.decisions, line))


def of_mixture(graph: Graph, config: Mapping[str, Any]) -> dict[str, bool]:
    """Return which of the arguments of mixtures of experts a graph has."""
    is_there = graph.mixture is not None
    others = [name for name in INNER if name not in (*EXPERT_WIDTHS, *HIDDEN) and name in config]
    return {
        "num_experts": is_there,
        "experts_per_token": is_there,
        "moe_intermediate_dim": is_there and bool(others)
        and any(name in config for name in BY_ARGUMENT["moe_intermediate_dim"].fields),
        "normalize_weights": "normalize_weights" in graph.switches,
        "sparse_layers": graph.mixture is not None and graph.mixture.is_mixed,
    }  # fmt: skip


def other_choices(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Iterate over graphs whose experts are weighted otherwise, or have other gates."""
    mixture = graph.mixture
    if mixture is None:
        return
    if "normalize_weights" not in graph.switches:
        words = AS_THEY_ARE if mixture.normalizes else BY_THEIR_SUM
        other = replace(mixture, normalizes=not mixture.normalizes)
        yield words, graph.replace(mixture=other)
    yield "gates of experts exchanged", graph.replace(mixture=mixture.with_gates_exchanged())
