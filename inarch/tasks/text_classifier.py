"""Text classification with the head of the reference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.errors import ConfigError, InputError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave
from inarch.tasks import cross_encoder
from inarch.tasks.activation import ACTIVATIONS, check_activation
from inarch.tasks.class_targets import check_loss_reads_rows, class_numbers, label_rows
from inarch.tasks.class_weights import resolve_class_weight
from inarch.tasks.labels import class_arguments, classes_misfit, label_fields, labels_for
from inarch.tasks.objective import Objective
from inarch.tasks.preprocessor import TextPreprocessor
from inarch.tasks.task import Task
from inarch.validation import check_count, shown

PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")


def _checked_labels(task: Any, labels: Any) -> list[str]:
    return labels_for(task.num_classes, labels)


def _check_problem(num_classes: int, problem_type: Any) -> None:
    if problem_type not in (None, *PROBLEMS):
        raise InputError(f"problem_type is {problem_type!r}; known: {', '.join(PROBLEMS)}")
    if problem_type == PROBLEMS[0] and num_classes == 1:
        raise InputError(
            f"problem_type is {problem_type!r} for one class, which is every text's; give "
            "'regression' for a number, or num_classes=2"
        )


def _checked_problem(task: Any, problem_type: Any) -> str | None:
    _check_problem(task.num_classes, problem_type)
    return problem_type


def _checked_activation(task: Any, name: Any) -> str | None:
    check_activation(name)
    return name


class TextClassifier(Task):
    """Logits `[batch, num_classes]` for texts or pairs of texts.

    Args:
        backbone: the encoder.
        num_classes: number of classes (or of targets, for regression).
        preprocessor: text to inputs; None to feed prepared arrays.
        labels: names of the classes, `LABEL_0` and so on where not given.
        dropout: rate before the last layer; the architecture's own where not given.
        problem_type: `"single_label_classification"`, `"multi_label_classification"` or
            `"regression"`; by default the last for one class and the first for several.
        activation_fn: what `classify` applies to the logits, such as `"identity"`, `"sigmoid"` or
            `"tanh"`: for a reranker what sentence-transformers' CrossEncoder recorded. Where not
            given, what transformers' pipeline applies, see `classify`.
    """

    head = "text_classifier"
    pipeline_tag = "text-classification"
    labels = MutableArgument(_checked_labels)
    problem_type = MutableArgument(_checked_problem)
    activation_fn = MutableArgument(_checked_activation)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: TextPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        dropout: float | None = None,
        problem_type: str | None = None,
        activation_fn: str | None = None,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        # Before the graph is built, and once more where the attributes are set.
        labels = labels_for(num_classes, labels or None)
        _check_problem(num_classes, problem_type)
        check_activation(activation_fn)
        rate = {} if dropout is None else {"dropout": dropout}
        super().__init__(
            backbone,
            lambda outputs: backbone.text_classifier(outputs, num_classes, **rate),
            preprocessor,
            **kwargs,
        )
        self.num_classes = num_classes
        self.labels = labels
        self.dropout = dropout
        self.problem_type = problem_type
        self.activation_fn = activation_fn

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        classes = class_arguments(checkpoint, TextClassifier.head, given)
        found = super().arguments_of(checkpoint, {})
        if classes.are_recorded:
            found |= cls._recorded(checkpoint, given)
        return found | classes.arguments

    @classmethod
    def _recorded(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a checkpoint's classifier that the caller doesn't give."""
        found: dict[str, Any] = {}
        problem = checkpoint.config.get("problem_type")
        with checkpoint.config_path_in_errors():
            if "problem_type" not in given:
                if problem not in (None, *PROBLEMS):
                    raise ConfigError(
                        f"config field 'problem_type' is {shown(problem)}; known: "
                        f"{', '.join(PROBLEMS)}. Give one: problem_type=..."
                    )
                found["problem_type"] = problem
            if "activation_fn" not in given:
                found["activation_fn"] = cross_encoder.recorded_activation(checkpoint)
        cross_encoder.warn_of_prompt(checkpoint)
        return found

    @classmethod
    def from_preset(cls, preset: str | os.PathLike, **arguments: Any) -> Any:
        """Load the classifier of a checkpoint; see `Task.from_preset`.

        Other `labels` than the checkpoint's, as many, rename the classes of its trained head.
        Another number (`labels` or `num_classes`) gives a fresh head, with a warning.

        Raises:
            InputError: `labels` are the checkpoint's in another order, so that each would
                mean another class than it was trained to.
            ConfigError: `num_labels` or `id2label` of the config name no classes, or another
                number than the trained head has; with `labels` given they don't count.
        """
        return super().from_preset(preset, **arguments)

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        misfit = classes_misfit(checkpoint, TextClassifier.head, self.labels)
        return misfit or super().head_misfit(checkpoint)

    @property
    def kind(self) -> str:
        """The problem type in force, by which the loss is chosen."""
        if self.problem_type or self.num_classes > 1:
            return self.problem_type or PROBLEMS[0]
        # One class with a recorded activation is a reranker, which CrossEncoder trains to separate
        # relevant from irrelevant; transformers trains one class to be a number.
        return PROBLEMS[2] if self.activation_fn is None else PROBLEMS[1]

    @property
    def score_activation(self) -> str:
        """The activation by which `classify` makes scores of logits."""
        if self.activation_fn is not None:
            return self.activation_fn
        if self.problem_type == PROBLEMS[2]:
            return "identity"
        return "sigmoid" if self.problem_type == PROBLEMS[1] or self.num_classes == 1 else "softmax"

    def head_to_save(self) -> HeadToSave:
        old = self.layout.config if self.layout else {}
        fields: dict[str, Any] = label_fields(old, self.labels)
        if self.problem_type != old.get("problem_type"):
            fields["problem_type"] = self.problem_type
        if not cross_encoder.has_settings(self.layout, self.head) or cross_encoder.records(old):
            fields |= cross_encoder.config_fields(old, self.activation_fn)
        arguments = {} if self.dropout is None else {"dropout": self.dropout}
        return HeadToSave(self.head, arguments, fields)

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        cross_encoder.write_settings(folder, self.activation_fn)

    def objective(self) -> Objective:
        kind = self.kind
        loss = {
            PROBLEMS[0]: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            PROBLEMS[1]: keras.losses.BinaryCrossentropy(from_logits=True),
            PROBLEMS[2]: keras.losses.MeanSquaredError(),
        }[kind]
        return Objective(
            loss,
            metrics=["accuracy"] if kind == PROBLEMS[0] else [],
            reads_logits=kind != PROBLEMS[2] or self.num_classes == 1,
            several_labels=kind != PROBLEMS[0],
        )

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", **kwargs: Any) -> None:
        """Compile the model; `"auto"` is Adam at 5e-5 and the loss of the problem type.

        As in transformers, one class that is trained by this default is a number from then on:
        `problem_type` becomes `"regression"`, unless it or `activation_fn` is given.

        Raises:
            InputError: a loss or a metric reads probabilities.
        """
        if loss == "auto" and self.kind == PROBLEMS[2]:
            self.problem_type = PROBLEMS[2]
        super().compile(optimizer, loss, **kwargs)

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Return class numbers, from numbers or names; for the other problem types, float rows.

        With several labels at once a text's target is a list of names, or a row of 0 and 1.
        """
        if y is not None and self.kind == PROBLEMS[1]:
            y = label_rows(y, self.labels)
        y = super().targets(y, count)
        if self.kind != PROBLEMS[0]:
            return y.astype(np.float32).reshape(count, -1)
        if y.ndim > 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if y.ndim > 1:
            check_loss_reads_rows(getattr(self, "loss", None), y)
            return y  # one row of class probabilities each, with a loss of the user's own
        return class_numbers(y, self.labels)

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        if class_weight is None:
            return None
        if self.kind != PROBLEMS[0]:
            raise InputError(
                f"class_weight is given, and problem_type is {self.kind!r}, where a text has no "
                "single class; give sample_weight"
            )
        return resolve_class_weight(class_weight, self.labels)

    def classify(
        self, texts: Sequence[Any], top_k: int | None = 1, batch_size: int = 32
    ) -> list[list[dict[str, Any]]]:
        """Return the `top_k` classes of each text, best first, as `{"label", "score"}`.

        A score is what transformers' text-classification pipeline gives: the softmax over the
        classes; the sigmoid of each for several labels at once, and of the only one for
        `num_classes=1`; for `problem_type="regression"` the value itself. Where `activation_fn` is
        given, as rerankers record it, it is that, as of sentence-transformers'
        `CrossEncoder.predict`. `predict` gives the logits. `top_k=None` is all classes.

        Raises:
            InputError: `top_k` is neither None nor a whole number from 1 up.
        """
        if top_k is not None:
            check_count("top_k", top_k)
        logits = self.predict(texts, batch_size=batch_size).astype(np.float64)
        scores = ACTIVATIONS[self.score_activation][1](logits)
        best = np.argsort(-scores, axis=-1, kind="stable")[:, :top_k]
        return [
            [{"label": self.labels[i], "score": float(row[i])} for i in order]
            for row, order in zip(scores, best, strict=True)
        ]
