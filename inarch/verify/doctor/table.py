"""An embedding that gives other rows, or rows of another table."""

from __future__ import annotations

import numpy as np

from inarch.verify.doctor.evidence import Evidence


def diagnose(evidence: Evidence) -> str | None:
    """Return what is wrong with a lookup, by the rows that each side returns."""
    if evidence.tap[2] != "output" or evidence.known("input") is not None:
        return None
    theirs, ours = evidence.rows(evidence.theirs), evidence.rows(evidence.ours)
    if theirs.shape != ours.shape:
        return None
    right = _find_table_rows(evidence, theirs)
    if right is None:
        return None
    name, wanted = right
    if not np.any(ours):
        return f"it gives zeros: {name} is never looked up"
    found = _find_table_rows(evidence, ours)
    if found is None:
        return f"it holds other values than {name}, which restores the reference's values"
    held, given = found
    if held != name:
        return f"it looks up {held} where the reference looks up {name}"
    if len(set(given)) == 1 and len(set(wanted)) > 1:
        return f"it always gives row {given[0]} of {name}: the ids don't reach it"
    size = len(evidence.reference.weights[name])
    shift = set((given - wanted) % size)
    if len(shift) == 1:
        by = (shift.pop() + size // 2) % size - size // 2
        return (
            f"its rows are {by:+d} off: where the reference gives row i of {name}, ours gives row "
            f"i{by:+d}"
        )
    at = int(np.argmax(given != wanted))
    return f"ours gives row {given[at]} of {name} where the reference gives row {wanted[at]}"


def _find_table_rows(evidence: Evidence, rows: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Return the tensor of the reference that all `rows` are rows of, and which ones."""
    wanted = [row.tobytes() for row in rows.astype("float32")]
    scale = float(getattr(evidence.layer, "scale", 1.0))
    for name, table in evidence.reference.weights.items():
        if table.ndim == 2 and table.shape[1] == rows.shape[1]:
            # Scaled in float64, as the reference's values are, and in float32, as ours.
            wide, narrow = table * scale, table.astype("float32") * np.float32(scale)
            scaled = (wide.astype("float32"), narrow)
            at = {row.tobytes(): i for each in scaled for i, row in enumerate(each)}
            if all(row in at for row in wanted):
                return name, np.array([at[row] for row in wanted])
    return None
