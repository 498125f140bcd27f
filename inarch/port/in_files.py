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
    names = {} if draft.evidence is None else draft.evidence.saved
    if not names:
        return draft
    holder = {part: (name, parts) for name, parts in names.items() for part in parts}
    graph = _graph_in_files(draft.graph, holder)
    heads = tuple(_head_in_files(head, holder) for head in draft.heads)
    return draft.replace(graph=graph, heads=heads)


def name_lines(draft: Draft) -> list[Decision]:
    """Return what is to be said of the names that files have."""
    names = {} if draft.evidence is None else draft.evidence.saved
    if not names:
        return []
    count = sum(len(parts) for parts in names.values())
    words = f"{count} tensors have other names in files than in the model, as a saved one shows"
    known = {f"{slot.module.name}{slot.module.joint}weight" for slot in draft.graph.slots}
    known |= {f"{slot.module.name}{slot.module.joint}bias" for slot in draft.graph.slots}
    mixed = [
        name for name, parts in names.items() if known & {*parts} and not {*parts} <= known
    ]  # fmt: skip
    return [
        settled("names", words),
        *(decide(name, "files fuse it with what has no layer here") for name in mixed),
    ]


def _graph_in_files(graph: Graph, holder: Mapping[str, tuple[str, tuple[str, ...]]]) -> Graph:
    merged: dict[str, Slot] = {}
    by_tensor = {f"{slot.module.name}{slot.module.joint}weight": slot for slot in graph.slots}
    for tensor, slot in by_tensor.items():
        name, parts = holder.get(tensor, (tensor, (tensor,)))
        if name in merged:
            continue
        members = [by_tensor[part] for part in parts if part in by_tensor]
        ours = tuple(one for member in members for one in member.ours)
        module = replace(slot.module, name=name.removesuffix(f"{slot.module.joint}weight"))
        merged[name] = Slot(module, ours, slot.kind)
    return graph.replace(slots=tuple(merged.values()), gate_first=True)


def _head_in_files(head: HeadDraft, holder: Mapping[str, tuple[str, tuple[str, ...]]]) -> HeadDraft:
    def named(tensor: str) -> str:
        return holder[tensor][0] if tensor in holder else tensor

    def module(name: str) -> str:
        return named(f"{name}.weight").removesuffix(".weight")

    return replace(
        head,
        dense=tuple((module(name), ours, bias) for name, ours, bias in head.dense),
        norms=tuple((module(name), ours) for name, ours in head.norms),
        bias=tuple(map(named, head.bias)),
        table=named(head.table),
    )
