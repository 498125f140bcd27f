"""Plain attention in NumPy, of which no layer of ours is a part: an independent oracle."""

from __future__ import annotations

from math import sqrt

import numpy as np

from inarch.verify.doctor.evidence import Evidence
from inarch.verify.reference import mask_of_tokens

# By what they hide, from bool `[batch, keys]` of what is no padding, and indices.
MASKS = {
    "nothing hidden": lambda real, i, j: np.ones_like(real[:, None, :]),
    "padding hidden": lambda real, i, j: real[:, None, :],
    "later tokens and padding hidden": lambda real, i, j: real[:, None, :] & (j <= i),
}


def diagnose(evidence: Evidence) -> str | None:
    """Say that the reference attends plainly, where ours does neither that nor an alternative."""
    path = evidence.finding.layer
    heads = getattr(evidence.layers.get(path), "num_heads", None)
    parts = [evidence.known("output", f"{path}/{name}") for name in ("query", "key", "value")]
    query, key, value = parts
    if heads is None or query is None or key is None or value is None:
        return None
    mask = mask_of_tokens(key.shape[:2], evidence.reference.inputs)
    real = np.ones(key.shape[:2], bool) if mask is None else mask != 0
    i, j = np.arange(query.shape[1])[:, None], np.arange(key.shape[1])
    for name, seen in MASKS.items():
        if evidence.same(attend(query, key, value, seen(real, i, j), heads), evidence.theirs):
            return (
                f"the reference attends as Vaswani et al. (2017) do, in {heads} heads and with "
                f"{name}; ours does something else"
            )
    return None


def attend(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray, heads: int
) -> np.ndarray:
    """Return dot-product attention in heads, float64 `[batch, T, width]`.

    Args:
        query: float64 `[batch, T, width]`; `key` and `value` `[batch, S, width]`, narrower where
            several heads share theirs.
        mask: bool, broadcast to `[batch, T, S]`, true where a query attends to a key.
    """
    shared = query.shape[-1] // key.shape[-1]
    q = query.reshape(*query.shape[:2], heads, -1)
    k, v = (
        np.repeat(x.reshape(*x.shape[:2], heads // shared, -1), shared, axis=2)
        for x in (key, value)
    )
    scores = np.einsum("bthd,bshd->bhts", q, k) / sqrt(q.shape[-1])
    scores = np.where(mask[:, None], scores, -1e30)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhts,bshd->bthd", weights, v).reshape((*query.shape[:2], -1))
