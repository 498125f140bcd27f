"""Modules of sentence-transformers around the pooling: as layers, and their weights in files.

Source: sentence-transformers, base/modules/dense.py, sentence_transformer/modules/layer_norm.py and
word_weights.py. A module is given by its class's name and the fields of its config.json, such as
`{"type": "Dense", "in_features": 16, "out_features": 8}`. Class names are looked up in the table
here; nothing is imported by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, Weights
from inarch.errors import CheckpointFileError, ConfigError, InputError, InputTypeError
from inarch.json_fields import json_text
from inarch.keras_private import has_value
from inarch.layers.pooling import Normalize, TokenWeights
from inarch.models.variables import get_value, named_variables, set_value
from inarch.tasks import sentence_fields
from inarch.tasks.activation import ACTIVATIONS, class_path, from_class_path
from inarch.tasks.module_files import list_modules, read_fields
from inarch.tasks.preprocessor import TextPreprocessor
from inarch.validation import shown

FIELDS = {
    "WordWeights": sentence_fields.WORD_WEIGHTS,
    "Dense": sentence_fields.DENSE,
    "LayerNorm": sentence_fields.LAYER_NORM,
    "Normalize": sentence_fields.NORMALIZE,
}
# Of the weights in the file, where it isn't float32; no field of the config.
DTYPE = "dtype"
FLOATS = ("float16", "bfloat16", "float32", "float64")
Module = Mapping[str, Any]


def resolve_modules(modules: Any, width: int) -> tuple[Module, ...]:
    """Return modules with all of their fields, checked.

    Args:
        modules: each its `type` and fields; `WordWeights` only as the first one.
        width: numbers of the pooled vector.

    Raises:
        InputTypeError: it is no list of objects.
        InputError: a type or a field isn't computed here, or widths don't follow each other.
    """
    if isinstance(modules, str | Mapping) or not isinstance(modules, Sequence):
        raise InputTypeError(f"modules is {shown(modules)}; give a list of modules")
    found: list[Module] = []
    for i, given in enumerate(modules):
        kind = given.get("type") if isinstance(given, Mapping) else None
        if not isinstance(kind, str) or kind not in FIELDS:
            raise InputError(
                f"modules[{i}] is {shown(given)}; give an object whose 'type' is one of "
                f"{', '.join(FIELDS)}"
            )
        if kind == "WordWeights" and i:
            raise InputError(
                f"modules[{i}] is WordWeights, which weighs tokens before they are pooled; give "
                "it first, once"
            )
        module = dict(given)
        _check(i, module)
        if kind == "Dense":
            defaults = {"in_features": width, "bias": True, "activation_function": "tanh"}
            module = {"type": kind, **defaults, **module}
            module["activation_function"] = _activation(i, module["activation_function"])
            _check_width(i, module, "in_features", width)
            width = module["out_features"]
        elif kind == "LayerNorm":
            module = {"type": kind, "dimension": width, **module}
            _check_width(i, module, "dimension", width)
        found.append(module)
    return tuple(found)


def _check(i: int, module: Module) -> None:
    known = FIELDS[module["type"]]
    fields = {name: value for name, value in module.items() if name not in ("type", DTYPE)}
    wrong = [n for n, value in fields.items() if n not in known or not known[n](value)]
    missing = {"Dense": ["out_features"], "WordWeights": ["vocab", "word_weights"]}
    absent = [name for name in missing.get(module["type"], ()) if name not in fields]
    if module.get(DTYPE, "float32") not in FLOATS:
        wrong.append(DTYPE)
    if wrong or absent:
        what = [f"{name}={shown(module[name])}" for name in wrong] + [f"no {n}" for n in absent]
        raise InputError(
            f"modules[{i}], a {module['type']}, has {', '.join(what)}; its fields are those that "
            f"sentence-transformers gives it: {', '.join(known)}"
        )


def _check_width(i: int, module: Module, name: str, width: int) -> None:
    if module[name] != width:
        raise InputError(
            f"modules[{i}], a {module['type']}, has {name}={module[name]}, and the vectors before "
            f"it have {width} numbers"
        )


def _activation(i: int, name: str | None) -> str:
    """Return our name of an activation, given by it or by the class that a file names."""
    if name is None or name in ACTIVATIONS:
        return name or "identity"
    try:
        return from_class_path(name, f"modules[{i}]: activation_function")
    except ConfigError as e:
        raise InputError(str(e)) from e


# --- layers ------------------------------------------------------------------------------------


def token_weights(modules: Sequence[Module], token_ids: Any, preprocessor: Any) -> Any:
    """Return the weight of each token `[batch, length]`; None where all count the same.

    Raises:
        InputError: the preprocessor's tokenizer has more tokens than have a weight.
    """
    if not modules or modules[0]["type"] != "WordWeights":
        return None
    count = len(modules[0]["vocab"])
    if isinstance(preprocessor, TextPreprocessor):
        tokens = preprocessor.tokenizer.vocabulary_size
        if tokens > count:
            raise InputError(
                f"modules[0], a WordWeights, has weights of {count} tokens, and the tokenizer has "
                f"{tokens}; 'vocab' must be the tokenizer's tokens, in order"
            )
    return TokenWeights(count, name="token_weights")(token_ids)


def apply_modules(modules: Sequence[Module], x: Any) -> Any:
    """Return pooled vectors after the modules that follow the pooling."""
    for i, module in enumerate(modules):
        if module["type"] == "Dense":
            name = module["activation_function"]
            activation = "linear" if name == "identity" else name
            width, dense = module["out_features"], f"dense_{i}"
            y = keras.layers.Dense(width, activation, module["bias"], name=dense)(x)
            if module.get("use_residual"):
                if module["in_features"] != width:
                    x = keras.layers.Dense(width, use_bias=False, name=f"{dense}_residual")(x)
                y = keras.layers.Add(name=f"{dense}_sum")([y, x])
            x = y
        elif module["type"] == "LayerNorm":
            x = keras.layers.LayerNormalization(epsilon=1e-5, name=f"layer_norm_{i}")(x)
        elif module["type"] == "Normalize":
            x = Normalize(name=f"normalize_{i}")(x)
    return x


def tensor_names(i: int, module: Module) -> dict[str, str]:
    """Return the variable of each tensor in a module's file."""
    if module["type"] == "WordWeights":
        return {"emb_layer.weight": "token_weights/table"}
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


def initial_weights(module: Module) -> np.ndarray:
    """Return the weight of each token that a WordWeights module gives it, float32 `[tokens]`."""
    weights, unknown = module["word_weights"], module.get("unknown_word_weight", 1)
    found = [weights.get(word, weights.get(word.lower(), unknown)) for word in module["vocab"]]
    return np.array(found, np.float32)


def set_token_weights(model: keras.Model, modules: Sequence[Module]) -> None:
    """Give the tokens their weights, unless the model is built without values."""
    if modules and modules[0]["type"] == "WordWeights":
        table = named_variables(model)["token_weights/table"]
        if has_value(table):
            set_value(table, initial_weights(modules[0]))


# --- files -------------------------------------------------------------------------------------


def read_module(folder: Path, kind: str, path: str) -> Module:
    """Return a module of a checkpoint folder, from its config and the header of its weights.

    Raises:
        ConfigError: a field has a value that isn't computed here.
        CheckpointFileError: a file is absent or damaged.
    """
    config = read_fields(folder / path / "config.json", FIELDS[kind])
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


def load_weights(model: keras.Model, modules: Sequence[Module], folder: Path) -> None:
    """Give the variables of modules the values in a checkpoint folder.

    Raises:
        CheckpointFileError: a file has other tensors, or of another shape.
    """
    variables = named_variables(model)
    for (i, module), path in zip(enumerate(modules), _paths(folder), strict=False):
        names = tensor_names(i, module)
        if module["type"] == "WordWeights":  # whose weights are in its config
            set_value(variables["token_weights/table"], initial_weights(module))
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


def config_of(module: Module) -> dict[str, Any]:
    """Return the content of a module's config.json."""
    config = {name: value for name, value in module.items() if name not in ("type", DTYPE)}
    if "activation_function" in config:
        config["activation_function"] = class_path(config["activation_function"])
    return config


def _paths(folder: Path) -> list[str]:
    """Return the folders of the modules that are computed here, in order."""
    return [module.path for module in list_modules(folder) or () if module.kind in FIELDS]
