"""Find how the positions of tokens enter a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.port.bricks import ROTARY, find_alibi
from inarch.port.decisions import decide, guess
from inarch.port.find_slots import SlotFinder
from inarch.port.graph import ALIBI, POSITIONS, Slot


def find_positions(
    finder: SlotFinder, slots: Sequence[Slot], config: Mapping[str, Any]
) -> tuple[str, bool, int]:
    """Return how positions enter, whether they count tokens, and the rows before the first.

    What it couldn't decide is added to that of the finder.
    """
    by_ours = {slot.ours[0]: slot.module for slot in slots}
    if finder.is_disentangled:
        return "disentangled", False, 0
    table = by_ours.get(POSITIONS)
    if table is not None:
        longest = finder.fields.get("max_position_embeddings", finder.fields.get("n_positions", 0))
        offset = table.shape[0] - longest if 0 < table.shape[0] - longest < 8 else 0
        if offset and longest:
            finder.decisions.append(
                guess(table.name, f"{offset} rows more than positions, before the first")
            )
        padded = longest - 2 in {2**n for n in range(7, 15)} and not offset
        if padded:
            finder.decisions.append(
                guess(
                    table.name, f"positions count from the padding id on, as {longest} is 2 "
                    "more than a power of two", "positions from 0 on",
                )
            )  # fmt: skip
        return "learned", padded, offset
    if "relative_bias" in by_ours:
        return "relative", False, 0
    nested = {n for value in config.values() if isinstance(value, Mapping) for n in value}
    if {*ROTARY} & {*config, *nested}:
        return "rotary", False, 0
    if (sign := find_alibi(config)) is not None:
        finder.decisions.append(guess("positions", f"ALiBi, as {sign} shows", "none"))
        return ALIBI, False, 0
    finder.decisions.append(
        decide("positions", "no tensor and no field has them", "sinusoids", "ALiBi", "none")
    )
    return "none", False, 0
