"""Evidence at one wrong place, and comparisons with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np

from inarch.models.variables import to_numpy
from inarch.verify.compare import FLOOR, noise_ratio, teacher_values
from inarch.verify.reference import Reference, TappedTensor, real_tokens
from inarch.verify.report import THRESHOLD, Finding
from inarch.verify.trace import Call, Tap


class Evidence:
    """One finding, with what both sides had there and everything they had it from.

    Attributes:
        tap: tap of the finding.
        layer: our layer there, or None for the model itself.
        theirs: what the reference computes there, in float64.
        ours: what ours computes from the reference's values.
        calls: every call of a layer of ours on the reference's values.
        memory: the alternatives that explained the last finding.
    """

    def __init__(
        self,
        finding: Finding,
        reference: Reference,
        teacher_forced: Mapping[Tap, np.ndarray],
        layers: Mapping[str, keras.layers.Layer],
        calls: Mapping[tuple[str, int], Call],
        memory: list[str],
    ):
        measure = finding.measure
        self.tap: Tap = (measure.layer, measure.call, measure.role)
        self.finding = finding
        self.reference = reference
        self.teacher_forced = teacher_forced
        self.layers = layers
        self.calls = calls
        self.memory = memory
        self.layer = layers.get(measure.layer)
        self.tensors: dict[Tap, TappedTensor] = {tensor.tap: tensor for tensor in reference.tensors}
        self.teacher_values = teacher_values(reference)
        self.tensor = self.tensors[self.tap]
        self.theirs = self.tensor.value
        self.ours = teacher_forced[self.tap].astype("float64")

    def known(self, role: str, layer: str | None = None) -> np.ndarray | None:
        """Return the reference's tensor of a role of the layer, or of another one."""
        found = self.tensors.get((self.tap[0] if layer is None else layer, self.tap[1], role))
        return found.value if found else None

    def rows(self, array: np.ndarray, of: slice = slice(None)) -> np.ndarray:
        """Real tokens (or sequences) by features, where `array` is of these sequences."""
        inputs = {name: value[of] for name, value in self.reference.inputs.items()}
        rows = real_tokens(array, inputs).astype("float64")
        # What is no text, such as frames of sound, has no padding, and a row for each place.
        return rows.reshape(-1, array.shape[-1]) if array.ndim == 3 else rows

    # --- comparing -----------------------------------------------------------------------------

    @cached_property
    def _tolerance(self) -> float:
        """Largest relative error of what is the same but for rounding."""
        return THRESHOLD * max(self.tensor.local_noise / (_rms(self.rows(self.theirs)) or 1), FLOOR)

    def ratio(self, candidate: np.ndarray) -> float:
        """Return the noise ratio if ours gave `candidate` instead."""
        return noise_ratio(candidate, self.tensor, self.tensor.local_noise, self.reference.inputs)

    def same(self, candidate: np.ndarray, values: np.ndarray, of: slice = slice(None)) -> bool:
        """Return whether two tensors, of these sequences, are the same but for rounding."""
        if candidate.size != values.size and candidate.shape[1:] != values.shape[1:]:
            return False
        right = self.rows(values, of)
        return self.close(self.rows(candidate, of) - right, right)

    def close(self, error: np.ndarray, values: np.ndarray) -> bool:
        """Return whether an error is rounding, next to `values`."""
        return _rms(error) <= self._tolerance * max(_rms(values), 1e-30)

    def constant(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray | None:
        """Return the row that all rows are, but for rounding of `values`; None if they differ."""
        mean = rows.mean(axis=0)
        return mean if self.close(rows - mean, values) else None

    # --- naming --------------------------------------------------------------------------------

    def weights(self, ndim: int, *sizes: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the reference's tensors, and parts of them, of these axis sizes in any order."""
        for name, array in self.reference.weights.items():
            if array.ndim == ndim and sorted(array.shape) == sorted(sizes):
                yield name, array
            elif array.ndim == ndim:
                yield from _parts(name, array, sizes)

    def holder(self, name: str | None) -> str:
        """Return the layer of ours that holds the reference's tensor instead, to end a sentence."""
        wanted = self.reference.weights.get(name or "")
        if wanted is None:
            return ""
        inner_first = sorted(self.layers.items(), key=lambda item: -item[0].count("/"))
        for path, layer in inner_first:
            for held in layer.weights if path != self.tap[0] else ():
                value = to_numpy(held).astype("float64")
                if any(equal(value, turned) for turned in (wanted, wanted.T)):
                    return f", which is in {path}: the two are swapped in the map"
        return ", which is nowhere: one tensor is mapped twice"

    def before(self, ours: bool) -> list[TappedTensor]:
        """Return the tensors before the tap, in our order or the reference's; last first."""
        if not ours:
            tensors = list(self.reference.tensors)
            return tensors[: tensors.index(self.tensor)][::-1]
        keys = list(self.teacher_forced)
        earlier = keys[: keys.index(self.tap)][::-1]
        return [self.tensors[key] for key in earlier if key in self.tensors]

    @cached_property
    def tensor_names(self) -> dict[int, str]:
        """Return a name for each known tensor: its role in the layer, or the layer of origin."""
        block = self.finding.layer
        found: dict[int, tuple[tuple[int, int], str]] = {}
        for tensor in self.reference.tensors:
            layer, _, name = tensor.tap
            own = bool(block) and (layer, name) == (block, "input")
            rank = (0 if own else 1 if name == "output" else 2, layer.count("/"))
            if layer:
                last = found.get(id(tensor.value))
                if last is None or rank < last[0]:
                    found[id(tensor.value)] = rank, f"{name} of {layer}"
        return {key: name for key, (_, name) in found.items()}

    def name_of(self, values: np.ndarray) -> str | None:
        """Return the reference's name for a vector, given to a relative error of 1e-3."""
        for name, array in self.weights(1, *values.shape):
            if np.abs(array - values).max() <= 1e-3 * max(_rms(array), 1e-30):
                return name
        return None


def _parts(
    name: str, array: np.ndarray, sizes: tuple[int, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the equal parts of a fused tensor that have these axis sizes, in any order."""
    for axis, whole in enumerate(array.shape):
        for size in set(sizes):
            parts = np.split(array, whole // size, axis) if whole % size == 0 else [array]
            if sorted(parts[0].shape) == sorted(sizes):
                yield from ((f"{name}[{i}]", part) for i, part in enumerate(parts))


def variable(layer: keras.layers.Layer | None, name: str) -> np.ndarray | None:
    """Return a variable of a layer in float64, or None where it has none of that name."""
    value: Any = getattr(layer, name, None)
    return None if value is None else to_numpy(value).astype("float64")


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two sets of weights are the same, but for their dtype."""
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-5, atol=1e-7))


def _rms(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(rows))))
