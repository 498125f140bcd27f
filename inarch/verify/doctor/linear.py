"""A dense layer that gives something else: its kernel, its bias, its activation."""

from __future__ import annotations

import numpy as np

from inarch.verify.doctor.evidence import Evidence, equal, variable


def diagnose(evidence: Evidence) -> str | None:
    """Return what is wrong with a dense layer's linear part."""
    kernel, x = variable(evidence.layer, "kernel"), evidence.known("input")
    if kernel is None or kernel.ndim != 2 or x is None or x.shape[-1] != kernel.shape[0]:
        return None
    tokens, theirs = evidence.rows(x), evidence.rows(evidence.theirs)
    if theirs.shape != (len(tokens), kernel.shape[1]):
        return None
    bias = variable(evidence.layer, "bias")
    offset = evidence.constant(theirs - tokens @ kernel, theirs)
    if offset is not None:
        added = np.zeros(len(offset)) if bias is None else bias
        if not evidence.close(theirs * 0 + added - offset, theirs):
            return _bias(evidence, bias, offset)
        # With the right bias too, it is what comes after them that is wrong.
        return (
            "it gives what it is given: kernel and bias are left out"
            if _idle(evidence, x)
            else None
        )
    for name, stored in evidence.weights(2, *kernel.shape):
        for right in (stored.T, stored):
            if right.shape != kernel.shape:
                continue
            if evidence.constant(theirs - tokens @ right, theirs) is not None:
                return _kernel(evidence, name, kernel, right)
    return None


def _idle(evidence: Evidence, x: np.ndarray) -> bool:
    """Return whether ours hands on its input as it is."""
    return x.shape == evidence.ours.shape and evidence.same(x, evidence.ours)


def _bias(evidence: Evidence, bias: np.ndarray | None, offset: np.ndarray) -> str:
    name = evidence.name_of(offset)
    named = f"the reference adds {name}" if name else "the reference adds another one"
    if bias is None or not np.any(bias):
        return f"the bias is missing: {named}; adding it restores the reference's values"
    return f"the kernel is right and the bias is not: {named}"


def _kernel(evidence: Evidence, name: str, kernel: np.ndarray, right: np.ndarray) -> str:
    """Return how our kernel differs from the right one."""
    if equal(kernel, right.T):
        return f"the kernel is transposed: transposing {name} restores the reference's values"
    size = right.shape
    for heads in (n for n in range(2, max(size)) if max(size) % n == 0):
        for axis, what in ((1, "columns"), (0, "rows")):
            if size[axis] % heads == 0 and any(
                equal(kernel, np.take(right, order, axis)) for order in _orders(size[axis], heads)
            ):
                return (
                    f"the heads' {what} are in the wrong order, (d h) in place of (h d) with "
                    f"{heads} heads; in the order of {name} the reference's values are restored"
                )
    for other, stored in evidence.weights(2, *kernel.shape):
        if any(equal(kernel, turned) for turned in (stored.T, stored)):
            return f"it holds {other} where the reference has {name}{evidence.holder(name)}"
    return f"it holds other values than {name}, which restores the reference's values"


def _orders(size: int, heads: int) -> tuple[np.ndarray, np.ndarray]:
    there = np.arange(size).reshape(heads, -1).T.ravel()
    return there, np.argsort(there)
