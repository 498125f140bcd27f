"""Classification into classes that are given with the texts, by natural language inference."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import Formatter
from typing import Any, Self

import numpy as np

from inarch.answers.labels import COUNTED
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import single_texts
from inarch.runtime.forward import softmax
from inarch.tasks.inference import preprocessor_of, window_chunks
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.stream import CHUNK, OnError, stream
from inarch.tasks.text_classifier import TextClassifier
from inarch.validation import check_flag, shown

# How the names of an NLI model's classes begin, in lower case.
ENTAILMENT = "entail"
CONTRADICTION = ("contradict", "not_entail", "not entail", "non-entail", "non_entail")
NO_PAIR = "text {index} is a pair; give single texts, whose hypotheses are made of labels"


class ZeroShotClassifier:
    """Classifier of texts into classes that are named when it is called (Yin et al., 2019).

    Each class becomes a hypothesis about the text, such as "This example is sport.", and a
    classifier of natural language inference (NLI) says how far the text entails it
    (arXiv:1909.00161).

    It holds that `TextClassifier`, and is trained and saved as it: `fit` and `evaluate` take pairs
    of premise and hypothesis, with the names of the classifier's own classes. It is compiled by
    `classifier.compile`.

    Args:
        classifier: a `TextClassifier` with one class whose name begins with "entail", in any case.

    Raises:
        InputError: no class of `classifier` is called so, or several are.
        InputTypeError: `classifier` isn't a `TextClassifier`.
    """

    def __init__(self, classifier: TextClassifier):
        if not isinstance(classifier, TextClassifier):
            raise InputTypeError(
                f"classifier is {shown(classifier)}; give a TextClassifier, or load the whole: "
                "ZeroShotClassifier.from_preset(...)"
            )
        entailment_class(classifier.labels)
        self.classifier = classifier

    @classmethod
    def from_preset(cls, preset: str | os.PathLike, **arguments: Any) -> Self:
        """Load the NLI classifier of a checkpoint, by arguments of `TextClassifier.from_preset`.

        The names of its classes are those of `id2label`, and of `label2id` where `id2label` names
        none.

        Raises:
            InputError: no class of the checkpoint is called entailment; give the names of its
                classes in their order as `labels`.
            ConfigError: `id2label` and `label2id` call different classes entailment.
        """
        classifier = TextClassifier.from_preset(preset, **arguments)
        if all(arguments.get(name) is None for name in COUNTED):
            _name_by_label2id(classifier)
        return cls(classifier)

    def save_to_preset(
        self, folder: str | os.PathLike, *, overwrite: bool = False, model_card: bool = False
    ) -> None:
        """Write the NLI classifier; see `Task.save_to_preset`."""
        self.classifier.save_to_preset(folder, overwrite=overwrite, model_card=model_card)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on pairs `(premise, hypothesis)` and their classes; see `TextClassifier`."""
        return self.classifier.fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return loss and metrics on pairs `(premise, hypothesis)` and their classes."""
        return self.classifier.evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the NLI logits `[pairs, classes]` of pairs `(premise, hypothesis)`."""
        return self.classifier.predict(x, *args, **kwargs)

    @in_runtime
    def classify(
        self,
        texts: str | Sequence[str],
        labels: Sequence[str],
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> list[Any]:
        """Return the given classes of each text as `{"label", "score"}`, by falling score.

        The scores are those of transformers' zero-shot-classification pipeline: the softmax of the
        logits of entailment over `labels`. With `multi_label`, or one label, each is a softmax of
        its own, of entailment against contradiction; where the classifier has no contradiction, it
        is against the other one of its two classes. Unlike there, contradiction is found by its
        name too. A text that is too long is cut at its end, and a hypothesis never is.

        Args:
            texts: one text, or a list.
            labels: names of the classes, as they go into the template.
            hypothesis_template: hypothesis with `{}` where the name of a class goes.
            multi_label: whether any number of the classes can be true of a text.
            batch_size: size of a batch, in pairs of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            for one text a list of all classes; for a list of texts a list of such lists.

        Raises:
            InputError: `labels` is empty, or has an empty name or one name twice;
                `hypothesis_template` has no place for a class; a hypothesis leaves no room for a
                text; or contradiction is needed, and no class is called so.
        """
        names = _checked_names(labels)
        hypotheses = _hypotheses(hypothesis_template, names)
        check_flag("multi_label", multi_label)
        classes = [entailment_class(self.classifier.labels)]
        if multi_label or len(names) == 1:
            classes.append(contradiction_class(self.classifier.labels))
        _check_room(preprocessor_of(self.classifier), hypotheses)
        given = single_texts([texts] if isinstance(texts, str) else texts, "texts", NO_PAIR)
        pairs = [(text, hypothesis) for text in given for hypothesis in hypotheses]
        logits = self._logits(pairs, batch_size)[:, classes]
        logits = logits.reshape(len(given), len(names), len(classes))
        scores = softmax(logits)[..., 0] if len(classes) > 1 else softmax(logits[..., 0])
        results = [
            [{"label": names[i], "score": float(row[i])} for i in np.argsort(-row, kind="stable")]
            for row in scores
        ]
        return results[0] if isinstance(texts, str) else results

    def stream(
        self,
        texts: Iterable[str],
        labels: Sequence[str],
        *,
        on_error: OnError | None = None,
        chunk: int = CHUNK,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of what `classify` returns for each text, as `Task.stream`.

        Args:
            texts: an iterable of any length.
            labels: as of `classify`.
            on_error, chunk: as of `Task.stream`.
            options: further arguments of `classify`.
        """
        return stream(lambda part: self.classify(part, labels, **options), texts, on_error, chunk)

    def _logits(self, pairs: Sequence[tuple[str, str]], batch_size: int) -> np.ndarray:
        """Return the logits of pairs, of which the first text is cut, as float64."""
        rows: list[np.ndarray] = []
        for windows in window_chunks(self.classifier, pairs, cut=0):
            first = [window for window in windows if window.is_first]
            rows += self.classifier.map_outputs(lambda i, row: row, first, batch_size)
        return np.array(rows, np.float64).reshape(len(pairs), self.classifier.num_classes)


def entailment_class(labels: Sequence[str]) -> int:
    """Return the number of the class that is called entailment.

    Raises:
        InputError: there is none, or there are several.
    """
    found = [i for i, label in enumerate(labels) if label.lower().startswith(ENTAILMENT)]
    if len(found) != 1:
        count = f"{len(found)} classes" if found else "no class"
        raise InputError(
            f"{count} of {', '.join(map(repr, labels))} is called entailment, by which a text is "
            "classified; if this is a model of natural language inference, give the names of its "
            'classes in the order of its logits: labels=["contradiction", "neutral", "entailment"]'
        )
    return found[0]


def contradiction_class(labels: Sequence[str]) -> int:
    """Return the number of the class that is called contradiction, or of two classes the other.

    Raises:
        InputError: there are three classes or more, and not one of them is called so.
    """
    found = [i for i, label in enumerate(labels) if label.lower().startswith(CONTRADICTION)]
    if len(labels) == 2:
        found = [1 - entailment_class(labels)]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'none'} of the classes {', '.join(map(repr, labels))} are called "
            "contradiction, against which a label is scored alone; set the names of the classes: "
            "classifier.labels = [...]; or score several labels without multi_label"
        )
    return found[0]


def _name_by_label2id(classifier: TextClassifier) -> None:
    """Take the names of classes from `label2id` where `id2label` calls none of them entailment."""
    numbers = classifier.layout.config.get("label2id") if classifier.layout else None
    if not isinstance(numbers, Mapping):
        return
    names = {str(number): str(label) for label, number in numbers.items()}
    classes = [names.get(str(i)) for i in range(classifier.num_classes)]
    if None in classes or len(numbers) != len(classes):
        return  # of another set of classes
    declared = [i for i, label in enumerate(classes) if str(label).lower().startswith(ENTAILMENT)]
    known = [i for i, n in enumerate(classifier.labels) if n.lower().startswith(ENTAILMENT)]
    if declared and known and declared != known:
        raise ConfigError(
            f"config.json calls class {known[0]} {classifier.labels[known[0]]!r} in id2label, and "
            f"class {declared[0]} {classes[declared[0]]!r} in label2id; correct the file by what "
            "the model was trained on"
        )
    if declared and not known:
        classifier.labels = classes


def _checked_names(labels: Any) -> list[str]:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputTypeError(f"labels is {shown(labels)}; give a list of names: [label, ...]")
    if not labels:
        raise InputError("labels is empty; give the name of one class or more")
    for label in labels:
        if not isinstance(label, str):
            raise InputTypeError(f"labels has {shown(label)}; give the name of a class, a string")
        if not label.strip():
            raise InputError(f"labels has {label!r}, an empty name; leave it out")
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise InputError(f"labels has {twice!r} twice; give each class once")
    return list(labels)


def _hypotheses(template: Any, labels: Sequence[str]) -> list[str]:
    """Return the hypothesis of each class."""
    if not isinstance(template, str):
        raise InputTypeError(f"hypothesis_template is {shown(template)}; give a string with {{}}")
    try:
        fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
    except ValueError:  # a single brace
        fields = []
    if fields not in ([["", "", None]], [["0", "", None]]):
        raise InputError(
            f"hypothesis_template is {shown(template)}; it must have {{}} once, where the name of "
            "the class goes, as 'This example is {}.' has (a brace that is text is written twice)"
        )
    return [template.format(label) for label in labels]


def _check_room(preprocessor: TextPreprocessor, hypotheses: Sequence[str]) -> None:
    """Raise InputError where a hypothesis leaves no room for a text."""
    limit = preprocessor.sequence_length
    encodings = preprocessor.encode([("", hypothesis) for hypothesis in hypotheses])
    for hypothesis, encoding in zip(hypotheses, encodings, strict=True):
        if len(encoding.ids) >= limit:
            raise InputError(
                f"the hypothesis {shown(hypothesis)} is as long as sequence_length={limit} with "
                "its special tokens, so that nothing of a text is read; shorten the label or "
                "hypothesis_template, or set a longer classifier.preprocessor.sequence_length"
            )
