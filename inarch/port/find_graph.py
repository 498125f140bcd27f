"""Find the graph of a model by its modules, and by what a reference shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.port.arguments import has_number
from inarch.port.decisions import guess
from inarch.port.experts import find_mixture, without_experts
from inarch.port.find_choice import with_choice
from inarch.port.find_missing import main_stack, with_missing
from inarch.port.find_pair import find_pair, is_pair
from inarch.port.find_positions import find_positions
from inarch.port.find_relative import relative_slots, with_relative_segments
from inarch.port.find_slots import DENSE, FEED_FORWARD_NORM, GATE, ORDER, QUERY, UP, SlotFinder
from inarch.port.graph import (
    BY_HEAD,
    BY_PROJECTION,
    ONE_NORM,
    SEQUENTIAL,
    TOKENS,
    TWO_NORMS,
    Graph,
    Slot,
)
from inarch.port.modules import TheirModule
from inarch.port.norms import norm_kind
from inarch.port.patterns import HEADS, HIDDEN, first, flatten_sizes, head_width
from inarch.port.roles import Recognized


def find_graph(
    modules: Sequence[TheirModule],
    config: Mapping[str, Any],
    causal: bool,
    calls: Sequence[str] = (),
    ties: Mapping[str, str] | None = None,
    others: Sequence[Recognized] = (),
) -> Graph:
    """Return the graph that modules are of: an encoder, a decoder, or an encoder with a decoder.

    Args:
        modules: those of the backbone, without their model's name.
        config: whose sizes are those of the modules.
        causal: whether it is a decoder.
        calls: names of modules in the order in which a reference calls them; empty without one.
        ties: tensors that are others in a reference, with those; None without one.
        others: tensors that are in no module.
    """
    inside = [module for module in modules if module.stack]
    outside = [module for module in modules if not module.stack]
    if is_pair(modules):
        graph = find_pair(modules, config, calls, ties)
        graph = _with_details(graph, flatten_sizes(config), config)
        return with_missing(graph, modules, others)
    stack = main_stack(inside, outside)
    finder = SlotFinder(flatten_sizes(config), list(calls))
    inside = [module for module in inside if module.stack == stack]
    mixture, odd = find_mixture(inside, others, config, stack)
    if mixture is not None:
        finder.has_experts = True
        inside, _ = without_experts(inside, others, stack)
        modules, others = without_experts(modules, others, stack)
    slots = [*finder.tables(outside), *finder.block(inside), *finder.others(outside)]
    relative = relative_slots(others, stack)
    slots += [*biases_alone(slots, others), *relative]
    positions, padded, offset = find_positions(finder, slots, config)
    rank = {name: i for i, name in enumerate(ORDER)}
    slots.sort(key=lambda slot: rank.get(slot.ours[0], len(rank)))
    graph = Graph(
        causal,
        tuple(slots),
        order=finder.order(slots),
        norm=norm_kind(slots, config),
        positions=positions,
        offset=offset,
        padded=padded,
        stacks=(stack,) if stack else (),
        mixture=mixture,
        decisions=tuple(finder.decisions),
    )
    graph = _with_details(graph, finder.fields, config)
    layers = max((module.layers for module in inside), default=0)
    graph = graph.replace(sizes={**graph.sizes, **({"num_layers": layers} if layers else {})})
    graph = with_relative_segments(graph) if relative else with_choice(graph, config)
    return with_missing(graph, modules, others, odd)


def biases_alone(slots: Sequence[Slot], others: Sequence[Recognized]) -> list[Slot]:
    """Return the biases of queries, keys and values that stand by themselves."""
    found = []
    known = {name: slot.module for slot in slots for name in slot.ours}
    for one in others:
        names = DENSE.get(one.role or "", ())
        is_vector = len(one.pattern.shapes[0]) == 1 and len(one.pattern.indices) == 1
        if is_vector and len(names) == 1 and names[0] in known and known[names[0]].bias is None:
            module = TheirModule(one.pattern.name, one.role or "", one.pattern)
            found.append(Slot(module, (f"{names[0]}/bias",), "bias"))
    return found


def _with_details(graph: Graph, fields: Mapping[str, int], config: Mapping[str, Any]) -> Graph:
    """Return the graph with what the shapes of its slots show."""
    biases = {
        ours: slot.module.bias is not None
        for slot in graph.slots
        for ours in slot.ours
        if slot.kind == "dense"
    }
    alone = [slot.ours[0].removesuffix("/bias") for slot in graph.slots if slot.kind == "bias"]
    biases |= dict.fromkeys(alone, True)
    up = graph.slot(UP)
    hidden = first(fields, HIDDEN)
    transposed = bool(up and hidden and up.module.shape[0] == fields[hidden] != up.module.shape[-1])
    fused = graph.slot(QUERY)
    by_head = fused is not None and "query_key_value" in fused.module.words
    decisions = list(graph.decisions)
    if fused is not None and len(fused.ours) == 3:
        way, other = (BY_HEAD, BY_PROJECTION) if by_head else (BY_PROJECTION, BY_HEAD)
        decisions.append(guess(fused.module.name, f"queries, keys and values {way}", other))
    gate = graph.slot(GATE)
    if gate is not None and len(gate.ours) == 2:
        decisions.append(guess(gate.module.name, "the gate first", "the gate last"))
    is_parallel = any("parallel" in name and config[name] is True for name in config)
    parallel = TWO_NORMS if is_parallel else SEQUENTIAL
    if not graph.has(FEED_FORWARD_NORM) and graph.has(QUERY) and (graph.has(UP) or graph.mixture):
        parallel = ONE_NORM
    return graph.replace(
        sizes=_sizes(graph, config), biases=biases, transposed=transposed, gated=graph.has(GATE),
        capped_scores=has_number("attention_soft_cap", config),
        joint_norms=_has_joint_norms(graph, fields), parallel=parallel,
        fused=BY_HEAD if by_head else BY_PROJECTION, decisions=tuple(decisions),
    )  # fmt: skip


def _has_joint_norms(graph: Graph, fields: Mapping[str, int]) -> bool:
    """Return whether the norm of queries has a weight for each feature of all heads."""
    norm, heads = graph.slot("attention/query_norm"), first(fields, HEADS)
    width = head_width(fields)
    if norm is None or heads is None or width is None or fields[heads] < 2:
        return False
    return norm.module.shape == (fields[heads] * width,)


def _sizes(graph: Graph, config: Mapping[str, Any]) -> dict[str, int]:
    """Return sizes by the tensors, and the heads that go with them in a part of the config."""
    norms = [slot.module.shape[0] for slot in graph.slots if slot.kind == "norm"]
    found = {"hidden_dim": graph.size(TOKENS, 1) or next(iter(norms), 0)}
    for part in config.values():
        fields = flatten_sizes(part) if isinstance(part, Mapping) else {}
        widths = {fields[name] for name in HIDDEN if name in fields}
        if (heads := first(fields, HEADS)) and found["hidden_dim"] in widths:
            found.setdefault("num_heads", fields[heads])
    return {name: size for name, size in found.items() if size}
