"""Activation functions from logits to the scores of a classifier, in NumPy.

Source: torch.nn, whose class names sentence-transformers writes into a reranker's config. A name is
looked up in the table here; nothing is imported by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from inarch.errors import ConfigError, InputError
from inarch.runtime.forward import softmax
from inarch.validation import shown

Activation = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# By our name: torch's class name, and the function with that class's default arguments.
ACTIVATIONS: dict[str, tuple[str, Activation]] = {
    "identity": ("Identity", lambda x: x),
    "sigmoid": ("Sigmoid", sigmoid),
    "softmax": ("Softmax", softmax),
    "tanh": ("Tanh", np.tanh),
    "relu": ("ReLU", lambda x: np.maximum(x, 0)),
    "relu6": ("ReLU6", lambda x: np.clip(x, 0, 6)),
    "gelu": ("GELU", gelu),
    "silu": ("SiLU", lambda x: x * sigmoid(x)),
    "softplus": ("Softplus", softplus),
    "softsign": ("Softsign", lambda x: x / (1 + np.abs(x))),
    "log_sigmoid": ("LogSigmoid", lambda x: -softplus(-x)),
    "log_softmax": ("LogSoftmax", log_softmax),
    "hard_sigmoid": ("Hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hard_tanh": ("Hardtanh", lambda x: np.clip(x, -1, 1)),
}
_BY_CLASS = {cls: name for name, (cls, _) in ACTIVATIONS.items()}


def checked_activation(owner: Any, name: Any) -> str | None:
    """Return the argument `activation_fn`, checked.

    Raises:
        InputError: it is neither None nor an activation that is computed here.
    """
    if name is not None and (not isinstance(name, str) or name not in ACTIVATIONS):
        raise InputError(
            f"activation_fn is {shown(name)}; known: {', '.join(map(repr, ACTIVATIONS))}"
        )
    return name


def from_class_path(path: Any, where: str) -> str:
    """Return our name of the class that a config names, such as `torch.nn.Sigmoid`.

    Raises:
        ConfigError: it is none of torch's activations that are computed here.
    """
    found = re.fullmatch(r"torch\.nn\.(?:modules\.(?:activation|linear)\.)?(\w+)", str(path))
    if not isinstance(path, str) or found is None or found[1] not in _BY_CLASS:
        raise ConfigError(
            f"{where} is {shown(path)}; computed here: torch.nn's {', '.join(_BY_CLASS)}. To use "
            f"another, name it: activation_fn=..., one of {', '.join(map(repr, ACTIVATIONS))}"
        )
    return _BY_CLASS[found[1]]


def class_path(name: str) -> str:
    """Return the full name of torch's class, as sentence-transformers writes it."""
    module = "linear" if name == "identity" else "activation"
    return f"torch.nn.modules.{module}.{ACTIVATIONS[name][0]}"
