"""Find attention with relative positions and segments in the scores (Dai et al., 2019;
arXiv:1901.02860; Yang et al., 2019, arXiv:1906.08237), whose tensors have an axis of heads.
"""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.find_slots import ATTENTION_NORM, KEY, OUTPUT, QUERY, VALUE
from inarch.port.graph import Graph, Slot
from inarch.port.modules import TheirModule
from inarch.port.roles import Recognized

RELATIVE_SEGMENTS = "relative, with segments"
SPLIT, JOINED = "d h k -> d (h=num_heads k)", "d h k -> (h=num_heads k) d"
# Names of tensors in a module, with ours, the variable, and how its axes lie.
PARAMETERS = {
    "q": (QUERY, "/kernel", SPLIT), "k": (KEY, "/kernel", SPLIT), "v": (VALUE, "/kernel", SPLIT),
    "o": (OUTPUT, "/kernel", JOINED), "r": ("attention/position_key", "/kernel", SPLIT),
    "r_w_bias": ("attention/content_bias", "", "h k -> h k"),
    "r_r_bias": ("attention/position_bias", "", "h k -> h k"),
    "r_s_bias": ("attention/segment_bias", "", "h k -> h k"),
    "seg_embed": ("attention/segment_keys", "", "s h k -> s h k"),
}  # fmt: skip


def relative_slots(others: Sequence[Recognized], stack: str) -> list[Slot]:
    """Return the slots of such attention; none where a tensor of it isn't there.

    Args:
        others: tensors that are in no module.
        stack: the one that is drafted.
    """
    found = {}
    for one in others:
        home, _, leaf = one.pattern.name.rpartition(".")
        if stack and home.startswith(stack) and leaf in PARAMETERS:
            ours, variable, axes = PARAMETERS[leaf]
            module = TheirModule(one.pattern.name, one.role or "", one.pattern)
            is_like = len(module.shape) == len(axes.partition(" ->")[0].split())
            if is_like:
                found[leaf] = Slot(module, (ours,), "parameter", rule=(variable, axes))
    homes = {slot.module.name.rpartition(".")[0] for slot in found.values()}
    return [*found.values()] if len(homes) == 1 and found.keys() == PARAMETERS.keys() else []


def with_relative_segments(graph: Graph) -> Graph:
    """Return the graph whose attention has a norm of its own, with positions that no field has."""
    slots = tuple(
        Slot(slot.module, ("attention/norm",), "norm") if slot.ours == (ATTENTION_NORM,) else slot
        for slot in graph.slots
    )
    sizes = {**graph.sizes, "num_segments": graph.size("attention/segment_keys", 0)}
    return graph.replace(
        slots=slots, positions=RELATIVE_SEGMENTS, sizes=sizes, parallel="no",
        decisions=graph.decisions_without("positions"),
    )  # fmt: skip
