"""Norms of a block by their names, and the kind that a model has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.port.graph import Slot
from inarch.port.modules import TheirModule

_FIRST_NORM = re.compile(r"sa_|att|ln_?1|norm_?1|layer_norm1|input_layer_?norm")
_SECOND_NORM = re.compile(r"post_attention|ln_?2|norm_?2|ffn|mlp|feed_forward|final_layer|ff_")

# Norms before and after each sublayer, in the order in which a block calls them.
_SANDWICH = tuple(
    re.compile(f"{before}_{sublayer}")
    for sublayer in ("(?:self_)?att", "(?:feed_?forward|ffn|mlp)")
    for before in ("pre", "post")
)


def sandwich_rank(module: TheirModule) -> int:
    """Return the place of a norm among those around both sublayers, by its name; -1 of another."""
    name = module.inner.lower()
    if name.startswith("input_"):
        return 0
    return next((i for i, words in enumerate(_SANDWICH) if words.search(name)), -1)


def norm_rank(module: TheirModule) -> int:
    """Return 0 for a norm of attention by its name, 2 for one after it, 1 for neither."""
    name = module.inner.lower()
    if _SECOND_NORM.search(name):
        return 2
    return 0 if _FIRST_NORM.search(name) else 1


def norm_kind(slots: Sequence[Slot], config: Mapping[str, Any]) -> str:
    """Return `"layer"`, `"rms"` or `"uncentered"`, by biases and by the name of the epsilon."""
    norms = [slot.module for slot in slots if slot.kind == "norm"]
    if any(module.bias is not None for module in norms):
        return "layer"
    return "rms" if any(name.startswith("rms_norm") for name in config) else "uncentered"
