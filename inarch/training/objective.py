"""Objectives: the loss and the metrics that a task is trained by where `compile` is given none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from inarch.training.logits import loss_of_logits, metrics_of_logits


@dataclass(frozen=True)
class Objective:
    """Defaults of `Task.compile`, and how it reads what it is given by name.

    Args:
        loss: loss where none is given.
        learning_rate: of Adam, where no optimizer is given.
        metrics: metrics where none are given.
        weighted_metrics: the same, weighed by the sample weights.
        reads_logits: whether the outputs are logits, so that a loss or a metric given by name reads
            them as such.
        several_labels: whether each output is a separate class, of which any number can be true.
    """

    loss: Any
    learning_rate: float = 5e-5
    metrics: Sequence[Any] = ()
    weighted_metrics: Sequence[Any] = ()
    reads_logits: bool = True
    several_labels: bool = False


def compile_arguments(
    objective: Objective, optimizer: Any, loss: Any, metrics: Any, weighted_metrics: Any
) -> dict[str, Any]:
    """Return the arguments of `keras.Model.compile`; each `"auto"` is that of the objective.

    Raises:
        InputError: the outputs are logits, and a loss or a metric reads probabilities.
    """
    if optimizer == "auto":
        optimizer = keras.optimizers.Adam(objective.learning_rate)
    if loss == "auto":
        loss = objective.loss
    given = {"metrics": metrics, "weighted_metrics": weighted_metrics}
    for name, chosen in given.items():
        given[name] = list(getattr(objective, name)) or None if chosen == "auto" else chosen
    if objective.reads_logits:
        loss = loss_of_logits(loss)
        several = objective.several_labels
        given = {name: metrics_of_logits(chosen, several) for name, chosen in given.items()}
    return {"optimizer": optimizer, "loss": loss, **given}


def token_objective(learning_rate: float = 5e-5) -> Objective:
    """Return the objective of logits over the vocabulary: cross entropy of tokens with a weight."""
    return Objective(
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        learning_rate,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
