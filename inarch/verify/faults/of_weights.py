"""Values in the wrong variables, as a wrong weight map or a careless loader puts them there."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import keras
import ml_dtypes
import numpy as np

from inarch.layers import Block
from inarch.models.variables import to_numpy
from inarch.verify.faults.fault import Fault, Subject

OTHER = "swapped|holds"


def _off(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value.flat[0] *= 1.01
    return value


def _spoilt(value: np.ndarray) -> np.ndarray:
    return np.where(np.arange(value.size).reshape(value.shape) == 0, np.nan, value)


def _rounded(value: np.ndarray) -> np.ndarray:
    return value.astype(ml_dtypes.bfloat16).astype(value.dtype)


def _interleaved(value: np.ndarray, axis: int = -1, heads: int = 3) -> np.ndarray:
    """Take the features of all heads by turns, `(d h)`, where `(h d)` is right."""
    order = np.arange(value.shape[axis]).reshape(heads, -1).T.ravel()
    return np.take(value, order, axis)


# Per class of layers: a name, the variable, its change, and what the diagnosis says.
CHANGES: dict[type, list[tuple[str, str, Any, str | None]]] = {
    keras.layers.Dense: [
        ("kernel transposed", "kernel", np.transpose, "transposed"),
        ("bias never loaded", "bias", np.zeros_like, "bias"),
        ("one weight off by 1%", "kernel", _off, "holds other values"),
        ("one weight that is no number", "kernel", _spoilt, "number"),
        ("heads' columns interleaved", "kernel", _interleaved, r"heads?\b.*order|holds"),
        (
            "heads' rows interleaved",
            "kernel",
            lambda v: _interleaved(v, 0),
            r"heads?\b.*order|holds",
        ),
    ],
    keras.layers.LayerNormalization: [
        ("gamma never loaded", "gamma", np.ones_like, "gamma"),
        ("beta never loaded", "beta", np.zeros_like, "beta"),
        ("gamma taken as 1 + gamma", "gamma", lambda gamma: 1 + gamma, "gamma"),
    ],
    keras.layers.Embedding: [
        (
            "table shifted by a row",
            "_embeddings",
            lambda t: np.roll(t, 1, axis=0),
            "rows|gives row",
        ),
        ("table upside down", "_embeddings", np.flipud, "row"),
        ("table rounded to bfloat16", "_embeddings", _rounded, "bfloat16|holds other values"),
    ],
    keras.layers.Conv1D: [
        ("kernel reversed in time", "_kernel", np.flipud, "reversed in time"),
        ("bias never loaded", "bias", np.zeros_like, "bias"),
        ("one weight off by 1%", "_kernel", _off, "holds"),
    ],
}


def faults(subject: Subject) -> list[Fault]:
    """Return the faults of each class's weights, in turn on the layers of each role."""
    found = [*_swapped(subject)]
    for kind, changes in CHANGES.items():
        paths = [group[-1] for group in subject.roles(kind).values()]
        for turn, (name, attribute, change, diagnosis) in enumerate(changes):
            # Every bias is tried.
            chosen = [*paths[turn % max(len(paths), 1) :], *paths[: turn % max(len(paths), 1)]]
            wrong = [(p, *_wrong(subject.layers[p], attribute, change)) for p in chosen]
            wrong = [
                (path, variable, value) for path, variable, value in wrong if value is not None
            ]
            for path, variable, value in wrong if attribute == "bias" else wrong[:1]:
                values = ((variable, value),)
                found.append(subject.fault(f"{path}: {name}", [path], diagnosis, values=values))
    return found


def _wrong(layer: Any, attribute: str, change: Any) -> tuple[Any, np.ndarray | None]:
    """Return a variable and its wrong value, if there is one of its shape."""
    variable = getattr(layer, attribute, None)
    if variable is None:
        return None, None
    right = to_numpy(variable)
    try:
        value = change(right)
    except ValueError:  # the heads don't divide its width
        return variable, None
    is_wrong = value.shape == right.shape and not np.array_equal(value, right)
    return variable, value if is_wrong else None


def _swapped(subject: Subject) -> list[Fault]:
    """Return layers, and whole blocks, that hold each other's weights."""
    found = []
    for one, other in combinations(_leaves(subject), 2):
        pairs = _pairs(subject, one, other)
        alike = one.rpartition("/")[0] == other.rpartition("/")[0] and not one.endswith("_0")
        if alike and pairs and "_0" not in one:
            name = f"{one} and {other.rpartition('/')[2]} swapped"
            found.append(subject.fault(name, [one, other], OTHER, values=_exchanged(pairs)))
    for paths in subject.roles(Block).values():
        one, other = paths[0], paths[-1]
        leaves = [leaf for leaf in _leaves(subject) if leaf.startswith(f"{one}/")]
        twins = [(leaf, other + leaf.removeprefix(one)) for leaf in leaves]
        # Blocks needn't be alike: some may have experts, and others none.
        twins = [twin for twin in twins if twin[1] in subject.layers]
        pairs = [pair for twin in twins for pair in _pairs(subject, *twin)] if one != other else []
        if pairs:
            places, copies = (
                [leaf for twin in twins for leaf in twin],
                [(b, to_numpy(a)) for a, b in pairs],
            )
            exchanged = _exchanged(pairs)
            found += [
                subject.fault(f"{one} and {other} swapped", places, OTHER, values=exchanged),
                subject.fault(f"{one} in place of {other}", places[1::2], OTHER, values=copies),
            ]
    return found


def _leaves(subject: Subject) -> list[str]:
    """Return the layers that have weights and no other layer that has."""
    outer = {path.rpartition("/")[0] for path in subject.layers}
    return [path for path in subject.own if path not in outer]


def _pairs(subject: Subject, one: str, other: str) -> list[tuple[Any, Any]]:
    """Return the variables of two layers of one class that can hold each other's values."""
    first, second = subject.layers[one], subject.layers[other]
    pairs = list(zip(first.weights, second.weights, strict=False))
    fits = type(first) is type(second) and all(a.shape == b.shape for a, b in pairs)
    return [p for p in pairs if p[0].name == p[1].name] if fits else []


def _exchanged(pairs: list[tuple[Any, Any]]) -> tuple[tuple[Any, np.ndarray], ...]:
    return tuple((a, to_numpy(b)) for pair in pairs for a, b in (pair, pair[::-1]))
