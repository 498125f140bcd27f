"""A draft in the names that its reference's files have, where its modules have others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.decisions import Decision, decide, settled
from inarch.port.draft import Draft
from inarch.port.evidence import Evidence
from inarch.port.experts import NUMBER, in_files
from inarch.port.graph import Graph, Slot
from inarch.port.heads import HeadDraft
from inarch.port.patterns import INDICES, collapse_names


def in_file_names(draft: Draft) -> Draft:
    """Return the draft with the names of its reference's files in the place of its modules'."""
    names = _saved_names(draft)
    if not names and not (draft.evidence and draft.evidence.experts):
        return draft
    holder = {part: (name, parts) for name, parts in names.items() for part in parts}
    graph = _experts_in_files(_graph_in_files(draft.graph, holder), holder, draft.evidence)
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
    saved = {} if draft.evidence is None else draft.evidence.saved
    return {name: parts for name, parts in saved.items() if parts}


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


def _experts_in_files(
    graph: Graph, holder: Mapping[str, tuple[str, tuple[str, ...]]], evidence: Evidence | None
) -> Graph:
    mixture = graph.mixture
    if mixture is None or evidence is None:
        return graph
    (stack,) = graph.stacks

    def named(theirs: str) -> str:
        return holder.get(f"{stack}.{theirs}", (theirs, ()))[0].removeprefix(f"{stack}.")

    whole = (replace(one, theirs=named(one.theirs)) for one in mixture.projections)
    found = in_files(mixture, stack, evidence.experts)
    if found is mixture:
        found = replace(mixture, projections=tuple(whole))
    return graph.replace(mixture=replace(found, router=named(mixture.router)))


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


def strange_tensors(
    tensors: Mapping[str, TensorInfo],
    given: Mapping[str, Any],
    whole: Mapping[str, TensorInfo],
    evidence: Evidence,
) -> dict[str, str]:
    """Return the patterns of a file's names that no tensor of the reference or its heads has.

    Args:
        tensors: of the file.
        given: its config.
        whole: the tensors of the reference without a head.

    Returns:
        what is known of each.
    """

    def patterns(found: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> list[str]:
        short = {name.removeprefix(evidence.prefix): info for name, info in found.items()}
        return [pattern.name for pattern in collapse_names(short, config)]

    known = {name for found in (whole, *(h.tensors for h in evidence.heads))
             for name in patterns(found, {})}  # fmt: skip
    known |= {name.removeprefix(evidence.prefix) for name, parts in evidence.saved.items() if parts}
    index = f"{{{INDICES[1]}}}"
    known |= {
        name.removeprefix(evidence.prefix).replace(NUMBER, index) for name in evidence.experts
    }
    numbered = [name.replace("{i}", "0") for name in evidence.saved]
    made = patterns(dict.fromkeys(numbered, TensorInfo("F32", ())), {})
    absent = f"in the file, and {evidence.version} has no such tensor"
    changed = f"in files, and {evidence.version} makes other tensors of it"
    strange = [name for name in patterns(tensors, given) if name not in known]
    return {name: changed if name in made else absent for name in strange}
