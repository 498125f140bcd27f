"""Low-rank updates of a model, written as PEFT writes an adapter.

What was trained whole next to them (`modules_to_save`) is there under its own name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from inarch.checkpoints.formats.files import write_safetensors
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.checkpoints.io import atomic_write
from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern
from inarch.errors import InputError
from inarch.json_fields import json_text
from inarch.models.adapter_config import CONFIG, WEIGHTS, config_to_write
from inarch.models.adapter_modules import (
    Module,
    module_of,
    modules_of,
    output_width,
    refuse_tied,
    rules_of,
)
from inarch.models.adapter_tensors import PREFIX
from inarch.models.lora_layers import check_updated, layers_of, lora_factors, updated_layers
from inarch.models.variables import named_variables, to_numpy
from inarch.validation import listed


def write_adapter(model: Any, folder: str | os.PathLike) -> None:
    """Write an adapter; see `LowRankUpdates.save_adapter`."""
    updated = dict(updated_layers(model))
    check_updated(model, updated)
    _check_worth_saving(model, updated)
    tensors: dict[str, np.ndarray] = {}
    scales: dict[str, tuple[int, float]] = {}
    modules = modules_of(model)
    layers = layers_of(model)
    named = {name: layer for name, layer in layers.items() if layer.lora_enabled}
    if lost := sorted(named.keys() - modules.keys()):
        raise InputError(
            f"{listed(lost)}: the reference has no module of its own for it, so that PEFT's files "
            "have no place for its update; call merge_lora() and save_to_preset"
        )
    refuse_tied(model, named, "call merge_lora() and save_to_preset")
    for module in dict.fromkeys(modules[name] for name in named):
        a, b, rank, alpha = _joined_update(module, layers)
        tensors |= dict(zip(module.tensor_names(), (a, b), strict=True))
        scales[module.name] = rank, alpha
    whole = _trained_whole(model, {*scales})
    tensors |= {PREFIX + name: array for name, array in whole.items()}
    config = config_to_write(
        scales,
        sorted({*map(module_of, whole)}),
        all(modules[name].in_first and not modules[name].is_table for name in named),
    )
    with atomic_write.adding(folder) as fresh:
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(tensors.items())}
        header = {n: TensorInfo(CODES[a.dtype], a.shape) for n, a in arrays.items()}
        shard = Shard(WEIGHTS, header, {"format": "pt"})
        write_safetensors(fresh / WEIGHTS, shard, arrays.__getitem__)
        (fresh / CONFIG).write_text(json_text(config), "utf-8")


def _check_worth_saving(model: Any, updated: Mapping[str, Any]) -> None:
    """Refuse updates that don't make the trained model of the checkpoint's weights."""
    if merged := [path for path, layer in updated.items() if hasattr(layer, "lora_was_merged")]:
        raise InputError(
            f"the updates of {listed(merged, 4)} come on top of earlier ones, which a Keras file "
            "has merged into the kernels, so that they don't belong to the checkpoint's weights; "
            "call save_adapter before save, or save_to_preset for the whole model"
        )
    if not any(np.any(to_numpy(lora_factors(layer)[1])) for layer in updated.values()):
        raise InputError(
            f"all low-rank updates of {model.name} are zero, so there is nothing to save: train "
            "it first. A Keras file merges them when it is saved"
        )


def _joined_update(module: Module, layers: Mapping[str, Any]) -> tuple[Any, Any, int, float]:
    """Return the two factors of the reference's module, their rank and its alpha."""
    pieces = [layers[name] for name in module.ours]
    ranks = [layer.lora_rank if layer.lora_enabled else 0 for layer in pieces]
    rank = sum(ranks)
    scales = [p.lora_alpha / p.lora_rank for p in pieces if p.lora_enabled]
    firsts, seconds, start = [], [], 0
    for layer, count in zip(pieces, ranks, strict=True):
        factor = np.zeros((rank, output_width(layer)), np.float32)
        if layer.lora_enabled:
            a, b = map(to_numpy, lora_factors(layer))
            factor[start : start + count] = b * (layer.lora_alpha / layer.lora_rank / scales[0])
            firsts.append(a.T)
        start += count
        seconds.append(factor)
    return np.concatenate(firsts), module.joined(seconds), rank, scales[0] * rank


def _trained_whole(model: Any, updated: set[str]) -> dict[str, np.ndarray]:
    """Return the tensors of the reference's modules that were trained whole, by name.

    Raises:
        InputError: one is no module's alone, or there is an update of it too; or a part that has
            initial values is frozen, which no file would have then.
    """
    variables = named_variables(model)
    trained = {name for name, v in variables.items() if v.trainable}
    if frozen := sorted({*model.fresh_weights} - trained):
        raise InputError(
            f"{listed(frozen)} of {model.name} had no values in the checkpoint and are frozen, so "
            "that no adapter can bring them; call save_to_preset"
        )
    rules = rules_of(model)
    names = [name for rule in rules for name in rule.theirs]
    if apart := sorted(trained.difference(*(rule.ours for rule in rules))):
        raise InputError(
            f"{listed(apart)} of {model.name} is trained and is no part of the reference's model, "
            "so that an adapter can't have it; freeze it, or call save_to_preset"
        )
    found: dict[str, np.ndarray] = {}
    for rule in rules:
        if trained.isdisjoint(rule.ours):
            continue
        for module in map(module_of, rule.theirs):
            inner = [n for n in names if n.startswith(f"{module}.") and "." in n[len(module) + 1 :]]
            if not module or inner or module in updated:
                raise InputError(
                    f"{listed(sorted(trained.intersection(rule.ours)))} of {model.name} is trained "
                    f"next to the updates, and {module or rule.theirs[0]} of the reference is no "
                    "module that an adapter can have whole; freeze it, or call save_to_preset"
                )
            for other in rules:
                if module in map(module_of, other.theirs):
                    found |= _exported(other, variables)
    return found


def _exported(rule: Rule, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    pattern = Pattern.parse(rule.pattern)
    arrays = [to_numpy(variables[name]) for name in rule.ours]
    shapes = [array.shape for array in arrays]
    theirs = pattern.their_shapes(pattern.sizes(None, shapes))
    return dict(zip(rule.theirs, pattern.export(arrays, theirs, shapes), strict=True))
