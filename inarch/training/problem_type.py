"""Problem types of a classifier, as transformers' configs name them, and their losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from inarch.errors import ConfigError, InputError
from inarch.losses.embedding import RecordedLoss
from inarch.validation import check_rate, shown

PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")


def check_problem(num_classes: int, problem_type: Any) -> None:
    """Raise InputError unless `problem_type` is None, or one that so many classes can have."""
    if problem_type not in (None, *PROBLEMS):
        raise InputError(f"problem_type is {problem_type!r}; known: {', '.join(PROBLEMS)}")
    if problem_type == PROBLEMS[0] and num_classes == 1:
        raise InputError(
            f"problem_type is {problem_type!r} for one class, which is every text's; give "
            "'regression' for a number, or num_classes=2"
        )


def recorded_problem(config: Mapping[str, Any]) -> str | None:
    """Return the problem type of a config; ConfigError where it isn't known."""
    problem = config.get("problem_type")
    if problem not in (None, *PROBLEMS):
        raise ConfigError(
            f"config field 'problem_type' is {shown(problem)}; known: {', '.join(PROBLEMS)}. Give "
            "one: problem_type=..."
        )
    return problem


def check_label_smoothing(label_smoothing: Any, loss: Any, kind: str) -> None:
    """Raise InputError where labels are to be smoothed, and the loss isn't ours, or of numbers."""
    check_rate("label_smoothing", label_smoothing)
    if label_smoothing and (loss != "auto" or kind == PROBLEMS[2]):
        what = "problem_type is 'regression'" if loss == "auto" else "a loss is given"
        raise InputError(
            f"label_smoothing is {label_smoothing}, and {what}; it is for the task's own loss of "
            "classes"
        )


def default_loss(kind: str, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Return the loss of logits by which a problem type is trained."""
    if kind == PROBLEMS[2]:
        return keras.losses.MeanSquaredError()
    if kind == PROBLEMS[1]:
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    if label_smoothing:
        return SmoothedCrossEntropy(label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable(package="inarch")
class SmoothedCrossEntropy(RecordedLoss):
    """Cross entropy in which each class has its share of `label_smoothing`.

    It reads logits `[rows, classes]` and class numbers `[rows]`. Source: Szegedy et al., 2016,
    arXiv:1512.00567; transformers' `label_smoothing_factor`.

    Args:
        label_smoothing: from 0 to 1, divided among all classes; the right one has the rest, too.
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        name: str = "sparse_categorical_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        rows = ops.one_hot(ops.reshape(ops.cast(y_true, "int32"), (-1,)), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(
            ops.cast(rows, y_pred.dtype), y_pred, from_logits=True,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip
