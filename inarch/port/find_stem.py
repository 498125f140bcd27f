"""Find a stem of convolutions that makes features of samples of sound, and their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.layers.frames import NORMS
from inarch.port.arguments import find_field
from inarch.port.evidence import Evidence
from inarch.port.graph import EMBEDDINGS, POSITIONS, Graph, Slot
from inarch.port.known_arguments import STEM
from inarch.port.modules import TheirModule
from inarch.port.roles import Recognized
from inarch.port.tiny_inputs import SAMPLES

# The norm whose place `normalize_first` decides: before the layers or after them.
ENCODER_NORM = "encoder_norm"
# Tensors of a convolution whose weight is normalized, as torch names them: variables and axes.
WEIGHT_NORM = {
    ".parametrizations.weight.original0": ("/scale", "a b w -> w a b"),
    ".parametrizations.weight.original1": ("/kernel", "o i w -> w i o"),
    ".bias": ("/bias", "o -> o"),
}


def with_stem(
    graph: Graph, evidence: Evidence, modules: Sequence[TheirModule], others: Sequence[Recognized]
) -> Graph:
    """Return the graph with the stem in place of the layer that is missing, where it is one.

    That is where nothing else is missing than what makes the input of the first layer, all of
    whose tensors have a place in the stem and in the convolution that gives positions.

    Args:
        modules: of the backbone.
        others: tensors that are in no module.
    """
    is_input = [one.part for one in graph.missing] == [EMBEDDINGS]
    if graph.reads != SAMPLES or not is_input or not _has_fields(evidence.defaults):
        return graph
    slots = [*_convolutions(graph, modules), *_positions(graph, others)]
    if {s.module.name for s in slots} != graph.unplaced or len(slots) != 2 + len(WEIGHT_NORM):
        return graph
    norms = {"embeddings_norm", "final_norm"}
    kept = [
        replace(s, ours=(ENCODER_NORM,)) if norms & {*s.ours} else _with_switch(s, evidence)
        for s in graph.slots
    ]
    parts = {name: name for s in kept for name in s.when}
    switches = {**graph.switches}
    if field := find_field("normalize_first", evidence.defaults):
        switches["normalize_first"] = field
    return graph.replace(
        slots=(*slots, *kept), parts={**graph.parts, **parts}, switches=switches, missing=(),
        unplaced=frozenset(), stem=slots[0].module.stack, positions="convolution",
        decisions=graph.decisions_without("inputs", "positions", EMBEDDINGS),
    )  # fmt: skip


def _has_fields(config: Mapping[str, Any]) -> bool:
    """Return whether a config has all fields of the brick, with a kind of norms that it has."""
    fields = {name: find_field(name, config) for name in STEM}
    return all(fields.values()) and config[fields["stem_norm"] or ""] in NORMS


def _convolutions(graph: Graph, modules: Sequence[TheirModule]) -> list[Slot]:
    """Return the slots of convolutions of one input, and of their norms."""
    left = [m for m in modules if m.name in graph.unplaced]
    found = [m for m in left if m.stack and m.role == "convolution" and m.shape[1:2] == (1,)]
    starts = tuple(name for m in found for name in (m.stack, m.stack.replace("{i}", "0")))
    found += [m for m in left if m.role == "norm" and m.name.startswith(starts)]
    return [Slot(m, (ours,), "stem") for m, ours in zip(found, ("stem", "stem_norm"), strict=False)]


def _positions(graph: Graph, others: Sequence[Recognized]) -> list[Slot]:
    """Return the slots of the tensors of a convolution whose weight is normalized."""
    return [
        Slot(
            TheirModule(one.pattern.name, one.role or "", one.pattern),
            (POSITIONS,), "parameter", rule=rule,
        )
        for end, rule in WEIGHT_NORM.items()
        for one in others
        if one.pattern.name in graph.unplaced and one.pattern.name.endswith(end)
    ]  # fmt: skip


def _with_switch(slot: Slot, evidence: Evidence) -> Slot:
    """Return the slot of the norm of features with the field that decides whether it is there."""
    conditions = evidence.parts.conditions.get(slot.module.weight.name, {})
    if slot.ours != ("projection_norm",) or [*conditions.values()] != [True]:
        return slot
    return replace(slot, when=tuple(conditions))
