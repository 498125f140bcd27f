"""Layouts of weights over several devices, derived from the logical axes of the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from inarch.errors import InputError, InputTypeError
from inarch.keras_private import all_layers
from inarch.layers.axes import (
    ATTENTION_AXES,
    EMBED,
    HEADS,
    MLP,
    VOCABULARY,
    Axes,
    logical_axes,
)
from inarch.validation import shown

# The axes that are cut into a part for each device. A kernel has one of them: those before the
# heads and the inner width are cut by columns, those after them by rows, so that what is between
# stays on its device (Shoeybi et al., 2019, arXiv:1909.08053).
SHARDED = (HEADS, MLP, VOCABULARY)


def layout_map(
    model: keras.Model, device_mesh: Any, model_parallel_dim_name: str = "model"
) -> keras.distribution.LayoutMap:
    """Return a layout for each weight of a model, by its path.

    Kernels of queries, keys, values and of the first projections of feed-forward networks are cut
    by columns, their biases with them; those of the outputs are cut by rows, and each expert of a
    mixture as a network by itself, so that all devices compute what is chosen. Attention is cut by
    whole heads, where the devices divide their number: keys and values too, which may have fewer
    heads, and are whole on every device where those can't be divided. A table of tokens is
    cut by tokens, or by its width where the devices don't divide their number. All others, and
    those that the devices don't divide, are whole on every device: their layout has no axis.

    Args:
        model: a backbone or a task, with or without values.
        device_mesh: a `keras.distribution.DeviceMesh`.
        model_parallel_dim_name: the axis of the mesh over which weights are cut.

    Raises:
        InputTypeError: `device_mesh` isn't one.
        InputError: the mesh has no such axis, or the backend isn't JAX, the only one on which Keras
            distributes weights.
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            f"the backend is {keras.backend.backend()}, on which Keras distributes no weights; set "
            "KERAS_BACKEND=jax"
        )
    if not isinstance(device_mesh, keras.distribution.DeviceMesh):
        raise InputTypeError(
            f"device_mesh is {shown(device_mesh)}; give a keras.distribution.DeviceMesh"
        )
    sizes = dict(zip(device_mesh.axis_names, device_mesh.shape, strict=True))
    if model_parallel_dim_name not in sizes:
        raise InputError(
            f"model_parallel_dim_name={model_parallel_dim_name!r} is no axis of the device mesh, "
            f"which has {', '.join(map(repr, sizes))}; name one of them"
        )
    found = keras.distribution.LayoutMap(device_mesh)
    axes, heads = logical_axes(model), _head_counts(model)
    for weight in model.weights:
        count = heads.get(weight.path)
        cut = sharded_axis(axes[weight.path], weight.shape, sizes[model_parallel_dim_name], count)
        found[weight.path] = tuple(
            model_parallel_dim_name if axis == cut else None for axis in range(len(weight.shape))
        )
    return found


def sharded_axis(
    axes: Axes | None, shape: Sequence[int], devices: int, heads: int | None = None
) -> int | None:
    """Return the number of the axis that is cut for so many devices; None where none is.

    Args:
        heads: how many are side by side in the axis of heads; its size where not given.
    """
    if axes is None:
        return None
    names: Mapping[str, int] = {name: i for i, name in enumerate(axes) if name is not None}
    wanted = [*SHARDED, EMBED] if VOCABULARY in names else SHARDED
    parts = {name: shape[axis] for name, axis in names.items()}
    if heads is not None and HEADS in parts:
        parts[HEADS] = heads
    return next((names[n] for n in wanted if n in names and parts[n] % devices == 0), None)


def _head_counts(model: keras.Model) -> dict[str, int]:
    """Return how many heads are side by side in each weight of attention, by its path."""
    found = {}
    for layer in all_layers(model, include_self=False):
        if getattr(type(layer), "axes", None) is not ATTENTION_AXES:
            continue
        shared = getattr(layer, "num_key_value_heads", None) or layer.num_heads
        for weight in layer.weights:
            name = weight.path.removeprefix(f"{layer.path}/").partition("/")[0]
            found[weight.path] = shared if name in ("key", "value") else layer.num_heads
    return found
