"""Text classification with the original's own head."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.checks import check_count
from inarch.errors import ConfigError, InputError
from inarch.models.backbone import Backbone
from inarch.models.export import HeadToSave
from inarch.models.preset import Checkpoint
from inarch.tasks.preprocessor import TextPreprocessor
from inarch.tasks.task import Task

PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")


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
    """

    head = "text_classifier"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: TextPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        dropout: float | None = None,
        problem_type: str | None = None,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        if labels is not None:
            _check_labels(labels)
        labels = list(labels) if labels else [f"LABEL_{i}" for i in range(num_classes)]
        if len(labels) != num_classes:
            raise InputError(f"there are {len(labels)} labels for {num_classes} classes")
        if problem_type not in (None, *PROBLEMS):
            raise InputError(f"problem_type is {problem_type!r}; known: {', '.join(PROBLEMS)}")
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

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        config = checkpoint.config
        labels = _labels(config)
        found = super().arguments_of(checkpoint, {})
        found |= {"num_classes": len(labels), "labels": labels}
        found["problem_type"] = config.get("problem_type")
        if given.get("labels") is None:
            given.pop("labels", None)
        else:
            _check_labels(given["labels"])
            given.setdefault("num_classes", len(given["labels"]))
        if given.get("num_classes", len(labels)) != len(labels):
            found |= {"labels": None, "problem_type": None}
        return found | given

    @classmethod
    def from_preset(cls, preset: str | os.PathLike, **arguments: Any) -> Any:
        """The classifier of a checkpoint; see `Task.from_preset`.

        `num_classes` (or `labels`) other than the checkpoint's gives a fresh head, and says so.
        """
        return super().from_preset(preset, **arguments)

    def fits(self, checkpoint: Checkpoint) -> bool:
        """A head of as many classes, by the same names unless its own are mere numbers.

        Raises:
            InputError: the names are the checkpoint's in another order, so that each would stand
                for another class than it was trained to.
        """
        theirs = _labels(checkpoint.config)
        swapped = self.labels != theirs and sorted(map(str, self.labels)) == sorted(theirs)
        if swapped and checkpoint.holds(self.head):
            raise InputError(
                f"labels are {self.labels}, and the head of {checkpoint.folder} has them in the "
                f"order {theirs}: give them in that order, or give other names"
            )
        numbered = [f"LABEL_{i}" for i in range(len(theirs))]
        if self.num_classes != len(theirs):
            return False
        return theirs == numbered or list(self.labels) in (theirs, numbered)

    @property
    def kind(self) -> str:
        """The problem type in force."""
        return self.problem_type or (PROBLEMS[2] if self.num_classes == 1 else PROBLEMS[0])

    def head_to_save(self) -> HeadToSave:
        fields: dict[str, Any] = {}
        old = self.layout.config if self.layout else {}
        if self.labels != _labels(old):
            fields["id2label"] = {str(i): label for i, label in enumerate(self.labels)}
            fields["label2id"] = {label: i for i, label in enumerate(self.labels)}
        if self.problem_type != old.get("problem_type"):
            fields["problem_type"] = self.problem_type
        arguments = {} if self.dropout is None else {"dropout": self.dropout}
        return HeadToSave(self.head, arguments, fields)

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any
    ) -> None:
        """As `keras.Model.compile`; `"auto"` is Adam at 5e-5 and the loss of the problem type."""
        kind = self.kind
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = {
                PROBLEMS[0]: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                PROBLEMS[1]: keras.losses.BinaryCrossentropy(from_logits=True),
                PROBLEMS[2]: keras.losses.MeanSquaredError(),
            }[kind]
        if metrics == "auto":
            metrics = ["accuracy"] if kind == PROBLEMS[0] else None
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Class numbers or label names as numbers; for the other problem types, float rows."""
        y = super().targets(y, count)
        if self.kind != PROBLEMS[0]:
            return y.astype(np.float32).reshape(count, -1)
        if y.dtype.kind in "USO":
            return np.array([self._number(label, i) for i, label in enumerate(y.tolist())])
        if y.ndim > 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if y.ndim > 1:
            self._check_rows(y)
            return y  # one row of class probabilities each, with a loss of the user's own
        broken = np.flatnonzero(y != np.floor(y))
        if len(broken):
            raise InputError(
                f"label {y[broken[0]]} of text {broken[0]} is neither a whole number nor the name "
                f"of a class; there are {self.num_classes} classes, 0 to {self.num_classes - 1}"
            )
        wrong = np.flatnonzero((y < 0) | (y >= self.num_classes))
        if len(wrong):
            raise InputError(
                f"label {y[wrong[0]]} of text {wrong[0]} is out of range: there are "
                f"{self.num_classes} classes, 0 to {self.num_classes - 1}"
            )
        return y.astype(np.int32)

    def _check_rows(self, y: np.ndarray) -> None:
        """Raise InputError where the loss in force takes one number for each text."""
        loss = getattr(self, "loss", None)
        name = loss if isinstance(loss, str) else getattr(loss, "name", "")
        if str(name).startswith("sparse_categorical"):
            raise InputError(
                f"y has the shape {y.shape}, a row for each text; give the number or the name of "
                "each text's class (y.argmax(-1) where the rows are one-hot), or compile with "
                "loss=keras.losses.CategoricalCrossentropy(from_logits=True), or build with "
                "problem_type='multi_label_classification' where a text has several classes"
            )

    def _number(self, label: Any, index: int) -> int:
        if label in self.labels:
            return self.labels.index(label)
        if isinstance(label, int) and 0 <= label < self.num_classes:
            return label
        raise InputError(
            f"label {label!r} of text {index} is none of {', '.join(map(repr, self.labels))}"
        )

    def classify(
        self, texts: Sequence[Any], top_k: int | None = 1, batch_size: int = 32
    ) -> list[list[dict[str, Any]]]:
        """The `top_k` classes of each text, best first, as `{"label", "score"}`.

        Scores are probabilities (softmax, or sigmoid for several labels at once); for regression
        they are the values themselves. `top_k=None` is all classes.

        Raises:
            InputError: `top_k` is neither None nor a whole number from 1 up.
        """
        if top_k is not None:
            check_count("top_k", top_k)
        logits = self.predict(texts, batch_size=batch_size).astype(np.float64)
        read = {PROBLEMS[0]: _softmax, PROBLEMS[1]: _sigmoid}.get(self.kind, np.asarray)
        scores = read(logits)
        best = np.argsort(-scores, axis=-1, kind="stable")[:, :top_k]
        return [
            [{"label": self.labels[i], "score": float(row[i])} for i in order]
            for row, order in zip(scores, best, strict=True)
        ]


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The class names of a config, in order; two when it says nothing, as the original has it."""
    names = config.get("id2label")
    if names:
        if not isinstance(names, dict) or sorted(map(str, names)) != sorted(
            map(str, range(len(names)))
        ):
            raise ConfigError(
                f"config field 'id2label' is {str(names)[:80]!r}; it must name the classes 0 to n"
            )
        labels = [str(names[key]) for key in sorted(names, key=int)]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"config field 'id2label' gives {labels.count(twice)} classes the name {twice!r}; "
                "an answer couldn't be told from another: give each class its own"
            )
        return labels
    return [f"LABEL_{i}" for i in range(config.get("num_labels") or 2)]


def _check_labels(labels: Any) -> None:
    """Raise InputError unless the caller's names are several different strings."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"labels is {labels!r}; give a list of names")
    twice = sorted({str(name) for name in labels if list(labels).count(name) > 1})
    if twice:
        raise InputError(f"labels has {', '.join(map(repr, twice))} more than once")


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))
