"""Norms of a block by their names, and the kind that a model has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.port.decisions import Decision, guess
from inarch.port.graph import Slot
from inarch.port.modules import TheirModule

# Orders of the norms of a block that have the same weights.
ORDERS = ("post", "pre", "output")
_FIRST_NORM = re.compile(r"sa_|att|ln_?1|norm_?1|layer_norm1|input_layer_?norm")
_SECOND_NORM = re.compile(r"post_attention|ln_?2|norm_?2|ffn|mlp|feed_forward|final_layer|ff_")

# Norms before and after each sublayer, in the order in which a block calls them.
_SANDWICH = tuple(
    re.compile(f"{before}_{sublayer}")
    for sublayer in ("(?:self_)?att", "(?:feed_?forward|ffn|mlp)")
    for before in ("pre", "post")
)


# The places in it of norms after attention and after the feed-forward network.
AFTER_BOTH = (1, 3)


def sandwich_rank(module: TheirModule) -> int:
    """Return the place of a norm among those around both sublayers, by its name; -1 of another."""
    name = module.inner.lower()
    if name.startswith("input_"):
        return 0
    return next((i for i, words in enumerate(_SANDWICH) if words.search(name)), -1)


def norm_rank(module: TheirModule) -> int:
    """Return the place of a norm of a block by its name.

    0 is for a norm of attention, 2 for one after attention, 3 for one after the feed-forward
    network, 1 for all others.
    """
    name = module.inner.lower()
    if sandwich_rank(module) == AFTER_BOTH[1]:
        return 3
    if _SECOND_NORM.search(name):
        return 2
    return 0 if _FIRST_NORM.search(name) else 1


def guess_order(norms: Sequence[TheirModule], has_final: bool) -> tuple[str, Decision]:
    """Return the order of the norms of a block by their names, as the guess that it is.

    Args:
        norms: those of attention and of the feed-forward network.
        has_final: whether there is one after the last layer.
    """
    if tuple(map(sandwich_rank, norms)) == AFTER_BOTH:
        order, why = "output", "the norms are named as after each sublayer"
    else:
        order = "pre" if has_final else "post"
        why = f"there is {'a' if has_final else 'no'} norm after the last layer"
    others = [repr(other) for other in ORDERS if other != order]
    return order, guess("order of the norms", f"{order!r}, since {why}", *others)


def norm_kind(slots: Sequence[Slot], config: Mapping[str, Any]) -> str:
    """Return `"layer"`, `"rms"` or `"uncentered"`, by biases and by the name of the epsilon."""
    norms = [slot.module for slot in slots if slot.kind == "norm"]
    if any(module.bias is not None for module in norms):
        return "layer"
    return "rms" if any(name.startswith("rms_norm") for name in config) else "uncentered"
