"""Findings of changes of single fields: tensors that switches add, and older names of fields."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.known_arguments import GATING
from inarch.port.patterns import WIDTHS, index_names

# Older names of fields of rotary positions, each with a value that none has by chance.
OLDER = (("rope_theta", 12345.0), ("rotary_emb_base", 12345.0), ("partial_rotary_factor", 0.375),
    ("rotary_pct", 0.375), ("global_rope_theta", 12345.0), ("local_rope_theta", 12345.0),
    ("rope_local_base_freq", 12345.0))  # fmt: skip
# A width of heads that no tiny model has.
OTHER_WIDTH = 8


def switches(cls: Any, config: Any, usual: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the tensors that each field of true and false adds or takes away."""
    found = {}
    for name, value in config.to_dict().items():
        if not isinstance(value, bool):
            continue
        changed = type(config)(**{**config.to_dict(), name: not value})
        with contextlib.suppress(Exception):  # a value that its code refuses changes nothing
            other = cls(changed).state_dict()
            if difference := frozenset(usual.keys() ^ other.keys()):
                found[name] = frozenset(index_names(tensor) for tensor in difference)
    return found


def absent_widths(cls: Any, config: Any, usual: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of a head's width that a config lacks and that give weights their shape."""
    fields = config.to_dict()
    found = []
    for name in WIDTHS:
        if name in fields or name in config.attribute_map:
            continue
        with contextlib.suppress(Exception):  # a width that its code refuses
            other = cls(type(config)(**{**fields, name: OTHER_WIDTH})).state_dict()
            if any(t.ndim == 2 and t.shape != usual[n].shape for n, t in other.items()):
                found.append(name)
    return tuple(found)


def older_names(model_type: str, transformers: Any) -> dict[str, tuple[str, ...]]:
    """Return the names outside of `rope_parameters` under which a config takes its fields."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in OLDER:
        with contextlib.suppress(Exception):  # a config that has no such field
            made = transformers.AutoConfig.for_model(model_type, **{name: value}).to_dict()
            holder = made.get("rope_parameters") or {}
            for inner, given in holder.items():
                if given == value:
                    found[inner] = (*found.get(inner, ("rope_scaling." + inner,)), name)
                for field, nested in given.items() if isinstance(given, Mapping) else ():
                    if nested == value:  # of one kind of layers
                        found[f"{inner}.{field}"] = (*found.get(f"{inner}.{field}", ()), name)
    return found


def feed_forwards(model_type: str, transformers: Any) -> dict[str, tuple[str, bool]]:
    """Return the activation and whether there is a gate, for each value of the field of both.

    Empty where the config has no such field.
    """
    found = {}
    for name in (*ACTIVATIONS, *(f"gated-{name}" for name in ACTIVATIONS)):
        with contextlib.suppress(Exception):  # a config without the field, or without the value
            made = transformers.AutoConfig.for_model(model_type, **{GATING: name}).to_dict()
            found[name] = (made["dense_act_fn"], bool(made["is_gated_act"]))
    return found


def gated_tensors(cls: Any, config: Any) -> dict[str, TensorInfo]:
    """Return the tensors of a model that has a gate where the config's has none, or none."""
    fields = config.to_dict()
    usual = fields.get(GATING)
    if not isinstance(usual, str):
        return {}
    is_gated = usual.startswith("gated-")
    changed = usual.removeprefix("gated-") if is_gated else f"gated-{usual}"
    fields = {n: v for n, v in fields.items() if n not in ("dense_act_fn", "is_gated_act")}
    held = cls(type(config)(**{**fields, GATING: changed})).state_dict()
    return {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in held.items()}
