"""Low-rank updates in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.

Format: huggingface/peft, utils/save_and_load.py and tuners/lora/layer.py. A linear module of the
reference has `lora_A` `[rank, in]` and `lora_B` `[out, rank]`, a table `lora_embedding_A`
`[rank, rows]` and `lora_embedding_B` `[dim, rank]`; its weight grows by their product, scaled by
`lora_alpha / r`. What was trained whole (`modules_to_save`) is there under its own name.

Which module is which of our layers follows from the weight map alone. Where the reference has
several of our kernels in one, its rows are theirs: one update of the reference is one of each of
ours, with the same first factor; several of ours are one of the reference, of the sum of the ranks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.checkpoints.formats.files import write_safetensors
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.checkpoints.io import atomic_write
from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import export_rules
from inarch.errors import InputError, WeightMapError
from inarch.json_fields import json_text
from inarch.keras_private import lora_factors
from inarch.models.adapter_config import CONFIG, WEIGHTS, config_to_write, read_config
from inarch.models.adapter_tensors import PREFIX, LoadedUpdate, open_adapter
from inarch.models.lora import check_updated, freeze_base, layers_of, updated_layers
from inarch.models.saving import backbone_of, head_name, source_of
from inarch.models.variables import named_variables, set_value, to_numpy
from inarch.validation import listed

TABLE = "embeddings"


@dataclass(frozen=True)
class Module:
    """A module of the reference whose weight is one or several kernels of ours.

    Attributes:
        name: of the module, such as `encoder.layer.0.attention.self.query`.
        ours: names of the kernels or the table, in the order of the weight.
        pattern: their axes and ours.
        in_first: whether the first axis of the reference's weight is the one of the inputs.
    """

    name: str
    ours: tuple[str, ...]
    pattern: Pattern
    in_first: bool

    @property
    def is_table(self) -> bool:
        return self.ours[0].endswith(TABLE)

    def tensor_names(self) -> tuple[str, str]:
        """Return the names of the two factors in the file."""
        kinds = ("lora_embedding_A", "lora_embedding_B") if self.is_table else (
            "lora_A.weight", "lora_B.weight",
        )  # fmt: skip
        return f"{PREFIX}{self.name}.{kinds[0]}", f"{PREFIX}{self.name}.{kinds[1]}"

    def joined(self, factors: list[np.ndarray]) -> np.ndarray:
        """Return `lora_B` `[out, rank]` from our second factors `[rank, out]`."""
        sizes = self.pattern.sizes(None, [f.shape for f in factors])
        (whole,) = self.pattern.export(
            factors, self.pattern.their_shapes(sizes), [f.shape for f in factors]
        )
        return whole.T if self.in_first else whole

    def apart(self, whole: np.ndarray, widths: list[int]) -> list[np.ndarray]:
        """Return our second factors `[rank, width]` from `lora_B` `[out, rank]`."""
        array = whole.T if self.in_first else whole
        shapes = [(whole.shape[1], width) for width in widths]
        return [np.array(f) for f in self.pattern.load([array], [array.shape], shapes)]


def rules_of(model: Any) -> list[Rule]:
    """Return the rules of a model in the names of the reference's class for it."""
    arguments = backbone_of(model).arguments
    tie = getattr(model, "ties_embeddings", True)
    return export_rules(source_of(model), arguments, head_name(model), tie)[0]


def modules_of(model: Any) -> dict[str, Module]:
    """Return the modules that can have a low-rank update, by each of their variables' names."""
    layers = layers_of(model)
    found: dict[str, Module] = {}
    for rule in rules_of(model):
        module = _module(rule) if layers.keys() >= {*rule.ours} else None
        found |= dict.fromkeys(rule.ours, module) if module else {}
    return found


def _module(rule: Rule) -> Module | None:
    """Return the module of a rule; None where its weight isn't a matrix of inputs by outputs."""
    pattern, name = Pattern.parse(rule.pattern), rule.theirs[0]
    axes = {spec[0] for spec in pattern.ours if len(spec) == 2}
    if len(pattern.theirs) != 1 or len(pattern.theirs[0]) != 2 or not name.endswith(".weight"):
        return None
    if len(axes) != 1 or any(len(spec) != 2 for spec in pattern.ours):
        return None
    (inputs,) = axes
    if len(inputs.names) != 1 or inputs not in pattern.theirs[0]:
        return None
    in_first = pattern.theirs[0].index(inputs) == 0
    return Module(name.removesuffix(".weight"), rule.ours, pattern, in_first)


# --- writing -----------------------------------------------------------------------------------


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
    _check_tied(model, named)
    for module in dict.fromkeys(modules[name] for name in named):
        a, b, rank, alpha = _joined_update(module, layers)
        tensors |= dict(zip(module.tensor_names(), (a, b), strict=True))
        scales[module.name] = rank, alpha
    whole = _trained_whole(model, {*scales})
    tensors |= {PREFIX + name: array for name, array in whole.items()}
    config = config_to_write(
        scales,
        sorted({*map(_module_of, whole)}),
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


def _check_tied(model: Any, named: Mapping[str, Any]) -> None:
    """Refuse an update of a table that is also a head's kernel, which PEFT updates alone."""
    head, tables = head_name(model), [name for name in named if name.endswith(TABLE)]
    if tables and head and source_of(model).heads[head].tied and model.ties_embeddings:
        raise InputError(
            f"{tables[0]} is also the kernel of the {head} head, and an update in PEFT's files "
            "changes the table alone; call merge_lora() and save_to_preset"
        )


def _joined_update(module: Module, layers: Mapping[str, Any]) -> tuple[Any, Any, int, float]:
    """Return the two factors of the reference's module, their rank and its alpha."""
    pieces = [layers[name] for name in module.ours]
    ranks = [layer.lora_rank if layer.lora_enabled else 0 for layer in pieces]
    rank = sum(ranks)
    scales = [p.lora_alpha / p.lora_rank for p in pieces if p.lora_enabled]
    firsts, seconds, start = [], [], 0
    for layer, count in zip(pieces, ranks, strict=True):
        factor = np.zeros((rank, _width(layer)), np.float32)
        if layer.lora_enabled:
            a, b = map(to_numpy, lora_factors(layer))
            factor[start : start + count] = b * (layer.lora_alpha / layer.lora_rank / scales[0])
            firsts.append(a.T)
        start += count
        seconds.append(factor)
    return np.concatenate(firsts), module.joined(seconds), rank, scales[0] * rank


def _width(layer: Any) -> int:
    """Return the width of a layer's outputs."""
    return getattr(layer, "units", None) or layer.output_dim


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
    found: dict[str, np.ndarray] = {}
    for rule in rules:
        if trained.isdisjoint(rule.ours):
            continue
        for module in map(_module_of, rule.theirs):
            inner = [n for n in names if n.startswith(f"{module}.") and "." in n[len(module) + 1 :]]
            if not module or inner or module in updated:
                raise InputError(
                    f"{listed(sorted(trained.intersection(rule.ours)))} of {model.name} is trained "
                    f"next to the updates, and {module or rule.theirs[0]} of the reference is no "
                    "module that an adapter can have whole; freeze it, or call save_to_preset"
                )
            for other in rules:
                if module in map(_module_of, other.theirs):
                    found |= _exported(other, variables)
    return found


def _module_of(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _exported(rule: Rule, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    pattern = Pattern.parse(rule.pattern)
    arrays = [to_numpy(variables[name]) for name in rule.ours]
    shapes = [array.shape for array in arrays]
    theirs = pattern.their_shapes(pattern.sizes(None, shapes))
    return dict(zip(rule.theirs, pattern.export(arrays, theirs, shapes), strict=True))


# --- reading -----------------------------------------------------------------------------------


def read_adapter(model: Any, preset: str | os.PathLike) -> None:
    """Load an adapter; see `LowRankUpdates.load_adapter`."""
    folder, tensors = open_adapter(preset)
    config = read_config(folder)
    source = source_of(model)
    modules = {module.name: module for module in modules_of(model).values()}
    whole_rules = {name: rule for rule in rules_of(model) for name in rule.theirs}
    found = LoadedUpdate(folder, tensors, source.prefix, [*modules, *whole_rules])
    layers, variables = layers_of(model), named_variables(model)
    updates: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for name, module in modules.items():
        full = source.prefix + name.removeprefix(source.prefix)
        if pair := found.factors(module.tensor_names(), config.requires(full)):
            updates |= _apart(found, module, pair, config.scale(full, len(pair[0])), layers)
    values = _whole_values(found, whole_rules, variables)
    found.refuse_rest(modules)
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
    widths = [_width(layer) for layer in kernels]
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
    brought = {_module_of(name) for name, array in arrays.items() if array is not None}
    for rule in {id(rule): rule for rule in rules.values()}.values():
        if brought.isdisjoint(map(_module_of, rule.theirs)):
            continue
        there = [array for name in rule.theirs if (array := arrays[name]) is not None]
        if len(there) != len(rule.theirs):
            lacking = [name for name in rule.theirs if arrays[name] is None]
            raise WeightMapError(
                f"{found.folder / WEIGHTS} has a part of {', '.join(map(_module_of, lacking))} and "
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
