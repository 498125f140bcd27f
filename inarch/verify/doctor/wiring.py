"""A tensor that is put together otherwise: sums, scales, activations, the token that is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import keras
import numpy as np

from inarch.layers.alternatives import ACTIVATIONS
from inarch.verify.doctor.evidence import Evidence, variable
from inarch.verify.reference import mask_of_tokens

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class Term:
    """A known tensor, with the name to call it by."""

    name: str
    value: np.ndarray


@dataclass(frozen=True)
class Sum:
    """A tensor as a sum of known tensors times numbers."""

    names: tuple[str, ...]
    factors: tuple[float, ...]

    def __str__(self) -> str:
        parts = [
            name if abs(factor - 1) < 1e-4 else f"{factor:.4g} x ({name})"
            for name, factor in zip(self.names, self.factors, strict=True)
        ]
        return " + ".join(parts)


def activation(evidence: Evidence) -> str | None:
    """Another activation than the reference's, after one known tensor."""
    for term in _sources(evidence):
        found: dict[str, str] = {}
        for name, function in ACTIVATIONS.items():
            given = np.asarray(ops.convert_to_numpy(function(_tensor(term.value))))
            for side, values in (("theirs", evidence.theirs), ("ours", evidence.ours)):
                if evidence.same(given, values):
                    found.setdefault(side, name)
        if len(found) == 2 and found["ours"] != found["theirs"]:
            return (
                f"the activation after the {term.name}: ours is {found['ours']}, the reference's "
                f"{found['theirs']}, which restores its values"
            )
    return None


def sums(evidence: Evidence) -> str | None:
    """Another sum of known tensors than the reference's: a residual, a scale, another path."""
    alias = _alias(evidence)
    theirs = (
        Sum((alias,), (1.0,))
        if alias
        else _as_sum(evidence, evidence.theirs, list(_terms(evidence)))
    )
    ours = _as_sum(evidence, evidence.ours, list(_terms(evidence, ours=True)))
    if theirs is None:
        return None
    if ours is None:
        return f"the reference has {theirs} here, ours something else"
    missing = [name for name in theirs.names if name not in ours.names]
    extra = [name for name in ours.names if name not in theirs.names]
    both = f"the reference has {theirs} here, ours {ours}"
    if missing and not extra and _is_early_norm(evidence, missing, ours.names):
        return f"a norm is at another place, before the sum instead of after it: {both}"
    if missing and not extra:
        lacking = _residual(evidence, missing[0])
        return f"the {lacking} is missing: {both}; adding it restores its values"
    if extra and not missing:
        return (
            f"a residual too many: the {extra[0]} is added and the reference leaves it out: {both}"
        )
    if not missing and theirs.factors != ours.factors:
        return f"another scale: {both}"
    if len(missing) == len(extra) == 1 and len(theirs.names) > 1:
        return f"another residual: the reference adds the {missing[0]}, ours the {extra[0]}"
    if any(_is_norm_of(evidence, name) for name in (*extra, *missing)):
        return f"a norm is at another place (before or after the sum): {both}"
    return f"another path: {both}"


def offset(evidence: Evidence) -> str | None:
    """Return a diagnosis if the two differ by one vector everywhere: a bias."""
    theirs, ours = evidence.rows(evidence.theirs), evidence.rows(evidence.ours)
    if len(theirs) < 3 or theirs.shape != ours.shape:
        return None
    # Rows of several tokens at once, such as classes.
    found = evidence.constant(theirs - ours, theirs)
    if found is None or not np.any(found):
        return None
    name = evidence.name_of(found)
    if name:
        return f"a bias is missing: adding {name} restores the reference's values"
    return "the two differ by one vector everywhere: a bias is missing or another one is added"


def scale(evidence: Evidence) -> str | None:
    """Return a diagnosis if the two differ by a factor."""
    theirs, ours = evidence.rows(evidence.theirs), evidence.rows(evidence.ours)
    if theirs.shape != ours.shape:
        return None
    factor = float(np.sum(theirs * ours) / max(float(np.sum(ours * ours)), 1e-30))
    if abs(factor - 1) > 1e-6 and evidence.close(factor * ours - theirs, theirs):
        return f"another scale: {factor:.6g} times ours restores the reference's values"
    return None


def output_kernel(evidence: Evidence) -> str | None:
    """Return a projection by another of the reference's matrices, such as an untied head."""
    if variable(evidence.layer, "kernel") is not None:
        return None
    theirs, ours = evidence.rows(evidence.theirs), evidence.rows(evidence.ours)
    for term in _all_terms(evidence):
        x = evidence.rows(term.value)
        if len(x) != len(theirs):
            continue
        for name, stored in evidence.weights(2, x.shape[1], theirs.shape[1]):
            right = stored if stored.shape == (x.shape[1], theirs.shape[1]) else stored.T
            if evidence.constant(theirs - x @ right, theirs) is None:
                continue
            if ours.shape == theirs.shape and evidence.constant(ours - x @ right, ours) is not None:
                return None  # a bias, then
            return (
                f"the reference projects the {term.name} by {name} (tied, if that is a table of "
                "embeddings); ours by something else"
            )
    return None


# --- known tensors -----------------------------------------------------------------------------


def _all_terms(evidence: Evidence, ours: bool = False) -> Iterator[Term]:
    """Yield known tensors from before the place and near it: the same layer's, the model's own, and
    the last few of others."""
    block = (evidence.finding.layer or evidence.tap[0]).split("/")[0]
    seen = {id(evidence.theirs)}
    for distance, tensor in enumerate(evidence.before(ours)):
        layer, _, name = tensor.tap
        near = distance < 8 or layer.split("/")[0] == block or "/" not in layer
        if layer and name != "attention" and near and id(tensor.value) not in seen:
            seen.add(id(tensor.value))
            yield Term(evidence.tensor_names[id(tensor.value)], tensor.value)


def _alias(evidence: Evidence) -> str | None:
    """Return the layer whose output the reference takes here as it is."""
    for tensor in evidence.before(ours=False):
        if tensor.value is evidence.theirs and tensor.tap[2] == "output":
            return evidence.tensor_names[id(tensor.value)]
    return None


def _sources(evidence: Evidence) -> Iterator[Term]:
    """Yield known tensors that an activation may come after, the likeliest first."""
    linear = evidence.known("linear")
    if evidence.tap[2] == "output" and linear is not None:
        yield Term("kernel", linear)
    for term in _terms(evidence):
        if evidence.rows(term.value).shape == evidence.rows(evidence.theirs).shape:
            yield term


def _terms(evidence: Evidence, ours: bool = False) -> Iterator[Term]:
    """Yield known tensors of the shape sought; of sequences, single tokens and means."""
    shape = evidence.theirs.shape
    for term in _all_terms(evidence, ours):
        value = term.value
        if value.shape == shape or (value.shape[0] == 1 and value.shape[1:] == shape[1:]):
            yield term
        elif value.ndim == 3 and (value.shape[0], value.shape[2]) == shape:
            yield from _pooled(evidence, term)


def _pooled(evidence: Evidence, term: Term) -> Iterator[Term]:
    mask = mask_of_tokens(term.value.shape[:2], evidence.reference.inputs)
    if mask is None:
        return
    real = mask != 0
    last = real.shape[1] - 1 - np.argmax(real[:, ::-1], axis=1)
    rows = np.arange(len(mask))
    value = term.value
    yield Term(f"first token of the {term.name}", value[:, 0])
    yield Term(f"last token of the {term.name}", value[rows, last])
    yield Term(f"last position of the {term.name}", value[:, -1])
    yield Term(f"second token of the {term.name}", value[:, min(1, value.shape[1] - 1)])
    yield Term(f"mean over the tokens of the {term.name}", _mean(value, real))
    yield Term(f"mean over all positions of the {term.name}", value.mean(axis=1))


def _mean(value: np.ndarray, real: np.ndarray) -> np.ndarray:
    weights = real[..., None].astype("float64")
    return (value * weights).sum(axis=1) / weights.sum(axis=1)


def _as_sum(evidence: Evidence, values: np.ndarray, terms: list[Term]) -> Sum | None:
    """Return the shortest sum of known tensors equal to `values`, or None."""
    target = evidence.rows(values).ravel()
    columns = [np.broadcast_to(t.value, evidence.theirs.shape) for t in terms]
    flat = [evidence.rows(column).ravel() for column in columns]
    for count in (1, 2, 3):
        fits = []
        for chosen in combinations(range(len(terms)), count):
            matrix = np.stack([flat[i] for i in chosen], axis=1)
            factors, *_ = np.linalg.lstsq(matrix, target, rcond=None)
            if evidence.close(matrix @ factors - target, target) and np.abs(factors).min() > 1e-3:
                names = tuple(terms[i].name for i in chosen)
                fits.append(Sum(names, tuple(float(f) for f in factors)))
        if fits:
            return min(fits, key=lambda s: sum(abs(f - 1) for f in s.factors))
    return None


def _is_early_norm(evidence: Evidence, missing: list[str], held: tuple[str, ...]) -> bool:
    """Return whether a norm takes the residual of a sublayer before the sublayer has run.

    Where it has run, what it gives was there to be added and is only left out.
    """
    there = {term.name for term in _all_terms(evidence, ours=True)}
    norm = evidence.tap[0].endswith("norm")
    return norm and not there.issuperset(missing) and _is_residual(evidence, held)


def _is_residual(evidence: Evidence, names: tuple[str, ...]) -> bool:
    """Return whether the terms are the residual alone, without the sublayer's own output."""
    block = evidence.finding.layer
    passing = {
        id(p.value)
        for p in evidence.reference.tensors
        if p.tap == (block, evidence.tap[1], "input")
    }
    passing |= {id(p.value) for p in evidence.before(ours=False) if "norm" in p.tap[0]}
    found = [t for t in _all_terms(evidence, ours=True) if t.name in names]
    return bool(block) and all(id(t.value) in passing for t in found)


def _is_norm_of(evidence: Evidence, name: str) -> bool:
    """Return whether a term is what a norm of the block at hand gives."""
    block = evidence.finding.layer
    path = name.removeprefix("output of ")
    return bool(block) and path.startswith(f"{block}/") and path.endswith("norm")


def _residual(evidence: Evidence, name: str) -> str:
    return f"residual ({name})" if evidence.finding.layer else name


def _tensor(value: np.ndarray) -> Any:
    return ops.convert_to_tensor(value.astype("float32"))
