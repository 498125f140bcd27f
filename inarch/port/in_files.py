"""A draft in the names that its reference's files have, where its modules have others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from inarch.port.decisions import Decision, decide, settled
from inarch.port.draft import Draft
from inarch.port.graph import Graph, Slot
from inarch.port.heads import HeadDraft


def in_file_names(draft: Draft) -> Draft:
    """Return the draft with the names of its reference's files in the place of its modules'."""
    names = _saved_names(draft)
    if not names:
        return draft
    holder = {part: (name, parts) for name, parts in names.items() for part in parts}
    graph = _graph_in_files(draft.graph, holder)
    heads = tuple(_head_in_files(head, holder) for head in draft.heads)
    return draft.replace(graph=graph, heads=heads)


def name_lines(draft: Draft) -> list[Decision]:
    """Return the decisions on tensors whose names in files differ from those in the model."""
    names = _saved_names(draft)
    if not names:
        return []
    count = sum(len(parts) for parts in names.values())
    words = f"{count} tensors have other names in files than in the model, as a saved one shows"
    leaves = ("weight", "bias")
    known = {slot.module.tensor_name(leaf) for slot in draft.graph.slots for leaf in leaves}
    mixed = [name for name, parts in names.items() if known & {*parts} and not {*parts} <= known]
    return [
        settled("names", words),
        *(decide(name, "files fuse it with what has no layer here") for name in mixed),
    ]


def _saved_names(draft: Draft) -> Mapping[str, tuple[str, ...]]:
    """Return the model's tensors that each tensor of the files holds, where names differ."""
    return {} if draft.evidence is None else draft.evidence.saved


def _graph_in_files(graph: Graph, holder: Mapping[str, tuple[str, tuple[str, ...]]]) -> Graph:
    merged: dict[str, Slot] = {}
    by_tensor = {slot.module.tensor_name("weight"): slot for slot in graph.slots}
    for tensor, slot in by_tensor.items():
        name, parts = holder.get(tensor, (tensor, (tensor,)))
        if name in merged:
            continue
        members = [by_tensor[part] for part in parts if part in by_tensor]
        ours = tuple(one for member in members for one in member.ours)
        module = replace(slot.module, name=name.removesuffix(f"{slot.module.joint}weight"))
        merged[name] = replace(slot, module=module, ours=ours)
    return graph.replace(slots=tuple(merged.values()), gate_first=True)


def _head_in_files(head: HeadDraft, holder: Mapping[str, tuple[str, tuple[str, ...]]]) -> HeadDraft:
    def named(tensor: str) -> str:
        return holder[tensor][0] if tensor in holder else tensor

    def module(name: str) -> str:
        return named(f"{name}.weight").removesuffix(".weight")

    return replace(
        head,
        dense=tuple((module(name), ours, bias) for name, ours, bias in head.dense),
        norms=tuple((module(name), ours, bias) for name, ours, bias in head.norms),
        bias=tuple(map(named, head.bias)),
        table=named(head.table),
        module_table=head.table if named(head.table) != head.table else "",
    )
