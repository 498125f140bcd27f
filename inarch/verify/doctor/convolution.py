"""A convolution over time that gives something else: its kernel, its windows, its bias."""

from __future__ import annotations

import numpy as np

from inarch.verify.doctor.evidence import Evidence, equal, variable


def diagnose(evidence: Evidence) -> str | None:
    """Return what is wrong with a convolution, by the windows that each side reads."""
    kernel, x = variable(evidence.layer, "kernel"), evidence.known("input")
    if kernel is None or kernel.ndim != 3 or x is None or evidence.tap[2] != "output":
        return None
    ours = _windows(evidence, x, kernel, evidence.ours)
    for name, stored in evidence.weights(3, *kernel.shape):
        right = stored.transpose(2, 1, 0)
        theirs = (
            _windows(evidence, x, right, evidence.theirs) if right.shape == kernel.shape else None
        )
        if theirs is None:
            continue
        if equal(kernel, right[::-1]) and not equal(kernel, right):
            return (
                f"the kernel is reversed in time: {name} as it is restores the reference's values"
            )
        if not equal(kernel, right):
            return f"it holds other values than {name}, which restores the reference's values"
        if ours is None:
            return None
        if ours[0] != theirs[0]:
            return (
                f"its windows are off: ours has {ours[0]} zeros before the first frame, the "
                f"reference {theirs[0]}"
            )
        bias = evidence.name_of(theirs[1])
        return f"the kernel is right and the bias is not: the reference adds {bias or 'another'}"
    return None


def _windows(
    evidence: Evidence, x: np.ndarray, kernel: np.ndarray, given: np.ndarray
) -> tuple[int, np.ndarray] | None:
    """Return the zeros before the first frame and the bias, if `given` is of this kernel."""
    strides = getattr(evidence.layer, "strides", (1,))
    width, rows = len(kernel), evidence.rows(given)
    for before in range(width):
        padded = np.pad(x, ((0, 0), (before, width), (0, 0)))
        starts = np.arange(given.shape[1]) * strides[0]
        if starts[-1] + width > padded.shape[1]:
            continue
        made = sum(padded[:, starts + i] @ kernel[i] for i in range(width))
        bias = evidence.constant(rows - evidence.rows(np.asarray(made)), rows)
        if bias is not None:
            return before, bias
    return None
