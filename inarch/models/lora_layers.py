"""Layers of a model that can have a low-rank update or have one, and its trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inarch.errors import InputError
from inarch.keras_private import all_layers, delete_variable, lora_base_variables
from inarch.models.origin import backbone_of, head_name, source_of
from inarch.models.variables import named_variables


def updated_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path and the layer of every low-rank update of a model."""
    for path, layer in updatable_layers(model):
        if layer.lora_enabled:
            yield path, layer


def check_updated(model: Any, updated: Mapping[str, Any]) -> None:
    """Raise InputError where a model has no low-rank updates."""
    if not updated:
        raise InputError(f"{model.name} has no low-rank updates; call enable_lora(rank) first")


def layers_of(model: Any) -> dict[str, Any]:
    """Return the layers that can have a low-rank update, by the names of the variables it is of."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    found: dict[str, Any] = {}
    for layer in all_layers(model):
        if hasattr(layer, "enable_lora"):
            for base in lora_base_variables(layer):
                if id(base) in names:
                    found.setdefault(names[id(base)], layer)
    return found


def freeze_base(model: Any, trained: Sequence[str] = ()) -> None:
    """Freeze what is neither a low-rank update nor the head, nor without a value of its own.

    Args:
        model: a backbone or a task.
        trained: names of further variables that stay trainable.
    """
    kept = {*model.fresh_weights, *trained}
    variables, below = named_variables(model), named_variables(backbone_of(model))
    head = head_name(model)
    # Without a head, what was built around a backbone (a projection) has initial values only.
    is_new = head is None and model.layout is None
    if is_new or (head is not None and not source_of(model).heads[head].tied):
        kept |= variables.keys() - below.keys()
    for name, variable in variables.items():
        variable.trainable = name in kept


def updatable_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path and the layer of each that can have a low-rank update."""
    for name, layer in layers_of(model).items():
        yield name.rpartition("/")[0], layer


def lora_factors(layer: Any) -> tuple[Any, Any]:
    """Return the two factors of a layer's low-rank update, `[in, rank]` and `[rank, out]`."""
    kind = _kind(layer)
    return getattr(layer, f"lora_{kind}_a"), getattr(layer, f"lora_{kind}_b")


def remove_lora(layer: Any) -> None:
    """Add a layer's low-rank update to its kernel, and take it off, which Keras itself can't."""
    (base,) = lora_base_variables(layer)
    kind = _kind(layer)
    base.assign(getattr(layer, kind))
    for factor in "ab":
        delete_variable(layer, f"lora_{kind}_{factor}")
    layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None


def _kind(layer: Any) -> str:
    return "kernel" if hasattr(layer, "lora_kernel_a") else "embeddings"
