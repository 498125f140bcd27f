"""Values or weights of lower precision than the reference's."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from inarch.verify.doctor.evidence import Evidence, variable

# In this order, since most of what bfloat16 holds float16 holds too.
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype("float16")}


def diagnose(evidence: Evidence) -> str | None:
    """Return values, or weights, that 16 bits can hold exactly."""
    error = evidence.rows(evidence.theirs) - evidence.rows(evidence.ours)
    if (
        not evidence.close(error * 2e-3, evidence.rows(evidence.theirs))
        and np.abs(error).max() > 0.1
    ):
        return None
    for name in DTYPES:
        dtype = DTYPES[name]
        path = evidence.finding.layer
        scores = evidence.teacher_forced.get((path, evidence.tap[1], "attention"))
        if scores is not None and _held(scores.astype("float64"), dtype):
            return f"the softmax was computed in {name}: in float32 its values are restored"
        if _held(evidence.ours, dtype):
            return f"it was computed in {name}: in float32 the reference's values are restored"
        kernel = variable(evidence.layer, "kernel")
        if kernel is not None and _held(kernel, dtype):
            return f"its weights were rounded to {name}"
    return None


def _held(values: np.ndarray, dtype: np.dtype) -> bool:
    return bool(np.any(values)) and np.array_equal(values.astype(dtype).astype("float64"), values)
