"""A normalization that gives something else: its kind, its epsilon, its gamma and beta."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from inarch.verify.doctor.evidence import Evidence, equal, variable

EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
KINDS = {
    "layer normalization": lambda x: (x - _mean(x), np.var(x, axis=-1, keepdims=True)),
    "normalization by the root mean square": lambda x: (x, _mean(x * x)),
    "centering without scaling": lambda x: (x - _mean(x), np.ones_like(x[..., :1])),
    "no normalization": lambda x: (x, np.ones_like(x[..., :1])),
}


@dataclass(frozen=True)
class Norm:
    """One normalization, found by fitting: `kind(x, epsilon) * gamma + beta`."""

    kind: str
    epsilon: float
    gamma: np.ndarray
    beta: np.ndarray


def diagnose(evidence: Evidence) -> str | None:
    """What is wrong with a normalization, by what each side turns out to compute."""
    gamma, x = variable(evidence.layer, "gamma"), evidence.known("input")
    if gamma is None or x is None or gamma.shape != x.shape[-1:] or evidence.tap[2] != "output":
        return None
    declared = float(getattr(evidence.layer, "epsilon", 0.0))
    tokens = evidence.rows(x)
    theirs = _fit(evidence, tokens, evidence.rows(evidence.theirs), declared)
    ours = _fit(evidence, tokens, evidence.rows(evidence.ours), declared)
    if theirs is None or ours is None:
        return None
    if theirs.kind != ours.kind:
        return f"ours is {ours.kind}, the reference's {theirs.kind}, which restores its values"
    if theirs.epsilon != ours.epsilon:
        return (
            f"the epsilon is {ours.epsilon:g}; with {theirs.epsilon:g} the reference's values are "
            "restored"
        )
    width = x.shape[-1]
    if _near(ours.gamma, theirs.gamma * sqrt((width - 1) / width)):
        return "ours divides by the unbiased variance (n - 1), the reference by the plain one (n)"
    return _weights(evidence, theirs)


def _weights(evidence: Evidence, theirs: Norm) -> str | None:
    beta, gamma = variable(evidence.layer, "beta"), variable(evidence.layer, "gamma")
    if gamma is None:
        return None
    right = {"gamma": evidence.name_of(theirs.gamma), "beta": evidence.name_of(theirs.beta)}
    held = {"gamma": gamma, "beta": np.zeros_like(gamma) if beta is None else beta}
    if _near(held["gamma"], theirs.beta) and _near(held["beta"], theirs.gamma):
        return "gamma and beta are swapped; exchanging them restores the reference's values"
    wrong = [n for n in held if not _near(held[n], getattr(theirs, n))]
    if not wrong:
        return None
    name = wrong[0]
    idle = np.ones_like(gamma) if name == "gamma" else np.zeros_like(gamma)
    if equal(held[name], idle):
        return (
            f"{' and '.join(wrong)} was never loaded (it is {idle[0]:g} everywhere): "
            f"{right[name] or 'the value'} restores the reference's values"
        )
    other = evidence.name_of(held[name])
    if other:
        return (
            f"it holds {other} where the reference has {right[name]}{evidence.holder(right[name])}"
        )
    return f"{' and '.join(wrong)} has other values than the reference's {right[name]}"


def _fit(evidence: Evidence, x: np.ndarray, y: np.ndarray, declared: float) -> Norm | None:
    """The normalization that takes the rows `x` to `y`."""
    if len(x) < 3:
        return None
    for kind, parts in KINDS.items():
        values, variance = parts(x)
        fits: list[tuple[float, Norm]] = []
        for epsilon in (declared, *EPSILONS):
            n = values / np.sqrt(variance + epsilon)
            centre = n.mean(axis=0)
            spread = ((n - centre) ** 2).mean(axis=0)
            gamma = ((n - centre) * (y - y.mean(axis=0))).mean(axis=0) / np.maximum(spread, 1e-30)
            beta = y.mean(axis=0) - gamma * centre
            error = n * gamma + beta - y
            if evidence.close(error, y):
                fits.append((float(np.square(error).sum()), Norm(kind, epsilon, gamma, beta)))
        if fits:
            best, norm = min(fits, key=lambda fit: fit[0])
            # Several small ones may fit as well; then the layer's own is meant.
            return fits[0][1] if fits[0][0] <= 2 * best else norm
    return None


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for the error of a fit."""
    return bool(np.abs(one - other).max() <= 1e-3 * max(float(np.abs(other).max()), 1e-30))


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=-1, keepdims=True)
