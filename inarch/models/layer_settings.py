"""Changes by the user to layers already built: frozen, low-rank updates, quantization.

A model that its constructor's arguments rebuild has none of this, so it is recorded by the layers'
paths, where it differs from a model just built, and applied again before weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from inarch.errors import CheckpointError, InputError
from inarch.keras_private import (
    all_layers,
    is_quantized,
    own_trainable_variables,
    sublayers,
)
from inarch.layers import Experts
from inarch.models.lora_layers import lora_factors
from inarch.validation import shown

Settings = dict[str, dict[str, Any]]


def read_layer_settings(model: keras.Model) -> Settings:
    """Return what differs from a model just built: by path, what is set there.

    `trainable` is a layer's flag, `variables` those of its variables that differ from it;
    `lora` is `{"rank", "alpha"}`, `quantization` `{"policy", "config"}`. The path "" is the model.
    """
    found: Settings = {}
    flags: dict[int, bool] = {}
    seen: set[int] = set()
    for path, layer in _walk(model):
        if flags.get(id(layer), True) != layer.trainable:
            found[path] = {"trainable": layer.trainable}
            # As the setter does, also to layers that are elsewhere too.
            flags |= {id(below): layer.trainable for _, below in _walk(layer)}
        if id(layer) not in seen and (own := _own_settings(layer)):
            found[path] = found.get(path, {}) | own
        seen.add(id(layer))
    return found


def apply_layer_settings(model: keras.Model, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Bring a model just built into the state that `read_layer_settings` found.

    Raises:
        CheckpointError: a path leads to no layer of the model, or a layer can't be set so.
    """
    layers = dict(_walk(model))
    if unknown := sorted(settings.keys() - layers.keys()):
        raise CheckpointError(
            f"{type(model).__name__} has no layer {', '.join(map(repr, unknown[:5]))}, of which "
            "settings are given; the file was written for another architecture"
        )
    path, values = "", {}  # type: str, Mapping[str, Any]
    _set_trainable(model, True)  # of a model just built, parts may have been set already
    try:
        for path, values in settings.items():
            _change_variables(layers[path], values)
        for path in layers:  # parents first, whose setter reaches all below
            values = settings.get(path, {})
            if "trainable" in values:
                _set_trainable(layers[path], values["trainable"])
        for path, values in settings.items():
            _set_flags(layers[path], values.get("variables", {}))
    except (TypeError, ValueError, KeyError, AttributeError) as e:
        raise CheckpointError(f"the layer {path!r} can't have {shown(values)}: {e}") from e


def check_quantization(model: keras.Model, mode: Any, config: Any) -> None:
    """Raise InputError for a mode that is calibrated with data, or a layer that has none."""
    mode = getattr(config, "mode", None) if mode is None else mode
    if mode in ("gptq", "awq"):
        raise InputError(
            f"mode is {mode!r}, which needs a calibration that isn't supported here; give "
            "'int8', 'int4' or 'float8'"
        )
    if paths := [path for path, layer in _walk(model) if isinstance(layer, Experts)]:
        raise InputError(
            f"{paths[0]} has the kernels of all experts in one, which aren't quantized here, and "
            f"they are most of {model.name}; load it with dtype='bfloat16' to halve the memory"
        )


def check_not_quantized(model: keras.Model) -> None:
    """Raise InputError where a model can't be written in floating point.

    Raises:
        InputError: layers are quantized; it names the first and the way out.
    """
    if paths := [path for path, layer in _walk(model) if _is_quantized(layer)]:
        raise InputError(
            f"{len(paths)} layers of {model.name} are quantized ({paths[0]} and so on), and a "
            "preset folder holds floating point; save with model.save('model.keras'), or call "
            "save_to_preset before quantize"
        )


def check_exportable(model: keras.Model) -> None:
    """Raise InputError where a model is quantized, whose products other runtimes aren't given."""
    if paths := [path for path, layer in _walk(model) if _is_quantized(layer)]:
        raise InputError(
            f"{len(paths)} layers of {model.name} are quantized ({paths[0]} and so on), which "
            "isn't exported; export the model that it was made of, and quantize the graph by the "
            "runtime's own tool"
        )


def check_trainable(model: keras.Model) -> None:
    """Raise InputError where kernels are integers, which have no gradient, and nothing is on top.

    With low-rank updates on them a quantized model is trained as a whole.
    """
    layers = [(path, layer) for path, layer in _walk(model) if _is_quantized(layer)]
    integer = [path for path, layer in layers if layer.quantization_mode in ("int8", "int4")]
    if integer and not any(getattr(layer, "lora_enabled", False) for _, layer in layers):
        raise InputError(
            f"{len(integer)} layers of {model.name} hold integers ({integer[0]} and so on), which "
            "aren't trained; call enable_lora(rank) before quantize, or fit the model in floats"
        )


def redraw_idle_lora(model: keras.Model) -> None:
    """Draw A anew of each low-rank update `A @ B` whose two factors are zero, and note it there.

    Keras merges an update into the kernel when it saves and loads both factors as zeros, where
    neither has a gradient. The model stays the same function, since B is zero.
    """
    for layer in all_layers(model):
        if not getattr(layer, "lora_enabled", False):
            continue
        a, b = lora_factors(layer)
        if not any(np.any(keras.ops.convert_to_numpy(v)) for v in (b, a)):
            a.assign(keras.initializers.HeUniform()(a.shape, a.dtype))
            layer.lora_was_merged = True


def _walk(layer: keras.layers.Layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each layer with its path, parents first; a layer in two places comes twice."""
    yield path, layer
    for below in sublayers(layer):
        yield from _walk(below, f"{path}/{below.name}" if path else below.name)


def _set_trainable(layer: Any, value: bool) -> None:
    """Set the flag of a layer and of all below it.

    On TensorFlow an attribute that is set to the value that it has is passed over, and with it what
    the setter would do to the layers below.
    """
    for _, below in _walk(layer):
        type(below).trainable.fset(below, value)


def _own_settings(layer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if getattr(layer, "lora_enabled", False):
        found["lora"] = {"rank": layer.lora_rank, "alpha": layer.lora_alpha}
    if _is_quantized(layer):
        found["quantization"] = {
            "policy": keras.dtype_policies.serialize(layer.dtype_policy),
            "config": keras.saving.serialize_keras_object(layer.quantization_config),
        }
    flags = {v.name: v.trainable for v in own_trainable_variables(layer)}
    if others := {name: flag for name, flag in flags.items() if flag != layer.trainable}:
        found["variables"] = others
    return found


def _is_quantized(layer: Any) -> bool:
    # A model that holds quantized layers has a policy without a mode itself.
    return is_quantized(layer) and not isinstance(layer, keras.Model)


def _change_variables(layer: Any, values: Mapping[str, Any]) -> None:
    """Quantize, then add low-rank updates, as Keras's own layers are built anew."""
    if (quantization := values.get("quantization")) and not _is_quantized(layer):
        policy = keras.dtype_policies.deserialize(quantization["policy"])
        config = keras.saving.deserialize_keras_object(quantization["config"])
        layer.quantize(policy.quantization_mode, config=config)
        layer.dtype_policy = policy
    if (lora := values.get("lora")) and not layer.lora_enabled:
        layer.enable_lora(lora["rank"], lora_alpha=lora["alpha"])


def _set_flags(layer: Any, flags: Mapping[str, bool]) -> None:
    for variable in own_trainable_variables(layer):
        variable.trainable = flags.get(variable.name, layer.trainable)
