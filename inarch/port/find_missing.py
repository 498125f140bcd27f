"""Find the parts of a graph that no brick here computes, for which layers must be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.port.attention_bricks import CROSS
from inarch.port.decisions import decide, guess
from inarch.port.find_slots import DENSE, DOWN, KEY, OUTPUT, QUERY, UP, VALUE
from inarch.port.graph import (
    AROUND,
    ATTENTION,
    CROSS_ATTENTION,
    DECODER,
    EMBEDDINGS,
    ENCODER,
    FEED_FORWARD,
    LAYER_END,
    LAYERS,
    SIDES,
    TOKENS,
    Graph,
    Missing,
)
from inarch.port.modules import TheirModule
from inarch.port.patterns import TensorPattern, lower_words
from inarch.port.roles import RECURRENCE, SQUARE, Recognized
from inarch.port.tiny_inputs import FEATURES, PIXELS, SAMPLES

# Roles of tensors of either sublayer, wherever their names have them.
OF_ATTENTION = {
    *DENSE, RECURRENCE, SQUARE, "latent keys and values", "key and value", "attention sink",
    "difference of attention", "gate of attention", "relative table", "relative bias",
    "position projection", "query and key norm",
}  # fmt: skip
OF_FEED_FORWARD = {
    "expert", "router", "shared expert", "up", "down", "gate", "gate and up", "feed-forward",
}  # fmt: skip
OF_HEADS = ("head", "language head")
EXPERTS = "a mixture of experts, which drafts of encoder-decoders have no place for"
OF_EXPERTS = {"shared expert", "expert", "router"}
# What a role of a tensor that has no place says of its sublayer.
REASONS = {
    RECURRENCE: "layers are recurrent (a state space, linear attention or RWKV), which no brick is",
    "latent keys and values": "attention goes through latent keys and values, which no brick has",
}
NEEDED = {
    ATTENTION: (QUERY, KEY, VALUE, OUTPUT),
    CROSS_ATTENTION: tuple(f"cross_{name}" for name in (QUERY, KEY, VALUE, OUTPUT)),
    FEED_FORWARD: (UP, DOWN),
}
WORDS = {ATTENTION: "attention", CROSS_ATTENTION: "cross-attention",
    FEED_FORWARD: "the feed-forward network", LAYER_END: "a layer"}  # fmt: skip
# At most so many tensors are named in one line.
MAX_TENSORS = 8
# Inputs of models that read no tokens, with the number of axes besides that of rows.
AXES = {SAMPLES: 1, FEATURES: 2, PIXELS: 3}


@dataclass(frozen=True)
class _Left:
    """Module or tensor that has no place in a graph."""

    name: str
    role: str
    tensors: tuple[TensorPattern, ...]


def main_stack(inside: Sequence[TheirModule], outside: Sequence[TheirModule]) -> str:
    """Return the name of the stack of layers that a draft has, of those that modules are in.

    That with attention, of the width of the table of tokens, and with the most tensors.
    """
    by_stack: dict[str, list[TheirModule]] = {}
    for module in inside:
        by_stack.setdefault(module.stack, []).append(module)
    widths = {m.shape[-1] for m in outside if m.role == "token table"}

    def rank(stack: str) -> tuple[Any, ...]:
        own = by_stack[stack]
        mixes = any(m.role in OF_ATTENTION - OF_FEED_FORWARD for m in own)
        reads = any(not widths.isdisjoint(m.shape) for m in own)
        return mixes, reads, sum(t.count for m in own for t in m.tensors), -len(stack)

    return max(by_stack, key=rank, default="")


def _in_words(tensors: Sequence[TensorPattern]) -> str:
    """Return tensors with their shapes, the first ones by name."""
    found = [f"{t.name} [{', '.join(map(str, t.shapes[0]))}]" for t in tensors[:MAX_TENSORS]]
    more = len(tensors) - len(found)
    return ", ".join(found) + (f" and {more} more" if more > 0 else "")


def with_missing(
    graph: Graph, modules: Sequence[TheirModule], others: Sequence[Recognized],
    experts: str = "",
) -> Graph:  # fmt: skip
    """Return the graph with the places of layers that must be written.

    A sublayer is one where a tensor of it has no place, or where it lacks what its brick needs.

    Args:
        modules: of the backbone.
        others: tensors that are in no module.
        experts: why no brick computes the experts; `""` where one does, or where there are none.
    """
    placed = {slot.module.name for slot in graph.slots}
    placed |= {copy.rpartition(".")[0] for copy, _ in graph.copies}
    left = [_Left(m.name, m.role, m.tensors) for m in modules if m.name not in placed]
    left += [
        _Left(one.pattern.name, one.role or "", (one.pattern,))
        for one in others
        if one.role != "buffer" and one.pattern.name not in placed
    ]
    found: list[Missing] = []
    names: set[str] = set()
    stacks = [stack for stack in graph.stacks if stack]
    for side in SIDES if graph.is_pair else ("",):
        mine = [stack for stack in stacks if not side or stack.startswith(side)]
        own = [one for one in left if one.name.startswith(tuple(mine))]
        before = [one for one in left if not one.name.startswith(tuple(stacks))]
        before = [one for one in before if not side or one.name.startswith(side)]
        parts = [*_embeddings(graph, side, before), *_of_layers(graph, side, own, experts)]
        is_input = any(part[0] == EMBEDDINGS for part in parts)
        parts += [] if is_input else _around(before)
        if not mine:
            parts.append((LAYERS, "no numbered layers are found", []))
        for part, why, rest in parts:
            tensors = [tensor for one in rest for tensor in one.tensors]
            text = f"{why}; a layer must be written" + (
                f" for {_in_words(tensors)}" if tensors else ""
            )
            is_bare = part == ATTENTION and not tensors and not graph.has(QUERY)
            found.append(Missing(part, text, side, is_bare))
            names |= {one.name for one in rest}
    lines = [decide(one.subject, f"{one.text}, and the weight map leaves this out")
             for one in found]  # fmt: skip
    kept = [one for one in graph.decisions if one.subject not in names]
    if any(one.part == EMBEDDINGS and one.side != DECODER for one in found):
        reads = _raw_input(left)
        graph = graph.replace(reads=reads)
        kept.append(guess("inputs", f"{reads}, by convolutions and tables", *AXES))
    if any(one.text.startswith(REASONS[RECURRENCE]) for one in found):
        slots = (s for s in graph.slots if not s.ours[0].startswith("attention/"))
        graph = graph.replace(slots=tuple(slots))
    return graph.replace(missing=tuple(found), unplaced=frozenset(names), decisions=(*lines, *kept))


Part = tuple[str, str, list[_Left]]


def _embeddings(graph: Graph, side: str, before: list[_Left]) -> Iterator[Part]:
    """Iterate over the place of what makes the input of the first layer, if no brick does."""
    convolved = [one for one in before if one.role == "convolution"]
    if side == ENCODER and convolved:
        yield EMBEDDINGS, "the encoder begins with convolutions, so that its input is no text", (
            before
        )  # fmt: skip
    elif not any(TOKENS in slot.ours and slot.side in ("", side) for slot in graph.slots):
        yield EMBEDDINGS, "no table of tokens is found, so that the input is no text", before


def _around(before: Sequence[_Left]) -> Iterator[Part]:
    """Iterate over the place of what is around the layers and is no head's, if there is any."""
    rest = [one for one in before if one.role not in OF_HEADS]
    stacks = sorted({one.name.partition("{")[0] for one in rest if "{i}" in one.name})
    if stacks:
        yield AROUND, f"there are further stacks of layers ({', '.join(stacks)})", rest
    elif rest:
        yield AROUND, "there are tensors around the layers that no brick has", rest


def _of_layers(graph: Graph, side: str, own: Sequence[_Left], experts: str) -> Iterator[Part]:
    """Iterate over the places of layers within the layers of a stack."""
    if not graph.stacks:
        return
    known = [name for names in NEEDED.values() for name in names]
    roles = OF_ATTENTION | OF_FEED_FORWARD
    if not any(graph.has(name) for name in known) and not any(one.role in roles for one in own):
        yield LAYERS, "no tensor shows what the layers are", [*own]
        return
    by_part: dict[str, list[_Left]] = {}
    homes = {part: _home(graph, names[0], side) for part, names in NEEDED.items()}
    for one in own:
        by_part.setdefault(_part_of(one, homes, graph.is_pair), []).append(one)
    for part in (ATTENTION, CROSS_ATTENTION, FEED_FORWARD, LAYER_END):
        rest = by_part.get(part, [])
        is_needed = part in (ATTENTION, FEED_FORWARD) or (part == CROSS_ATTENTION and
                side == DECODER)  # fmt: skip
        names = NEEDED.get(part, ()) if is_needed else ()
        if part == FEED_FORWARD and graph.mixture is not None and not graph.mixture.is_mixed:
            names = ()
        absent = [name for name in names if graph.slot(name, side) is None]
        if rest or absent:
            why = _reason(part, rest, absent, len(names), graph.is_pair, experts)
            yield part, why, rest


def _home(graph: Graph, ours: str, side: str) -> str:
    """Return the name of their module around a projection; `""` where that is the layer."""
    slot = graph.slot(ours, side)
    if slot is None:
        return ""
    inner = slot.module.inner.rpartition(".")[0]
    return f"{slot.module.stack}.{inner}." if inner else ""


def _part_of(one: _Left, homes: dict[str, str], is_pair: bool) -> str:
    """Return the part of a layer that a module or a tensor is of."""
    crosses = bool(CROSS.search(lower_words(one.name)))
    if one.role in OF_FEED_FORWARD:
        return FEED_FORWARD
    if one.role in OF_ATTENTION:
        return CROSS_ATTENTION if crosses else ATTENTION
    inside = [part for part, home in homes.items() if home and one.name.startswith(home)]
    if inside:
        return inside[0]
    return CROSS_ATTENTION if crosses and not is_pair else LAYER_END


def _reason(
    part: str, rest: Sequence[_Left], absent: Sequence[str], needed: int, is_pair: bool,
    experts: str,
) -> str:  # fmt: skip
    """Return why a part isn't composed of bricks."""
    roles = [one.role for one in rest]
    if reason := next((REASONS[role] for role in REASONS if role in roles), None):
        return reason
    if not OF_EXPERTS.isdisjoint(roles):
        return experts or EXPERTS
    if part == CROSS_ATTENTION and not is_pair:
        return ("layers attend to another sequence, and no stacks named encoder and decoder are "
            "found")  # fmt: skip
    if absent and len(absent) == needed:
        what = "mixes the tokens" if part == ATTENTION else f"{WORDS[part]} is"
        return f"no tensor shows what {what}"
    if absent:
        short = ", ".join(name.rpartition("/")[2] for name in absent)
        return f"{WORDS[part]} has no tensor that is known for its {short}"
    return f"{WORDS[part]} has tensors that no brick has"


def _raw_input(left: Sequence[_Left]) -> str:
    """Return the input that a model without tokens has, by its convolutions."""
    shapes = [one.tensors[0].shapes[0] for one in left if one.role == "convolution"]
    if any(len(shape) > 3 for shape in shapes):
        return PIXELS
    return SAMPLES if any(len(s) == 3 and s[1] == 1 for s in shapes) else FEATURES
