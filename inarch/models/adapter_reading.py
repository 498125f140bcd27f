"""Low-rank updates from the files of an adapter, as PEFT or this library wrote them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern
from inarch.errors import InputError, WeightMapError
from inarch.models.adapter_config import WEIGHTS, read_config
from inarch.models.adapter_modules import (
    Module,
    module_of,
    modules_of,
    output_width,
    refuse_tied,
    rules_of,
)
from inarch.models.adapter_tensors import PREFIX, LoadedUpdate, open_adapter
from inarch.models.lora_layers import freeze_base, layers_of, lora_factors
from inarch.models.origin import head_name, source_of
from inarch.models.variables import named_variables, set_value
from inarch.validation import listed


def read_adapter(model: Any, preset: str | os.PathLike) -> None:
    """Load an adapter; see `LowRankUpdates.load_adapter`."""
    folder, tensors = open_adapter(preset)
    config = read_config(folder)
    source = source_of(model)
    prefix = source.prefix_of(head_name(model))
    modules = {module.name: module for module in modules_of(model).values()}
    whole_rules = {name: rule for rule in rules_of(model) for name in rule.theirs}
    found = LoadedUpdate(folder, tensors, prefix, [*modules, *whole_rules])
    layers, variables = layers_of(model), named_variables(model)
    updates: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for name, module in modules.items():
        full = prefix + name.removeprefix(prefix)
        if pair := found.factors(module.tensor_names(), config.requires(full)):
            updates |= _apart(found, module, pair, config.scale(full, len(pair[0])), layers)
    values = _whole_values(found, whole_rules, variables)
    found.refuse_rest(modules)
    merged = "have PEFT merge the adapter (merge_and_unload), and load the result"
    refuse_tied(model, updates, merged)
    _check_own_updates(model, updates, layers)
    for name, (a, b, scale) in updates.items():
        layer, rank = layers[name], len(b)
        if not layer.lora_enabled:
            layer.enable_lora(rank, lora_alpha=scale * rank)
        first, second = lora_factors(layer)
        first.assign(a)
        # The scale of a layer is a constant of programs that are compiled.
        second.assign(b * (scale / (layer.lora_alpha / layer.lora_rank)))
    for name, value in values.items():
        set_value(variables[name], value)
    model.fresh_weights = tuple(n for n in model.fresh_weights if n not in values)
    freeze_base(model, [*values])


def _apart(
    found: LoadedUpdate,
    module: Module,
    pair: tuple[np.ndarray, np.ndarray],
    scale: float,
    layers: Mapping[str, Any],
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Return the update of each of our layers of a module: two factors and their scale."""
    a, b = pair
    kernels = [layers[name] for name in module.ours]
    widths = [output_width(layer) for layer in kernels]
    inputs = kernels[0].input_dim if module.is_table else kernels[0].kernel.shape[0]
    shapes = (len(a), inputs), (sum(widths), len(a))
    for name, array, shape in zip(module.tensor_names(), pair, shapes, strict=True):
        if array.shape != shape:
            raise WeightMapError(
                f"{found.folder / WEIGHTS}: {name} has shape {array.shape}, and "
                f"{' + '.join(module.ours)} needs {shape}; load the adapter into the model that "
                "it was trained on"
            )
    update = {}
    for name, factor in zip(module.ours, module.apart(b, widths), strict=True):
        used = np.any(factor, axis=1) if len(module.ours) > 1 and np.any(b) else slice(None)
        # What is zero for one of several kernels is an update of the others alone.
        if (part := factor[used]).size:
            update[name] = np.array(a.T[:, used]), part, scale
    return update


def _whole_values(
    found: LoadedUpdate, rules: Mapping[str, Rule], variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the values of our variables that an adapter brings whole."""
    values: dict[str, np.ndarray] = {}
    arrays = {name: found.whole(PREFIX + name) for name in rules}
    brought = {module_of(name) for name, array in arrays.items() if array is not None}
    for rule in {id(rule): rule for rule in rules.values()}.values():
        if brought.isdisjoint(map(module_of, rule.theirs)):
            continue
        there = [array for name in rule.theirs if (array := arrays[name]) is not None]
        if len(there) != len(rule.theirs):
            lacking = [name for name in rule.theirs if arrays[name] is None]
            raise WeightMapError(
                f"{found.folder / WEIGHTS} has a part of {', '.join(map(module_of, lacking))} and "
                f"lacks {', '.join(lacking)}; fetch it again"
            )
        pattern = Pattern.parse(rule.pattern)
        shapes = [tuple(variables[name].shape) for name in rule.ours]
        wanted = pattern.their_shapes(pattern.sizes(None, shapes))
        for name, array, shape in zip(rule.theirs, there, wanted, strict=True):
            if array.shape != shape:
                raise WeightMapError(
                    f"{found.folder / WEIGHTS}: {name} has shape {array.shape}, and "
                    f"{' + '.join(rule.ours)} needs {shape}; give the task as many classes"
                )
        loaded = pattern.load(there, [a.shape for a in there], shapes)
        values |= dict(zip(rule.ours, loaded, strict=True))
    return values


def _check_own_updates(model: Any, updates: Mapping[str, Any], layers: Mapping[str, Any]) -> None:
    """Refuse a model with updates that the adapter's wouldn't replace."""
    own = {name: layer.lora_rank for name, layer in layers.items() if layer.lora_enabled}
    given = {name: len(b) for name, (_, b, _) in updates.items()}
    if own and own != given:
        differ = sorted(n for n in own.keys() | given.keys() if own.get(n) != given.get(n))
        ranks = Counter(own.values()).most_common(1)[0][0]
        raise InputError(
            f"{model.name} has low-rank updates already (rank {ranks}), and the adapter others: "
            f"{listed(differ, 4)}; load it into a model without, or call merge_lora() first"
        )
