"""A dense layer that gives something else: its kernel, its bias, its activation."""

from __future__ import annotations

import numpy as np

from inarch.verify.doctor.case import Case, equal, variable


def diagnose(case: Case) -> str | None:
    """What is wrong with a dense layer's linear part."""
    kernel, x = variable(case.layer, "kernel"), case.known("input")
    if kernel is None or kernel.ndim != 2 or x is None or x.shape[-1] != kernel.shape[0]:
        return None
    tokens, theirs = case.rows(x), case.rows(case.theirs)
    if theirs.shape != (len(tokens), kernel.shape[1]):
        return None
    bias = variable(case.layer, "bias")
    offset = case.constant(theirs - tokens @ kernel, theirs)
    if offset is not None:
        added = np.zeros(len(offset)) if bias is None else bias
        if not case.close(theirs * 0 + added - offset, theirs):
            return _bias(case, bias, offset)
        # With the right bias too, it is what comes after them that is wrong.
        return "it gives what it is given: kernel and bias are left out" if _idle(case, x) else None
    for name, stored in case.weights(2, *kernel.shape):
        for right in (stored.T, stored):
            if right.shape != kernel.shape:
                continue
            if case.constant(theirs - tokens @ right, theirs) is not None:
                return _kernel(case, name, kernel, right)
    return None


def _idle(case: Case, x: np.ndarray) -> bool:
    """Whether ours hands on its input as it is."""
    return x.shape == case.ours.shape and case.same(x, case.ours)


def _bias(case: Case, bias: np.ndarray | None, offset: np.ndarray) -> str:
    name = case.name_of(offset)
    named = f"the original adds {name}" if name else "the original adds another one"
    if bias is None or not np.any(bias):
        return f"the bias is missing: {named}; adding it restores the original's values"
    return f"the kernel is right and the bias is not: {named}"


def _kernel(case: Case, name: str, kernel: np.ndarray, right: np.ndarray) -> str:
    """How our kernel came from the right one."""
    if equal(kernel, right.T):
        return f"the kernel is transposed: transposing {name} restores the original's values"
    size = right.shape
    for heads in (n for n in range(2, max(size)) if max(size) % n == 0):
        for axis, what in ((1, "columns"), (0, "rows")):
            if size[axis] % heads == 0 and any(
                equal(kernel, np.take(right, order, axis)) for order in _orders(size[axis], heads)
            ):
                return (
                    f"the heads' {what} are in the wrong order, (d h) in place of (h d) with "
                    f"{heads} heads; in the order of {name} the original's values are restored"
                )
    for other, stored in case.weights(2, *kernel.shape):
        if any(equal(kernel, turned) for turned in (stored.T, stored)):
            return f"it holds {other} where the original has {name}{case.holder(name)}"
    return f"it holds other values than {name}, which restores the original's values"


def _orders(size: int, heads: int) -> tuple[np.ndarray, np.ndarray]:
    there = np.arange(size).reshape(heads, -1).T.ravel()
    return there, np.argsort(there)
