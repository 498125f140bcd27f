"""Ways to get a layer wrong, declared next to its code.

`alternatives()` of a layer returns a dict: from a noun phrase for what a wrong implementation has
to the attributes of the layer that make it so, among them methods and `call`. Fault injection sets
them in a right model; the diagnosis sets them in a copy of a layer that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from inarch.layers.activation import gelu_approximate, gelu_by_sigmoid, squared_relu
from inarch.layers.dot_product_attention import masked_softmax

ops: Any = keras.ops  # Typed, every result may be None.

Alternatives = Mapping[str, Mapping[str, Any]]

# Of normalizations.
EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
# Of bool masks `[..., T, S]`, true where a query attends to a key.
MASKS: dict[str, Callable[[Any], Any]] = {
    "no mask": lambda mask: ops.ones_like(mask),
    "an inverted mask": lambda mask: ops.logical_not(mask),
    "a causal mask": lambda mask: ops.logical_and(mask, ops.tril(ops.ones_like(mask))),
    "a mask of what comes after": lambda mask: ops.logical_and(mask, ops.triu(ops.ones_like(mask))),
    "a mask that hides a token from itself": lambda mask: ops.logical_and(
        mask, ops.logical_not(_diagonal(mask))
    ),
    "a mask that is off by one and shows a key more": lambda mask: ops.logical_or(
        mask, ops.roll(mask, 1, axis=-1)
    ),
    "a mask that is off by one and shows a key less": lambda mask: ops.logical_and(
        mask, ops.roll(mask, -1, axis=-1)
    ),
    "a mask of the diagonal, and so the values themselves": lambda mask: _diagonal(mask),
}
# In place of probabilities `[..., T, S]`, from scaled scores and a bool mask or `None`.
SOFTMAXES: dict[str, Callable[[Any, Any], Any]] = {
    "a softmax over the queries": lambda x, mask: ops.softmax(
        x if mask is None else ops.where(mask, x, -1e30), axis=-2
    ),
    "a softmax in float16": lambda x, mask: ops.cast(
        ops.softmax(ops.cast(x if mask is None else ops.where(mask, x, -6e4), "float16")), x.dtype
    ),
    "scores without a softmax": lambda x, mask: x if mask is None else ops.where(mask, x, 0.0),
    "a mask that is applied after the softmax": lambda x, mask: (
        masked_softmax(x, None) * (1.0 if mask is None else ops.cast(mask, x.dtype))
    ),
    "a mask that is added as 0 and -1": lambda x, mask: masked_softmax(
        x if mask is None else x + ops.cast(mask, x.dtype) - 1.0, None
    ),
}
# In place of a bias on the scores, `[..., T, S]`.
BIASES: dict[str, Callable[[Any], Any]] = {
    "no bias on the scores": lambda bias: 0 * bias,
    "a bias that is subtracted": lambda bias: -bias,
    "a bias that is added twice": lambda bias: 2 * bias,
    "a transposed bias": lambda bias: ops.swapaxes(bias, -1, -2),
}


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "no activation": keras.activations.linear,
    "GELU (exact)": keras.activations.gelu,
    "GELU through tanh": gelu_approximate,
    "GELU through a sigmoid": gelu_by_sigmoid,
    "ReLU": keras.activations.relu,
    "SiLU": keras.activations.silu,
    "tanh": keras.activations.tanh,
    "sigmoid": keras.activations.sigmoid,
    "squared ReLU": squared_relu,
    "ELU": keras.activations.elu,
    "softmax": keras.activations.softmax,
}


def activation_alternatives(layer: Any, attribute: str = "activation") -> Alternatives:
    """Return other activations in place of the function that an attribute of a layer holds."""
    own = getattr(layer, attribute)
    return {name: {attribute: f} for name, f in ACTIVATIONS.items() if f is not own}


def shown_attribute(value: Any) -> str | None:
    """Return a number, words or an activation as a diagnosis names it; None for all else."""
    if isinstance(value, int | float | str | tuple):
        return repr(value)
    return next((name for name, f in ACTIVATIONS.items() if f is value), None)


def argument_alternatives(
    layer: Any, argument: str, changes: Mapping[str, Callable[[Any], Any]]
) -> Alternatives:
    """Return calls that are given another value of an argument, where they are given one."""

    def call(change: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get(argument) is not None:
            kwargs[argument] = change(kwargs[argument])
        return type(layer).call(layer, *args, **kwargs)

    return {name: {"call": partial(call, change)} for name, change in changes.items()}


@contextmanager
def changed(layer: keras.layers.Layer, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of a layer, past Keras's bookkeeping, while the context lasts."""
    before = {name: layer.__dict__[name] for name in attributes if name in layer.__dict__}
    for name, value in attributes.items():
        object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        for name in attributes:
            object.__delattr__(layer, name)
        for name, value in before.items():
            object.__setattr__(layer, name, value)


def changed_call(layer: keras.layers.Layer, attributes: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function that calls a layer with its attributes changed."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with changed(layer, attributes):
            return layer(*args, **kwargs)

    return call


def interleave(x: Any, groups: int) -> Any:
    """Return features in the order of the first of each of `groups`, the second of each, ..."""
    grouped = ops.reshape(x, (*ops.shape(x)[:-1], groups, -1))
    return ops.reshape(ops.swapaxes(grouped, -1, -2), ops.shape(x))


def _diagonal(mask: Any) -> Any:
    return ops.broadcast_to(ops.cast(ops.eye(*mask.shape[-2:]), "bool"), mask.shape)
