"""Coverage: which rows of a model's tables, and branches of its layers, its inputs reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from inarch.layers.alternatives import changed
from inarch.layers.layer import Layer
from inarch.models.registry import Unreached
from inarch.models.variables import named_variables
from inarch.verify.pairs import TABLE
from inarch.verify.reference import mask_of_tokens
from inarch.verify.report import Coverage
from inarch.verify.trace import layers_of

ops: Any = keras.ops  # Typed, every result may be None.

# A change of an output that counts, relative to the largest value; rounding makes 1e-7.
LEAST = 3e-6


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


def branch_coverage(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> tuple[Coverage, ...]:
    """Return the coverage of what the arguments of layers switch on (`Layer.branches`).

    A branch is reached where the outputs at real tokens are others without it, in all layers of
    like paths at once.

    Args:
        inputs: the model's inputs by name.
    """
    alike: dict[str, dict[str, list[tuple[Layer, Mapping[str, Any]]]]] = {}
    for path, layer in layers_of(model).items():
        if isinstance(layer, Layer):
            for name, without in layer.branches().items():
                group = alike.setdefault(re.sub(r"\d+", "{i}", path), {})
                group.setdefault(name, []).append((layer, without))
    right = _at_tokens(model, inputs) if alike else []
    found = []
    for path, branches in alike.items():
        untouched = []
        for name, layers in branches.items():
            with ExitStack() as stack:
                for layer, without in layers:
                    stack.enter_context(changed(layer, without))
                others = _at_tokens(model, inputs)
            if all(map(_alike, right, others)):
                untouched.append(name)
        found.append(Coverage(path, len(branches), tuple(untouched), what="branches"))
    return tuple(found)


def _at_tokens(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the outputs at real tokens."""
    fed = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    outputs = keras.tree.flatten(model(fed, training=False))
    arrays = [ops.convert_to_numpy(ops.cast(x, "float32")) for x in outputs]
    masks = [_mask_of(x, inputs) for x in arrays]
    return [x if m is None else x[m != 0] for x, m in zip(arrays, masks, strict=True)]


def _alike(right: np.ndarray, other: np.ndarray) -> bool:
    return float(np.abs(right - other).max(initial=0)) <= LEAST * float(
        np.abs(right).max(initial=0)
    )


def _mask_of(output: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the mask of the tokens that an output is of, if any."""
    return mask_of_tokens(output.shape[:2], inputs) if len(output.shape) > 2 else None


def tables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the tables of embeddings of a model, by the names of their variables."""
    variables = named_variables(model)
    return {n: v for n, v in variables.items() if n.endswith(TABLE) and len(v.shape) == 2}


def joined_coverage(
    first: Iterable[Coverage], second: Iterable[Coverage], unreached: Iterable[Unreached]
) -> tuple[Coverage, ...]:
    """Return the coverage of two runs of one model, with reasons of what none reaches."""
    others = {coverage.place: {*coverage.untouched} for coverage in second}
    reasons: dict[str, dict[int | str, str]] = {}
    for entry in unreached:
        for place, names in ((entry.layer + TABLE, entry.rows), (entry.layer, entry.branches)):
            reasons.setdefault(place, {}).update(dict.fromkeys(names, entry.reason))
    return tuple(
        replace(
            coverage,
            untouched=tuple(one for one in coverage.untouched if one in others[coverage.place]),
            reasons=reasons.get(coverage.place, {}),
        )
        for coverage in first
    )


def _gradients(
    model: keras.Model, tables: list[keras.Variable], inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    fed = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        trained, rest = model.trainable_variables, model.non_trainable_variables
        values = {id(v): v.value for v in (*trained, *rest)}

        def loss(chosen: list[Any]) -> Any:
            held = {**values, **{id(v): x for v, x in zip(tables, chosen, strict=True)}}
            states = ([held[id(v)] for v in variables] for variables in (trained, rest))
            return _weighted(model.stateless_call(*states, fed, training=False)[0], inputs)

        found = jax.jit(jax.grad(loss))([v.value for v in tables])
    elif backend == "torch":
        import torch

        leaves: list[Any] = [v.value for v in tables]
        frozen = [value for value in leaves if not value.requires_grad]
        try:
            for value in frozen:
                value.requires_grad_(True)
            total = _weighted(model(fed, training=False), inputs)
            found = torch.autograd.grad(total, leaves, allow_unused=True)
        finally:
            for value in frozen:
                value.requires_grad_(False)
    else:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch([v.value for v in tables])
            total = _weighted(model(fed, training=False), inputs)
        found = tape.gradient(total, [v.value for v in tables])
        found = [x if x is None else tensorflow.convert_to_tensor(x) for x in found]
    return [
        np.zeros(v.shape) if x is None else ops.convert_to_numpy(x)
        for v, x in zip(tables, found, strict=True)
    ]


def _weighted(outputs: Any, inputs: Mapping[str, np.ndarray]) -> Any:
    """Return a sum of all outputs with random weights, real tokens alone."""
    random, total = np.random.default_rng(0), 0.0
    for output in keras.tree.flatten(outputs):
        weights = random.standard_normal(tuple(output.shape)).astype("float32")
        if (mask := _mask_of(output, inputs)) is not None:
            weights *= (mask != 0)[..., None]
        total = total + ops.sum(ops.cast(output, "float32") * ops.convert_to_tensor(weights))
    return total
