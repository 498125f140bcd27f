"""Weights of sentence-transformers' modules, each in a folder such as `2_Dense`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, Weights
from inarch.errors import CheckpointFileError
from inarch.json_fields import json_text
from inarch.models.variables import get_value, named_variables, set_value
from inarch.sentence_transformers.embedding_modules import (
    DTYPE,
    FIELDS,
    FLOATS,
    Module,
    config_of,
    initial_weights,
    set_token_weights,
)
from inarch.sentence_transformers.module_files import list_modules, read_fields
from inarch.sentence_transformers.sentence_fields import Check
from inarch.user_warnings import warn
from inarch.validation import shown

# Variable of the weights of tokens.
TABLE = "token_weights/table"


def tensor_names(i: int, module: Module) -> dict[str, str]:
    """Return the variable of each tensor in a module's file."""
    if module["type"] == "WordWeights":
        return {"emb_layer.weight": TABLE}
    if module["type"] == "LayerNorm":
        return {"norm.bias": f"layer_norm_{i}/beta", "norm.weight": f"layer_norm_{i}/gamma"}
    if module["type"] != "Dense":
        return {}
    found = {"linear.bias": f"dense_{i}/bias"} if module["bias"] else {}
    found["linear.weight"] = f"dense_{i}/kernel"
    if module.get("use_residual") and module["in_features"] != module["out_features"]:
        found["residual.weight"] = f"dense_{i}_residual/kernel"
    return found


def variable_names(modules: Sequence[Module]) -> frozenset[str]:
    """Return the names of all variables of modules."""
    return frozenset(n for i, m in enumerate(modules) for n in tensor_names(i, m).values())


def read_module(
    folder: Path, kind: str, path: str, fields: Mapping[str, Check] | None = None
) -> Module:
    """Return a module of a checkpoint folder, from its config and the header of its weights.

    Args:
        fields: of its config, with the values that are computed; those of vectors of whole texts
            where not given.

    Raises:
        ConfigError: a field has a value that isn't computed here.
        CheckpointFileError: a file is absent or damaged.
    """
    config = read_fields(folder / path / "config.json", fields or FIELDS[kind])
    module = {"type": kind, **config}
    if kind in ("Dense", "LayerNorm"):
        with open_weights(folder / path) as weights:
            dtypes = {DTYPES[info.dtype].name for info in weights.header.values()}
        if len(dtypes) != 1 or not dtypes <= {*FLOATS}:
            raise CheckpointFileError(
                f"{folder / path} has weights of {', '.join(sorted(dtypes)) or 'no dtype'}; they "
                "must be of one floating-point dtype"
            )
        (dtype,) = dtypes
        return module if dtype == "float32" else module | {DTYPE: dtype}
    return module


def load_or_initialize(
    model: Any, modules: Sequence[Module], declared: Sequence[Module], folder: Path
) -> None:
    """Load the weights of modules that a folder declares, and add fresh ones to `fresh_weights`.

    Args:
        model: a built model; variables without a value in the folder have initial ones.
        modules: of the model.
        declared: of the folder. Where the model has others, all of its weights are fresh.
        folder: of the checkpoint.
    """
    if declared == modules:
        load_weights(model, modules, folder)
        return
    set_token_weights(model, modules)
    fresh = sorted(variable_names(modules) - {TABLE})
    if fresh:
        warn(f"{folder} has no values for {', '.join(fresh)}: freshly initialized, to be trained")
    model.fresh_weights = tuple(sorted({*model.fresh_weights, *fresh}))


def load_weights(model: keras.Model, modules: Sequence[Module], folder: Path) -> None:
    """Give the variables of modules the values in a checkpoint folder.

    Raises:
        CheckpointFileError: a file has other tensors, or of another shape.
    """
    variables = named_variables(model)
    for (i, module), path in zip(enumerate(modules), _paths(folder), strict=False):
        names = tensor_names(i, module)
        if module["type"] == "WordWeights":  # whose weights are in its config
            set_value(variables[TABLE], initial_weights(module))
        elif names:
            with open_weights(folder / path) as weights:
                _load(weights, folder / path, names, variables)


def _load(
    weights: Weights, path: Path, names: Mapping[str, str], variables: Mapping[str, Any]
) -> None:
    expected = {t: _file_shape(name, variables[name].shape) for t, name in names.items()}
    there = {name: info.shape for name, info in weights.header.items()}
    if there != expected:
        raise CheckpointFileError(
            f"{path} has the weights {shown(there)}; by its config.json they must be "
            f"{shown(expected)}"
        )
    for tensor, name in names.items():
        array = weights.read(tensor)
        set_value(variables[name], array.T if name.endswith("kernel") else array)


def _file_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    if name.endswith("table"):
        return (shape[0], 1)
    return tuple(reversed(shape)) if name.endswith("kernel") else tuple(shape)


def write_weights(model: keras.Model, modules: Sequence[Module], folder: Path) -> None:
    """Write the weights of modules into a folder whose modules.json is written.

    Of WordWeights that were trained the config is written anew, since it holds the weights.
    """
    variables = named_variables(model)
    for (i, module), path in zip(enumerate(modules), _paths(folder), strict=False):
        names = tensor_names(i, module)
        if not names:
            continue
        code = next(c for c, d in DTYPES.items() if d.name == module.get(DTYPE, "float32"))
        values = {}
        for tensor, name in names.items():
            value = get_value(model, name, variables[name])
            value = value.T if name.endswith("kernel") else value
            shape = _file_shape(name, variables[name].shape)
            values[tensor] = value.reshape(shape).astype(DTYPES[code])
        if module["type"] == "WordWeights":
            _write_word_weights(folder / path / "config.json", module, values["emb_layer.weight"])
        infos = {n: TensorInfo(code, value.shape) for n, value in values.items()}
        shard = Shard("model.safetensors", infos)
        write_safetensors(folder / path / shard.filename, shard, values.__getitem__)


def _write_word_weights(path: Path, module: Module, table: np.ndarray) -> None:
    weights = table[:, 0].astype(np.float32)
    if not np.array_equal(weights, initial_weights(module)):
        found = {word: float(weight) for word, weight in zip(module["vocab"], weights, strict=True)}
        path.write_text(json_text(config_of(module) | {"word_weights": found}), "utf-8")


def _paths(folder: Path) -> list[str]:
    """Return the folders of the modules that are computed here, in order."""
    return [module.path for module in list_modules(folder) or () if module.kind in FIELDS]
