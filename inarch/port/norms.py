"""Norms of a block by their names, and the kind that a model has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.port.graph import Slot
from inarch.port.modules import TheirModule

_FIRST_NORM = re.compile(r"sa_|att|ln_?1|norm_?1|layer_norm1|input_layer_?norm")
_SECOND_NORM = re.compile(r"post_attention|ln_?2|norm_?2|ffn|mlp|feed_forward|final_layer|ff_")


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
