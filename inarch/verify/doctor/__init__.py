"""The doctor: why a place is wrong, in one line that a contributor can act on.

He finds out what each side computes, in terms of the reference's weights and of tensors known to
be right, and says how the two differ. So a diagnosis is never a guess: the change that it names
has been computed, and gives the reference's values but for rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import keras
import numpy as np

from inarch.verify import trace
from inarch.verify.compare import teacher_values
from inarch.verify.doctor import (
    attention,
    convolution,
    disentangled,
    fourier,
    linear,
    norm,
    table,
    wiring,
)
from inarch.verify.doctor.evidence import Evidence
from inarch.verify.reference import Reference
from inarch.verify.report import THRESHOLD, Finding
from inarch.verify.trace import Tap

# The usual suspects; the first that explains both sides has it.
DIAGNOSES = (
    table.diagnose,
    norm.diagnose,
    linear.diagnose,
    convolution.diagnose,
    disentangled.diagnose,
    attention.diagnose,
    fourier.diagnose,
    wiring.precision,
    wiring.activation,
    wiring.offset,
    wiring.scale,
    wiring.output_kernel,
    wiring.sums,
)


class Doctor:
    """Diagnoses the findings of one verification.

    Args:
        model: ours.
        reference: what it was verified against.
    """

    def __init__(self, model: keras.Model, reference: Reference):
        self.model = model
        self.reference = reference
        self.layers = trace.layers_of(model)
        self.shapes = {tensor.tap: tensor.value.shape for tensor in reference.tensors}
        self._again: Mapping[Tap, np.ndarray] | None = None

    def __call__(self, finding: Finding, teacher_forced: Mapping[Tap, np.ndarray]) -> str | None:
        """Why the finding is there, in one line; None where no suspect explains it."""
        measure = finding.measure
        key = (measure.layer, measure.call, measure.role)
        if key not in teacher_forced:
            return (
                f"{finding.layer} never runs {measure.layer}, the reference's {measure.module}: "
                "it is skipped, or returns too early"
            )
        if measure.local_ratio is not None and measure.local_ratio <= THRESHOLD:
            return None  # it is right by itself; there is nothing here to explain
        shape, wanted = teacher_forced[key].shape, self.shapes[key]
        if shape != wanted and wanted != (1, *shape[1:]):
            return f"it has the shape {shape}, the reference's has {wanted}"
        if not np.isfinite(teacher_forced[key]).all():
            return "it gives values that aren't numbers where the reference gives numbers"
        if not np.array_equal(self._second(key), teacher_forced[key]):
            return "it gives other values each time it runs: dropout, or another noise, is left on"
        if more := self._called_more(finding.layer, teacher_forced):
            return more
        evidence = Evidence(finding, self.reference, teacher_forced, self.layers)
        return next((said for suspect in DIAGNOSES if (said := suspect(evidence))), None)

    def _called_more(self, path: str, teacher_forced: Mapping[Tap, np.ndarray]) -> str | None:
        """What to say of a layer whose parts ours calls more often than the reference."""
        theirs = Counter(p.tap[0] for p in self.reference.tensors if p.tap[2] == "output")
        ours = Counter(layer for layer, _, tensor in teacher_forced if tensor == "output")
        inner = [layer for layer in theirs if path and layer.startswith(f"{path}/")]
        if inner and all(ours[layer] > theirs[layer] for layer in inner):
            once = min(inner, key=lambda layer: theirs[layer])
            return f"it runs {ours[once]} times and the reference {theirs[once]}"
        return None

    def _second(self, key: Tap) -> np.ndarray:
        if self._again is None:
            values = teacher_values(self.reference)
            self._again = trace.run(self.model, self.reference.inputs, values)
        return self._again[key]
