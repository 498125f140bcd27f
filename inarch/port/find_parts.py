"""Find the layers of a draft that fields of the config decide about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.json_fields import is_number
from inarch.port.evidence import Evidence
from inarch.port.find_slots import POSITION_KEY, POSITION_PARTS, RELATIVE, RELATIVE_NORM
from inarch.port.graph import Graph, Slot
from inarch.port.known_arguments import DISENTANGLED, KNOWN, NARROW
from inarch.port.layer_fields import WINDOWS, LayerField
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize

# What a model may have besides: outside of its layers, and within.
OUTSIDE = ("position table", "segment table", "relative table", "norm", "convolution")
INSIDE = ("position projection",)
# Words of a config for kinds of layers, and ours.
LAYER_TYPES = {"full_attention": "global", "sliding_attention": "local"}


def optional_tensors(evidence: Evidence) -> dict[str, TensorInfo]:
    """Return the tensors that the reference has with other values of fields.

    Those of disentangled attention and of what is next to it, which layers here compute.
    """
    added = evidence.parts.added
    tensors = {**evidence.tensors, **added}
    roles = recognize(collapse_names(tensors, evidence.config), evidence.config)
    if not any(part.role == "relative table" for part in roles):
        return {}
    taken = {
        part.pattern.name
        for part in roles
        if part.role in (INSIDE if part.pattern.indices else OUTSIDE)
        or (part.is_bias and part.module in {p.module for p in roles if p.role in INSIDE})
    }
    return {
        name: info
        for name, info in added.items()
        if collapse_names({name: info}, {})[0].name in taken
    }


def read_defaults(evidence: Evidence, graph: Graph) -> dict[str, Any]:
    """Return fields of arguments that the config lacks, with the reference's defaults."""
    known = {name for one in KNOWN if one.argument in DISENTANGLED for name in one.fields}
    known = {*graph.parts.values(), *(known if graph.positions == "disentangled" else ())}
    found = {name: value for name, value in _absent(evidence).items() if name in known}
    found |= {name: None for name in evidence.follows if name in NARROW}
    return {n: v for n, v in found.items() if n not in evidence.defaults}


def _absent(evidence: Evidence) -> Mapping[str, Any]:
    return evidence.reads.absent if evidence.reads is not None else {}


def with_parts(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the arguments that decide whether a layer is there."""
    graph = _with_norm_biases(graph, evidence)
    conditions = evidence.parts.conditions
    if graph.positions != "disentangled":
        return graph
    parts: dict[str, str] = {**graph.parts}
    slots = []
    for slot in graph.slots:
        when = []
        for field, value in conditions.get(slot.module.weight.name, {}).items():
            name = part_argument(field)
            if slot.ours[0] in POSITION_PARTS and name == "position_terms":
                when.append("c2p" if slot.ours[0] == POSITION_KEY else "p2c")
                continue
            parts[name] = field
            when.append(name if is_yes(evidence, field, value) else f"not {name}")
        slots.append(replace(slot, when=tuple(sorted(when, key=_rank))))
    return graph.replace(slots=tuple(_of_table(slots)), parts=parts)


def _with_norm_biases(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the field that decides whether norms have biases, if there is one."""
    norms = {s.module.tensor_name("bias"): s.ours[0] for s in graph.slots if s.kind == "norm"}
    for field in evidence.parts.values:
        if norms and evidence.switches.get(field) == norms.keys():
            biases = {**graph.biases, **dict.fromkeys(norms.values(), field)}
            return graph.replace(biases=biases, parts={field: field})
    return graph


def with_layer_fields(
    graph: Graph,
    layers: Mapping[str, LayerField],
    usual: Mapping[str, Any],
    halved: Collection[str],
) -> Graph:
    """Return the graph with kinds of layers, and layers without positions, where fields have those.

    Args:
        layers: fields with a value for each layer.
        usual: the config's defaults.
        halved: values of what the reference's config computes of its fields.
    """
    if graph.positions != "rotary" or graph.is_pair:
        return graph
    switches = dict(graph.switches)
    field = next((name for name in WINDOWS if is_number(usual.get(name))), None)
    for one in layers.values():
        values = {one.first, one.other}
        if values != {*LAYER_TYPES} and not one.switch:
            switches["rotary_layers"] = one.name
            graph = graph.replace(rotary_layers={value: bool(value) for value in values})
        elif values == {*LAYER_TYPES} and field is not None:
            way = "// 2" if str(usual[field] // 2) in halved else "- 1"
            graph = graph.replace(layer_types=LAYER_TYPES, window=f"{field} {way}")
            if one.switch:
                switches["use_sliding_window"] = one.switch
    return graph.replace(switches=switches)


def with_switched_window(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the switch of a window that all layers have, where there is one."""
    if evidence.window is None or graph.is_pair:
        return graph
    switch, fields = evidence.window
    switches = {**graph.switches, "use_sliding_window": switch}
    return graph.replace(window=f"{next(iter(fields))} - 1", switches=switches)


def _of_table(slots: Sequence[Slot]) -> Iterator[Slot]:
    """Iterate over slots; the norm of a table is there with the table alone."""
    tables = [slot for slot in slots if slot.ours == (RELATIVE,)]
    for slot in slots:
        more = tuple(n for table in tables for n in table.when if n not in slot.when)
        if slot.ours != (RELATIVE_NORM,) or len(more) != 1:
            yield slot
        else:
            idle = (*slot.when, f"not {more[0]}")
            yield replace(slot, when=(*more, *slot.when), idle=idle)


def _rank(condition: str) -> bool:
    """Return whether a condition comes after the others: one on a term of attention."""
    return condition in ("c2p", "p2c")


def part_argument(field: str) -> str:
    """Return the argument that a field which decides about layers is."""
    return next((one.argument for one in KNOWN if field in one.fields), field)


def is_yes(evidence: Evidence, field: str, value: Any) -> bool:
    """Return whether a value of a field is the one that means yes."""
    if isinstance(value, bool | int):
        return bool(value)
    usual = evidence.defaults.get(field, _absent(evidence).get(field))
    return bool(value != usual)
