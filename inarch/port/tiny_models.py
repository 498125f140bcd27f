"""Tiny models of an architecture, of the sizes that its folder gives, with random weights."""

from __future__ import annotations

from typing import Any, TypeVar

import keras
import numpy as np

from inarch.keras_private import all_layers
from inarch.layers import MultiHeadAttention
from inarch.models.registry import Architecture
from inarch.models.variables import (
    build_without_values,
    initialize,
    named_variables,
    set_value,
    to_numpy,
)
from inarch.tasks.task import Task

Model = TypeVar("Model", bound=keras.Model)
CLASSES = 3


def randomized(model: Model, seed: int = 0) -> Model:
    """Give every weight of a model a value of order one, so that nothing hides behind a zero."""
    random = np.random.default_rng(seed)
    for name, variable in named_variables(model).items():
        value = random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + 0.3 * value if name.endswith("gamma") else value)
    for layer in all_layers(model):
        if isinstance(layer, MultiHeadAttention) and layer.scale == 1:
            # As T5 is initialized: scores have the size that a scale gives others.
            kernel = layer.query_dense.kernel
            set_value(kernel, to_numpy(kernel) * layer.key_dim**-0.5)
    return model


def tiny_backbone(architecture: Architecture, **changes: Any) -> Any:
    """Return a new backbone of the sizes in `[tiny]`, with other arguments where given."""
    arguments = {**architecture.tiny, **changes}
    # Without initial values, each shape of which JAX would compile.
    model, waiting = build_without_values(lambda: architecture.backbone(**arguments))
    randomized(model)
    initialize(waiting)
    return model


def tiny_task(architecture: Architecture, task: type[Task], head: str, **arguments: Any) -> Any:
    """Return a task on a tiny backbone that has the layers which its head needs and no others."""
    source = architecture.sources[0]
    parts = {part: part in source.heads[head].requires for part in source.optional_layers}
    own = {"num_classes": CLASSES} if head.endswith("_classifier") else {}
    made: Any = task
    return randomized(made(tiny_backbone(architecture, **parts), **own, **arguments))
