"""Text classification with the head of the reference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, overload

import numpy as np

from inarch.answers.activation import ACTIVATIONS
from inarch.answers.answer_changes import class_changes
from inarch.answers.class_answers import Answers, TopK, check_top_k, class_answers
from inarch.errors import InputError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import Text, is_one_text
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.sequence_classifier import SequenceClassifier
from inarch.tasks.task import Task
from inarch.training.class_targets import (
    check_loss_reads_rows,
    class_numbers,
    label_rows,
    number_rows,
)
from inarch.training.class_thresholds import class_thresholds
from inarch.training.class_weights import resolve_class_weight
from inarch.training.objective import Objective
from inarch.training.problem_type import (
    PROBLEMS,
    check_label_smoothing,
    check_problem,
    default_loss,
    recorded_problem,
)
from inarch.validation import check_count, shown


def _checked_problem(task: Any, problem_type: Any) -> str | None:
    check_problem(task.num_classes, problem_type)
    if problem_type != PROBLEMS[1] and vars(task).get("thresholds") is not None:
        raise InputError(
            f"problem_type is {problem_type!r}, and thresholds are for {PROBLEMS[1]!r}; set "
            "thresholds to None first"
        )
    return problem_type


def _checked_thresholds(task: Any, thresholds: Any) -> list[float] | None:
    if thresholds is not None and task.problem_type != PROBLEMS[1]:
        raise InputError(
            f"thresholds is {shown(thresholds)}, and problem_type is {task.problem_type!r}; they "
            f"are for {PROBLEMS[1]!r}"
        )
    return None if thresholds is None else class_thresholds(thresholds, task.labels)


class TextClassifier(SequenceClassifier, Task):
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
        thresholds: for several labels at once, the score from which on `classify` gives a label:
            a number for all, a list with one for each, or a mapping from every label.

    Raises:
        InputError: an argument has a value that can't be used.
    """

    pipeline_tag = "text-classification"
    verb = "classify"
    saved_settings = ("thresholds", "dropout")
    settings_of_classes = ("thresholds",)
    recorded: ClassVar[Mapping[str, Any]] = {
        "problem_type": lambda checkpoint: recorded_problem(checkpoint.config),
        **SequenceClassifier.recorded,
    }
    problem_type = MutableArgument(_checked_problem)
    thresholds = MutableArgument(_checked_thresholds)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: TextPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        dropout: float | None = None,
        problem_type: str | None = None,
        activation_fn: str | None = None,
        thresholds: float | Sequence[float] | Mapping[str, float] | None = None,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        check_problem(num_classes, problem_type)  # before the graph is built
        given = (num_classes, preprocessor, labels, dropout, activation_fn)
        super().__init__(backbone, *given, **kwargs)
        self.problem_type = problem_type
        self.thresholds = thresholds

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        found = super().arguments_of(checkpoint, given)
        if found.get("problem_type") != PROBLEMS[1]:
            found.setdefault("thresholds", None)  # those that are saved are of several labels
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

    def answer_changes(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        return class_changes(before, after, self.score_activation == "sigmoid")

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        changed = self.problem_type != config.get("problem_type")
        return super().head_fields(config) | (
            {"problem_type": self.problem_type} if changed else {}
        )

    def objective(self) -> Objective:
        kind = self.kind
        return Objective(
            default_loss(kind),
            metrics=["accuracy"] if kind == PROBLEMS[0] else [],
            reads_logits=kind != PROBLEMS[2] or self.num_classes == 1,
            several_labels=kind != PROBLEMS[0],
        )

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Compile the model; `"auto"` is Adam at 5e-5 and the loss of the problem type.

        As in transformers, one class that is trained by this default is a number from then on:
        `problem_type` becomes `"regression"`, unless it or `activation_fn` is given.

        Args:
            label_smoothing: for the loss of classes: from 0 to 1, the part of each target that is
                spread over all classes.

        Raises:
            InputError: a loss or a metric reads probabilities; or labels are to be smoothed for
                another loss than the task's own, or for numbers.
        """
        check_label_smoothing(label_smoothing, loss, self.kind)
        if loss == "auto":
            self.problem_type = PROBLEMS[2] if self.kind == PROBLEMS[2] else self.problem_type
            loss = default_loss(self.kind, label_smoothing)
        super().compile(optimizer, loss, **kwargs)

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Return class numbers, from numbers or names; for the other problem types, float rows.

        With several labels at once a text's target is a list of names, or a row of 0 and 1.
        """
        if y is not None and self.kind == PROBLEMS[1]:
            y = label_rows(y, self.labels)
        y = super().targets(y, count)
        if self.kind != PROBLEMS[0]:
            return number_rows(y, self.num_classes)
        if y.ndim > 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if y.ndim > 1:
            check_loss_reads_rows(getattr(self, "loss", None), y)
            return number_rows(y, self.num_classes)  # of probabilities, for a loss of one's own
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

    @overload
    def classify(  # type: ignore[overload-overlap]
        self,
        texts: Text,
        top_k: TopK = "auto",
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Answers: ...

    @overload
    def classify(
        self,
        texts: Sequence[Text],
        top_k: TopK = "auto",
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> list[Answers]: ...

    @in_runtime
    def classify(
        self,
        texts: Any,
        top_k: TopK = "auto",
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Any:
        """Return the classes of each text, best first, as `{"label", "score"}`.

        A score is what transformers' text-classification pipeline gives: the softmax over the
        classes; the sigmoid of each for several labels at once, and of the only one for
        `num_classes=1`; for `problem_type="regression"` the value itself. Where `activation_fn` is
        given, as rerankers record it, it is that, as of sentence-transformers'
        `CrossEncoder.predict`. `predict` gives the logits.

        Args:
            texts: one text, one pair (a tuple of two strings), or a list or column of them.
            top_k: how many classes to return, the best ones; None for all. `"auto"` is the best
                one; or, where `thresholds` are set, those whose score reaches their threshold.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            for one text a list of its classes; for several a list of such lists.

        Raises:
            InputError: `top_k` is neither None nor a whole number from 1 up.
        """
        check_top_k(top_k)
        given = [texts] if is_one_text(texts) else texts
        logits = self.predict(given, batch_size=batch_size).astype(np.float64)
        scores = ACTIVATIONS[self.score_activation][1](logits)
        results = class_answers(scores, self.labels, top_k, self.thresholds)
        return results[0] if is_one_text(texts) else results
