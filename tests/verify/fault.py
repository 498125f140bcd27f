"""A kind of fault, and the tools to put one into a live model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from inarch.models.variables import named_variables
from inarch.verify.trace import layers_of

Injection = Callable[[keras.Model], None]

ENCODERS = ("layer_0", "layer_1")
NEVER_CALLED = "never called|never runs|skipped"


@dataclass(frozen=True)
class Fault:
    """One way in which a model of ours can be wrong.

    Attributes:
        name: in a few words, as the table of faults shows it.
        inject: puts the fault into a model that is right.
        places: paths of the faulty layers; of the layer that follows, where the fault is in the
            graph between two. `""` is the model itself.
        diagnosis: regular expression that the diagnosis of the first finding matches; None if
            there is none to be expected.
        head: of the golden run that shows it; `""` is the bare backbone.
        fast: whether it is among those that every run of the tests injects.
        mixed: whether it adds tensors of two precisions, which TensorFlow refuses by itself.
    """

    name: str
    inject: Injection
    places: frozenset[str]
    diagnosis: str | None = None
    head: str = ""
    fast: bool = False
    mixed: bool = False


def at(*paths: str) -> frozenset[str]:
    return frozenset(paths)


def everywhere(below: str) -> frozenset[str]:
    """The same place in every encoder layer: a mistake in code that they share."""
    return frozenset(f"{layer}/{below}" for layer in ENCODERS)


def together(*injections: Injection) -> Injection:
    def inject(model: keras.Model) -> None:
        for injection in injections:
            injection(model)

    return inject


# --- variables ---------------------------------------------------------------------------------


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Injection:
    """A variable holds something else."""

    def inject(model: keras.Model) -> None:
        variable = named_variables(model)[name]
        variable.assign(change(keras.ops.convert_to_numpy(variable)))

    return inject


def exchanged(*pairs: tuple[str, str]) -> Injection:
    """For each pair, the variables under its two paths hold each other's values."""

    def inject(model: keras.Model) -> None:
        variables = named_variables(model)
        held = {name: keras.ops.convert_to_numpy(v) for name, v in variables.items()}
        for one, other in (p for pair in pairs for p in (pair, pair[::-1])):
            for name, variable in variables.items():
                if name == one or name.startswith(f"{one}/"):
                    variable.assign(held[other + name.removeprefix(one)])

    return inject


def copied(one: str, other: str) -> Injection:
    """The variables under `other` hold the values of those under `one`."""

    def inject(model: keras.Model) -> None:
        variables = named_variables(model)
        for name, variable in variables.items():
            if name.startswith(f"{one}/"):
                variables[other + name.removeprefix(one)].assign(variable)

    return inject


# --- layers ------------------------------------------------------------------------------------


def with_layers(paths: frozenset[str], change: Callable[[Any], Any]) -> Injection:
    """Do something to the layers at these paths."""

    def inject(model: keras.Model) -> None:
        layers = layers_of(model)
        for path in sorted(paths):
            change(layers[path])

    return inject


def attribute(paths: frozenset[str], name: str, value: Any) -> Injection:
    """An attribute of these layers, such as `epsilon` of a norm, has another value."""
    return with_layers(paths, lambda layer: setattr(layer, name, value))


def around(operation: Any, change: Callable[..., Any]) -> None:
    """Have `change(call, ...)` run in place of `call(...)`."""
    object.__setattr__(operation, "call", partial(change, operation.call))


def calls(paths: frozenset[str], change: Callable[..., Any]) -> Injection:
    """These layers run `change(call, ...)` in place of `call(...)`."""
    return with_layers(paths, lambda layer: around(layer, change))


def computes(paths: frozenset[str], function: Callable[..., Any], **options: Any) -> Injection:
    """These layers run `function(layer, ...)` in place of `call(...)`."""

    def change(layer: Any) -> None:
        object.__setattr__(layer, "call", partial(function, layer, **options))

    return with_layers(paths, change)


def gives(path: str, change: Callable[[Any], Any]) -> Injection:
    """What a layer gives is changed."""
    return calls(at(path), lambda call, *args, **kwargs: change(call(*args, **kwargs)))


def takes(path: str, change: Callable[[Any], Any]) -> Injection:
    """What a layer takes in is changed."""
    return calls(at(path), lambda call, x, *args, **kwargs: call(change(x), *args, **kwargs))
