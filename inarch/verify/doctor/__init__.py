"""The doctor: the cause of a finding, in one line that a contributor can act on.

It works out what each side computes, in terms of the reference's weights and of tensors known to
be right, and states how the two differ. So a diagnosis is never a guess: the change that it names
has been computed, and gives the reference's values but for rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import keras
import numpy as np

from inarch.verify import trace
from inarch.verify.compare import Calls, teacher_values
from inarch.verify.doctor import (
    attention,
    bricks,
    convolution,
    linear,
    norm,
    precision,
    table,
    wiring,
)
from inarch.verify.doctor.evidence import Evidence
from inarch.verify.reference import Reference
from inarch.verify.report import THRESHOLD, Finding
from inarch.verify.trace import Tap

# In this order; the first that explains both sides is returned.
DIAGNOSES = (
    bricks.diagnose,
    attention.diagnose,
    table.diagnose,
    norm.diagnose,
    linear.diagnose,
    convolution.diagnose,
    bricks.diagnose_dense,
    precision.diagnose,
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
        self._memory: list[str] = []

    def __call__(
        self, finding: Finding, teacher_forced: Mapping[Tap, np.ndarray], calls: Calls
    ) -> str | None:
        """Return why the finding is there, in one line; None where nothing explains it."""
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
        again = self._again(finding.layer, key, calls)
        if again is not None and not np.array_equal(again, teacher_forced[key]):
            if not np.array_equal(self._in_model(key), teacher_forced[key]):
                return (
                    "it gives other values each time it runs: dropout, or another noise, is left on"
                )
            # The layer around it calls it otherwise than it is by itself.
            finding = replace(finding, layer=finding.layer.rpartition("/")[0])
        if more := self._called_more(finding.layer, teacher_forced):
            return more
        evidence = Evidence(
            finding, self.reference, teacher_forced, self.layers, calls, self._memory
        )
        return next((cause for diagnose in DIAGNOSES if (cause := diagnose(evidence))), None)

    def _called_more(self, path: str, teacher_forced: Mapping[Tap, np.ndarray]) -> str | None:
        """Return the diagnosis of a layer whose sublayers ours calls more often."""
        theirs = Counter(p.tap[0] for p in self.reference.tensors if p.tap[2] == "output")
        ours = Counter(layer for layer, _, tensor in teacher_forced if tensor == "output")
        inner = [layer for layer in theirs if path and layer.startswith(f"{path}/")]
        if inner and all(ours[layer] > theirs[layer] for layer in inner):
            once = min(inner, key=lambda layer: theirs[layer])
            return f"it runs {ours[once]} times and the reference {theirs[once]}"
        return None

    def _again(self, path: str, tap: Tap, calls: Calls) -> np.ndarray | None:
        """Return what ours gives at a tap when it runs once more: the layer alone, if one does."""
        call = calls.get((path, tap[1])) or calls.get((path, 0))
        if call is None:
            return self._in_model(tap)
        values, is_attention = teacher_values(self.reference), tap[2] == "attention"
        return trace.replay(self.layers[path], path, call, values, is_attention).get(tap)

    def _in_model(self, tap: Tap) -> np.ndarray:
        """Return what ours gives at a tap when the whole model runs once more."""
        return trace.run(self.model, self.reference.inputs, teacher_values(self.reference))[tap]
