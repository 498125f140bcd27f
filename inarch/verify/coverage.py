"""Coverage: which rows of a model's tables its inputs reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from inarch.models.registry import Unreached
from inarch.models.variables import named_variables
from inarch.verify.reference import padding_mask_in
from inarch.verify.report import Coverage

ops: Any = keras.ops  # Typed, every result may be None.

# How the names of their variables end.
TABLE = "/embeddings"


def table_coverage(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> tuple[Coverage, ...]:
    """Return the coverage of every table of embeddings, by the gradient of the outputs.

    Args:
        inputs: the model's inputs by name.
    """
    tables = tables_of(model)
    if not tables:
        return ()
    gradients = _gradients(model, list(tables.values()), inputs)
    return tuple(
        Coverage(name, len(gradient), tuple(np.flatnonzero(~gradient.any(axis=1)).tolist()))
        for name, gradient in zip(tables, gradients, strict=True)
    )


def tables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the tables of embeddings of a model, by the names of their variables."""
    variables = named_variables(model)
    return {n: v for n, v in variables.items() if n.endswith(TABLE) and len(v.shape) == 2}


def joined_coverage(
    first: Iterable[Coverage], second: Iterable[Coverage], unreached: Iterable[Unreached]
) -> tuple[Coverage, ...]:
    """Return the coverage of two runs of one model, with reasons of rows that none reaches."""
    others = {coverage.table: {*coverage.untouched} for coverage in second}
    reasons: dict[str, dict[int, str]] = {}
    for entry in unreached:
        rows = reasons.setdefault(entry.table + TABLE, {})
        rows |= dict.fromkeys(entry.rows, entry.reason)
    return tuple(
        replace(
            coverage,
            untouched=tuple(r for r in coverage.untouched if r in others[coverage.table]),
            reasons=reasons.get(coverage.table, {}),
        )
        for coverage in first
    )


def _gradients(
    model: keras.Model, tables: list[keras.Variable], inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    fed = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    mask = padding_mask_in(inputs)
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        trained, rest = model.trainable_variables, model.non_trainable_variables
        values = {id(v): v.value for v in (*trained, *rest)}

        def loss(chosen: list[Any]) -> Any:
            held = {**values, **{id(v): x for v, x in zip(tables, chosen, strict=True)}}
            states = ([held[id(v)] for v in variables] for variables in (trained, rest))
            return _weighted(model.stateless_call(*states, fed, training=False)[0], mask)

        found = jax.jit(jax.grad(loss))([v.value for v in tables])
    elif backend == "torch":
        import torch

        leaves: list[Any] = [v.value for v in tables]
        frozen = [value for value in leaves if not value.requires_grad]
        try:
            for value in frozen:
                value.requires_grad_(True)
            total = _weighted(model(fed, training=False), mask)
            found = torch.autograd.grad(total, leaves, allow_unused=True)
        finally:
            for value in frozen:
                value.requires_grad_(False)
    else:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch([v.value for v in tables])
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
