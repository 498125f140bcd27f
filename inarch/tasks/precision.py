"""Copies of a task that compute in low precision, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from inarch.answers.answer_changes import class_changes
from inarch.errors import InputError, InputTypeError
from inarch.keras_private import all_layers
from inarch.layers.dense import Dense
from inarch.models.layer_settings import check_not_quantized
from inarch.models.lora_layers import updated_layers
from inarch.models.variables import copy_model
from inarch.runtime.precision import check_kernels
from inarch.validation import check_flag, shown
from inarch.verify.layer_noise import LayerNoise, float64, layer_noise

if TYPE_CHECKING:
    from inarch.preprocessors.preprocessor import TokenRow
    from inarch.tasks.task import Task

PRECISIONS = ("int8", "bfloat16", "float16")

# Texts whose layers are recorded together: all tensors of a batch are in memory.
BATCH = 8


@dataclass(frozen=True)
class PrecisionReport:
    """Cost of a lower precision on a sample; as a string it is a table.

    Attributes:
        precision: "int8", "bfloat16" or "float16".
        backend: Keras's.
        texts: number of texts in the sample.
        layers: the noise of every layer with weights, in the order of computation; the model's own
            output last, under the name "".
        answers: the change of the task's answers by what is measured, see `Task.answer_changes`.
    """

    precision: str
    backend: str
    texts: int
    layers: tuple[LayerNoise, ...]
    answers: Mapping[str, float]

    def __str__(self) -> str:
        rows = [("layer", "noise ratio", "error", "by itself", "noisiest within")]
        for found in self.layers:
            if "/" in found.layer:
                continue
            within = [x for x in self.layers if x.layer.startswith(f"{found.layer}/")]
            worst = max([found, *within], key=lambda x: x.local_ratio)
            inner = worst.layer.removeprefix(found.layer).strip("/")
            error = f"{100 * found.relative_rms:.3f} %"
            name = found.layer or "output"
            rows.append((name, f"{found.ratio:,.1f}", error, f"{worst.local_ratio:,.1f}", inner))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{self.precision} in place of float32 on {self.backend}, {self.texts} texts",
            "(noise ratio: distance from float64 over float32's; error: over the size of the "
            "values; by itself: the noisiest layer within, given exact inputs)",
        ]
        for name, *numbers, inner in rows:
            aligned = [n.rjust(w) for n, w in zip(numbers, widths[1:], strict=False)]
            lines.append("  ".join([name.ljust(widths[0]), *aligned, inner]).rstrip())
        changes = (f"{name} {value:.2g}" for name, value in self.answers.items())
        return "\n".join([*lines, "answers: " + ", ".join(changes)])


class LowPrecision:
    """Methods that lower the precision of a task.

    Mixed into `Task`.
    """

    def answer_changes(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        """Return by what is measured how far answers have changed, from outputs for one sample.

        Args:
            before, after: what `predict_texts` returns.
        """
        return class_changes(before, after)

    def to_precision(
        self, precision: str, sample: Sequence[Any], verbose: bool = True
    ) -> tuple[Self, PrecisionReport]:
        """Return a copy that computes in another precision, and the report of what that costs.

        The task itself stays as it is. In "int8" the dense layers of the backbone multiply
        integers: weights with a scale for each output channel, activations with one for each token,
        computed as they come, so that no calibration is needed and no answer depends on its
        neighbours. All else stays in float32, the head too. In "bfloat16" and "float16" weights
        and activations are of that dtype. The copy is for inference.

        Args:
            precision: "int8", "bfloat16" or "float16".
            sample: texts of your own kind (pairs, for a task of pairs), some dozens, on which the
                costs are measured: all of them are computed several times, in float64 too.
            verbose: whether to print the report.

        Raises:
            InputError: an unknown precision, or one for which this backend and hardware have no
                kernels; an empty sample; a task that isn't in float32, is quantized, has no
                preprocessor, or reads no texts.
            InputTypeError: `sample` is one text.
        """
        check_flag("verbose", verbose)
        task: Any = self
        encodings = _check(task, precision, sample)
        low = _copy(task, "float32" if precision == "int8" else precision)
        if precision == "int8":
            _quantize(low)
        with float64():
            double = _copy(task, "float64")
        before, after = (model.predict_texts(sample, BATCH) for model in (task, low))
        report = PrecisionReport(
            precision,
            keras.backend.backend(),
            len(sample),
            layer_noise(double, task, low, _batches(task, encodings)),
            self.answer_changes(before, after),
        )
        if verbose:
            print(report)
        return low, report


def _check(task: Task, precision: Any, sample: Any) -> list[Any]:
    """Return the encodings of a sample that a task may be measured on in another precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision is {shown(precision)}; give one of {', '.join(PRECISIONS)}")
    if task.required_input != "token_ids":
        raise InputError(
            f"{type(task).__name__} reads no texts, and its layers can't be measured here; load it "
            'with dtype="bfloat16"'
        )
    check_not_quantized(task)
    if (own := task.dtype_policy.name) != "float32":
        raise InputError(
            f"the task's dtype policy is {own}, and a precision is measured against float32; load "
            'the task with dtype="float32"'
        )
    check_kernels(precision, task.weights[0])
    if isinstance(sample, str) or not isinstance(sample, Sequence):
        raise InputTypeError(f"sample is {shown(sample)}; give a list of texts")
    if not sample:
        raise InputError("sample is empty; give some dozens of texts of your own kind")
    return list(task.encode(task.checked_texts(sample)))


def _batches(task: Task, encodings: Sequence[TokenRow]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the inputs of a few encodings of like length at a time."""
    order = sorted(encodings, key=lambda x: len(x.ids))
    for start in range(0, len(order), BATCH):
        yield task.padded(order[start : start + BATCH])


def _copy(task: Any, dtype: str) -> Any:
    """Return a copy of a task in a dtype, with low-rank updates added to their kernels."""
    config = task.get_config()
    policy = keras.dtype_policies.serialize(keras.DTypePolicy(dtype))
    config["dtype"] = config["backbone"]["config"]["dtype"] = policy
    copy = copy_model(task, config)
    copy.passthrough, copy.fresh_weights = task.passthrough, task.fresh_weights
    copy.backbone.passthrough = task.backbone.passthrough
    if any(updated_layers(copy)):
        copy.merge_lora()
    return copy


def _quantize(task: Any) -> None:
    """Quantize the dense layers of a task's backbone to int8."""
    for layer in all_layers(task.backbone):
        if isinstance(layer, Dense):
            layer.quantize("int8")
