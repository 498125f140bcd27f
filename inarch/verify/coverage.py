"""Coverage: which rows of a model's tables its inputs reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from inarch.models.variables import named_variables
from inarch.verify.report import Coverage

ops: Any = keras.ops  # Typed, every result may be None.


def table_coverage(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> tuple[Coverage, ...]:
    """Return the coverage of every table of embeddings, by the gradient of the outputs.

    Args:
        inputs: the model's inputs by name.
    """
    variables = named_variables(model)
    tables = {n: v for n, v in variables.items() if n.endswith("embeddings") and len(v.shape) == 2}
    if not tables:
        return ()
    gradients = _gradients(model, list(tables.values()), inputs)
    return tuple(
        Coverage(name, len(gradient), tuple(np.flatnonzero(~gradient.any(axis=1)).tolist()))
        for name, gradient in zip(tables, gradients, strict=True)
    )


def _gradients(
    model: keras.Model, tables: list[keras.Variable], inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    fed = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    mask = inputs.get("padding_mask", inputs.get("decoder_padding_mask"))
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        trained, rest = model.trainable_variables, model.non_trainable_variables
        values = {v.path: v.value for v in (*trained, *rest)}

        def loss(chosen: list[Any]) -> Any:
            held = {**values, **{v.path: x for v, x in zip(tables, chosen, strict=True)}}
            states = ([held[v.path] for v in variables] for variables in (trained, rest))
            return _weighted(model.stateless_call(*states, fed, training=False)[0], mask)

        found = jax.grad(loss)([v.value for v in tables])
    elif backend == "torch":
        import torch

        total = _weighted(model(fed, training=False), mask)
        found = torch.autograd.grad(total, [v.value for v in tables], allow_unused=True)
    else:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            total = _weighted(model(fed, training=False), mask)
        found = tape.gradient(total, [v.value for v in tables])
        found = [x if x is None else tensorflow.convert_to_tensor(x) for x in found]
    return [
        np.zeros(v.shape) if x is None else ops.convert_to_numpy(x)
        for v, x in zip(tables, found, strict=True)
    ]


def _weighted(outputs: Any, mask: np.ndarray | None) -> Any:
    """Return a sum of all outputs with random weights, real tokens alone."""
    random, total = np.random.default_rng(0), 0.0
    for output in keras.tree.flatten(outputs):
        weights = random.standard_normal(tuple(output.shape)).astype("float32")
        if mask is not None and len(output.shape) > 2 and tuple(output.shape[:2]) == mask.shape:
            weights *= (mask != 0)[..., None]
        total = total + ops.sum(ops.cast(output, "float32") * ops.convert_to_tensor(weights))
    return total
