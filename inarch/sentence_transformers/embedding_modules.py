"""Modules of sentence-transformers around the pooling: as layers, and their weights in files.

Source: sentence-transformers, base/modules/dense.py, sentence_transformer/modules/layer_norm.py and
word_weights.py. A module is given by its class's name and the fields of its config.json, such as
`{"type": "Dense", "in_features": 16, "out_features": 8}`. Class names are looked up in the table
here; nothing is imported by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.answers.activation import ACTIVATIONS, class_path, from_class_path
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.keras_private import has_value
from inarch.layers.pooling import Normalize, SequencePooling, TokenWeights
from inarch.models.variables import named_variables, set_value
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers import sentence_fields
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


def pooled_vectors(
    modules: Sequence[Module],
    pooling: Sequence[str],
    tokens: Any,
    inputs: Mapping[str, Any],
    preprocessor: Any,
) -> Any:
    """Return the vector of each text, from the vectors of its tokens, after all modules.

    Args:
        modules: as `resolve_modules` returns them.
        pooling: modes, see `SequencePooling`.
        tokens: float `[batch, length, dim]`.
        inputs: the backbone's inputs, by name.
        preprocessor: whose tokens must have weights where the modules have some; or None.
    """
    weights = _token_weights(modules, inputs["token_ids"], preprocessor)
    pool = SequencePooling(pooling, name="pooling")
    x = pool(tokens, padding_mask=inputs["padding_mask"], token_weights=weights)
    return apply_modules(modules, x)


def _token_weights(modules: Sequence[Module], token_ids: Any, preprocessor: Any) -> Any:
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


def config_of(module: Module) -> dict[str, Any]:
    """Return the content of a module's config.json."""
    config = {name: value for name, value in module.items() if name not in ("type", DTYPE)}
    if "activation_function" in config:
        config["activation_function"] = class_path(config["activation_function"])
    return config
