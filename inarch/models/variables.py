"""A model's variables by stable names, built without values and given them one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import keras
import ml_dtypes
import numpy as np

from inarch.keras_private import (
    all_layers,
    has_value,
    initialize_value,
    lora_base_variables,
    no_values,
    set_first_value,
)

T = TypeVar("T")
ops: Any = keras.ops  # Typed, every result may be None.

# Bytes of a cache line. A buffer aligned so is taken over by JAX without a copy.
ALIGNMENT = 64


def named_variables(model: keras.Model) -> dict[str, Any]:
    """Return the weights of a backbone or a task, by the names that weight maps use.

    A name is the path of layers from the model down, such as `layer_0/attention/query/kernel`.
    The backbone of a task adds no level, and a variable shared by two layers has one name.
    """
    named: dict[str, Any] = {}
    seen: set[int] = set()
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found = named_variables(layer)
        else:
            found = {_below(v.path, layer.name): v for v in layer.weights}
        named |= {name: v for name, v in found.items() if id(v) not in seen}
        seen |= {id(v) for v in found.values()}
    return {n: v for n, v in named.items() if not n.rpartition("/")[2].startswith("lora_")}


def mapped_variables(model: keras.Model) -> dict[str, Any]:
    """Return the weights that a weight map pairs: all but those in files of their own."""
    own: Collection[str] = getattr(model, "sidecar_variables", ())
    return {name: v for name, v in named_variables(model).items() if name not in own}


def _below(path: str, layer: str) -> str:
    """Return the part of a variable's path from `layer` on."""
    parts = path.split("/")
    return "/".join(parts[parts.index(layer) :]) if layer in parts else path


def build_without_values(build: Callable[[], T]) -> tuple[T, list[Any]]:
    """Run `build` so that its variables get no values, and return the variables that wait.

    Random initial values are most of the time that building a large model takes. Each waiting
    variable is either given a value by `set_value` or by `initialize`.
    """
    with no_values() as waiting:
        built = build()
    return built, waiting


def initialize(waiting: list[Any]) -> None:
    """Give every variable that still has no value its initial one."""
    for variable in waiting:
        if not has_value(variable):
            initialize_value(variable)


def copy_model(model: keras.Model, config: dict[str, Any] | None = None) -> Any:
    """Return a model of the same class with the same values, not compiled.

    Args:
        config: of the copy; the model's own where not given.
    """
    given = model.get_config() if config is None else config
    copy, waiting = build_without_values(lambda: type(model).from_config(given))
    for own, other in zip(copy.weights, model.weights, strict=True):
        set_value(own, keras.ops.convert_to_numpy(other))
    initialize(waiting)  # states that are no weights, such as seeds of dropout
    return copy


def set_value(variable: Any, array: np.ndarray) -> None:
    """Give a variable a value, copying `array` once; it may be any view of any dtype."""
    dtype = np.dtype(variable.dtype)
    size = array.size * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    copy = raw[start : start + size].view(dtype).reshape(array.shape)
    _copy(array, copy)
    if has_value(variable):
        variable.assign(copy)
    else:
        set_first_value(variable, keras.ops.convert_to_tensor(copy, dtype=variable.dtype))


def _copy(array: np.ndarray, to: np.ndarray) -> None:
    """Copy values, casting; a transposed matrix in stripes as wide as a cache line.

    Each line of `to` is then written once, from rows of the file read end to end, which takes
    two thirds of the time that element after element takes.
    """
    width = ALIGNMENT // to.itemsize
    if array.ndim != 2 or array.flags.c_contiguous or array.shape[1] <= width:
        np.copyto(to, array, casting="unsafe")
        return
    for start in range(0, array.shape[1], width):
        stripe = np.s_[:, start : start + width]
        np.copyto(to[stripe], array[stripe], casting="unsafe")


def get_value(model: keras.Model, name: str, variable: Any) -> np.ndarray:
    """Return the value of a variable, with a low-rank update of its layer added."""
    if (owner := _lora_owner(model, variable)) is not None:
        kind = "kernel" if name.endswith("kernel") else "embeddings"
        return to_numpy(getattr(owner, kind))
    return to_numpy(variable)


def _lora_owner(model: keras.Model, variable: Any) -> Any:
    for layer in all_layers(model, include_self=False):
        bases = lora_base_variables(layer) if getattr(layer, "lora_enabled", False) else ()
        if any(variable is base for base in bases):
            return layer
    return None


def to_numpy(value: Any) -> np.ndarray:
    """Return a variable or tensor as an array that keeps bfloat16."""
    if keras.backend.standardize_dtype(value.dtype) == "bfloat16":
        wide = ops.convert_to_numpy(ops.cast(value, "float32"))
        return wide.astype(ml_dtypes.bfloat16)
    return ops.convert_to_numpy(value)
