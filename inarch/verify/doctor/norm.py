"""A normalization whose gamma or beta is wrong."""

from __future__ import annotations

import numpy as np

from inarch.verify.doctor.evidence import Evidence, equal, variable


def diagnose(evidence: Evidence) -> str | None:
    """Say which of gamma and beta is wrong, by those that fit what the reference gives."""
    gamma, x = variable(evidence.layer, "gamma"), evidence.known("input")
    if gamma is None or x is None or gamma.shape != x.shape[-1:] or evidence.tap[2] != "output":
        return None
    tokens, theirs = evidence.rows(x), evidence.rows(evidence.theirs)
    epsilon = float(getattr(evidence.layer, "epsilon", 0.0))
    for values in (tokens - tokens.mean(axis=-1, keepdims=True), tokens):
        normal = values / np.sqrt(np.mean(np.square(values), axis=-1, keepdims=True) + epsilon)
        spread, centred = normal - normal.mean(axis=0), theirs - theirs.mean(axis=0)
        scale = (spread * centred).sum(axis=0) / np.maximum((spread**2).sum(axis=0), 1e-30)
        shift = theirs.mean(axis=0) - scale * normal.mean(axis=0)
        if len(tokens) > 2 and evidence.close(normal * scale + shift - theirs, theirs):
            return _weights(evidence, {"gamma": scale, "beta": shift})
    return None


def _weights(evidence: Evidence, right: dict[str, np.ndarray]) -> str | None:
    idle = {"gamma": np.ones_like(right["gamma"]), "beta": np.zeros_like(right["beta"])}
    held = {name: variable(evidence.layer, name) for name in right}
    ours = {name: idle[name] if value is None else value for name, value in held.items()}
    if _near(ours["gamma"], right["beta"]) and _near(ours["beta"], right["gamma"]):
        return "gamma and beta are swapped; exchanging them restores the reference's values"
    wrong = [name for name in right if not _near(ours[name], right[name])]
    if not wrong:
        return None
    name = wrong[0]
    named, other = evidence.name_of(right[name]), evidence.name_of(ours[name])
    if equal(ours[name], idle[name]):
        return (
            f"{' and '.join(wrong)} was never loaded (it is {idle[name][0]:g} everywhere): "
            f"{named or 'the value'} restores the reference's values"
        )
    if other:
        return f"it holds {other} where the reference has {named}{evidence.holder(named)}"
    return f"{' and '.join(wrong)} has other values than the reference's {named}"


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two vectors are equal but for the error of a fit."""
    return bool(np.abs(one - other).max() <= 1e-3 * max(float(np.abs(other).max()), 1e-30))
