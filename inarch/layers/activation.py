"""Activation functions by name, with those that published checkpoints use and Keras lacks."""

from collections.abc import Callable
from typing import Any

import keras

from inarch.errors import InputError

Activation = str | dict | Callable[[Any], Any] | None


@keras.saving.register_keras_serializable(package="inarch")
def gelu_approximate(x: Any) -> Any:
    """Return GELU through tanh (Hendrycks & Gimpel, 2016, arXiv:1606.08415), elementwise.

    Within 5e-4 of the exact GELU: near enough to train with, far enough to spoil a conversion.
    """
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="inarch")
def gelu_by_sigmoid(x: Any) -> Any:
    """Return GELU through a sigmoid (openai/CLIP, clip/model.py, `QuickGELU`), elementwise."""
    return x * keras.ops.sigmoid(1.702 * x)


@keras.saving.register_keras_serializable(package="inarch")
def squared_relu(x: Any) -> Any:
    """Return the square of ReLU (So et al., 2021, arXiv:2109.08668), elementwise."""
    return keras.ops.square(keras.ops.relu(x))


# Those that have a name here.
OWN: dict[str, Callable[[Any], Any]] = {
    "gelu_approximate": gelu_approximate, "squared_relu": squared_relu,
}  # fmt: skip


def get_activation(name_or_callable: Activation) -> Callable[[Any], Any]:
    """Return the activation function of a name or of a serialized config, or the given callable.

    Args:
        name_or_callable: `"gelu"` (exact, through erf), `"gelu_approximate"` (through tanh),
            `"squared_relu"`, or anything that `keras.activations.get` takes;
            `None` is the identity.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(name_or_callable, str) and name_or_callable in OWN:
        return OWN[name_or_callable]
    try:
        return keras.activations.get(name_or_callable)
    except ValueError as error:
        raise InputError(
            f"activation={name_or_callable!r} is unknown. Pass 'gelu' (exact), 'gelu_approximate' "
            "(tanh), 'squared_relu', another name of keras.activations, or a "
            "function of one tensor."
        ) from error


def serialize_activation(activation: Callable[[Any], Any]) -> Any:
    """Return what `get_activation` turns back into `activation`: its name, or a config."""
    for name, function in OWN.items():
        if activation is function:
            return name
    return keras.activations.serialize(activation)
