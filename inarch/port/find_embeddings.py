"""Find what fields decide about the embeddings of an encoder with rotary positions."""

from __future__ import annotations

from typing import Any

from inarch.port.evidence import Evidence
from inarch.port.graph import POSITIONS, Graph, Slot
from inarch.port.modules import group_modules
from inarch.port.patterns import collapse_names, index_names
from inarch.port.roles import recognize

# Fields of true and false by which mask tokens count as dropped, and the field of that token.
DROPPING = ("token_dropout",)
MASK = "mask_token_id"
FREQUENCIES = "inv_freq"


def with_own_embeddings(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with stored frequencies, and with mask tokens that may count as dropped.

    Where they may, other layers of the embeddings that fields add are those of the same brick: a
    table of positions in the place of rotary ones, and a norm.
    """
    if graph.positions != "rotary" or graph.causal or graph.is_pair:
        return graph
    stored = [name for name in evidence.tensors if name.endswith(FREQUENCIES)]
    if len(stored) == 1 and index_names(stored[0]) == stored[0]:
        graph = graph.replace(stored=stored[0])
    read = evidence.model_reads
    field = next((n for n in DROPPING if n in read and MASK in read), None)
    if field is None:
        return graph
    switches = {**graph.switches, "zero_mask_tokens": field}
    return _with_parts(graph.replace(switches=switches, padded=True), evidence)


def _with_parts(graph: Graph, evidence: Evidence) -> Graph:
    slots, parts, switches = list(graph.slots), {**graph.parts}, {**graph.switches}
    tensors = collapse_names(evidence.parts.added, evidence.config)
    modules, _ = group_modules(recognize(tensors, evidence.config))
    for module in (m for m in modules if not m.stack):
        field, value = next(iter(evidence.parts.conditions[module.weight.name].items()))
        if module.role == "position table" and isinstance(value, str):
            switches["positions"] = field
            slots.append(Slot(module, (POSITIONS,), "embedding", when=("absolute",)))
        elif module.role == "norm" and isinstance(value, bool) and "emb" in module.words:
            parts["embeddings_norm"] = field
            when = "embeddings_norm" if value else "not embeddings_norm"
            slots.append(Slot(module, ("embeddings_norm",), "norm", when=(when,)))
    return graph.replace(slots=tuple(slots), parts=parts, switches=switches)


def words_for_positions(graph: Graph, evidence: Evidence | None) -> dict[Any, str]:
    """Return the values of the field of positions, with ours."""
    if evidence is None:
        return {}
    field = graph.switches["positions"]
    slot = graph.slot(POSITIONS)
    table = evidence.parts.conditions[slot.module.weight.name][field] if slot else ""
    others = [value for value in evidence.parts.values[field] if value != table]
    return {table: "absolute", **dict.fromkeys(others, "rotary")}
