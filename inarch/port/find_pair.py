"""Find the graph of an encoder with a decoder, whose tensors' names begin with these two words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.port.decisions import Decision, decide, guess
from inarch.port.find_missing import main_stack
from inarch.port.find_positions import find_positions
from inarch.port.find_slots import ORDER, SlotFinder
from inarch.port.graph import DECODER, ENCODER, SIDES, TOKENS, Graph, Slot
from inarch.port.modules import TheirModule
from inarch.port.norms import norm_kind
from inarch.port.patterns import flatten_sizes


def is_pair(modules: Sequence[TheirModule]) -> bool:
    """Return whether an encoder and a decoder have layers with attention."""
    attention = ("query", "query, key and value")
    return {side_of(m) for m in modules if m.stack and m.role in attention} >= {*SIDES}


def side_of(module: TheirModule) -> str:
    """Return the stack that a module is in by its name; `""` outside of both."""
    begin = module.name.partition(".")[0]
    return begin if begin in SIDES else ""


def find_pair(
    modules: Sequence[TheirModule],
    config: Mapping[str, Any],
    calls: Sequence[str],
    ties: Mapping[str, str] | None,
) -> Graph:
    """Return the graph of an encoder with a decoder; for the arguments see `find_graph`."""
    tokens = [m for m in modules if m.role == "token table" and len(m.shape) == 2]
    tables, copies, decisions = _tables(tokens, ties)
    slots, finders = list(tables), {}
    stacks: list[str] = []
    for side in SIDES:
        own = [m for m in modules if side_of(m) == side and m not in tokens]
        called = [name for name in calls if name.startswith(f"{side}.")]
        finder = SlotFinder(flatten_sizes(config), called, crosses=side == DECODER)
        inside, outside = [m for m in own if m.stack], [m for m in own if not m.stack]
        stacks.append(main_stack(inside, tokens))
        inside = [m for m in inside if m.stack == stacks[-1]]
        found = [*finder.tables(outside), *finder.block(inside), *finder.others(outside)]
        slots += [replace(slot, side=side) for slot in found]
        finders[side] = finder
    stray = [m for m in modules if not side_of(m) and m not in tokens]
    decisions += [
        decide(m.name, "in neither stack: the weight map leaves it out") for m in stray
    ]  # fmt: skip
    first = [slot for slot in slots if slot.side in (ENCODER, "")]
    positions, padded, offset = find_positions(finders[ENCODER], first, config)
    order = finders[ENCODER].order(first)
    if (other := finders[DECODER].order([s for s in slots if s.side == DECODER])) != order:
        decisions.append(decide("decoder", f"its norms are in the order {other!r}"))
    rank = {name: i for i, name in enumerate(ORDER)}
    slots.sort(key=lambda s: (["", *SIDES].index(s.side), rank.get(s.ours[0], len(rank))))
    noted = [line for finder in finders.values() for line in finder.decisions]
    return Graph(
        False, tuple(slots), order=order, norm=norm_kind(slots, config), positions=positions,
        offset=offset, padded=padded, copies=tuple(copies), stacks=tuple(stacks),
        decisions=tuple(dict.fromkeys((*decisions, *noted))),
    )  # fmt: skip


def _tables(
    tokens: Sequence[TheirModule], ties: Mapping[str, str] | None
) -> tuple[list[Slot], list[tuple[str, str]], list[Decision]]:
    """Return the tables of tokens, the tensors that are one of them again, and what is assumed."""
    if not tokens:
        return [], [], []
    ordered = sorted(tokens, key=lambda m: ["", *SIDES].index(side_of(m)))
    names = {m.tensor_name("weight"): m for m in ordered}
    known = ties
    if known is None:
        shared = ordered[0].tensor_name("weight")
        alike = [n for n, m in names.items() if m.shape == ordered[0].shape and n != shared]
        # A table of neither stack is both's; without one each has its own.
        known = dict.fromkeys(alike, shared) if not side_of(ordered[0]) else {}
    copies = [(name, known[name]) for name in names if known.get(name) in names]
    kept = [module for name, module in names.items() if name not in dict(copies)]
    lines = []
    if ties is None and len(kept) == 1:
        lines.append(guess(kept[0].name, "the table of both stacks", "a table for each"))
    if len({m.shape[0] for m in kept[: len(SIDES)]}) > 1:
        lines.append(decide(kept[1].name, "another number of tokens than the encoder's"))
    lines += [decide(m.name, "a further table of tokens") for m in kept[len(SIDES) :]]
    sides = SIDES if len(kept) > 1 else ("",)
    slots = [Slot(m, (TOKENS,), "embedding", s) for m, s in zip(kept, sides, strict=False)]
    return slots, copies, lines
