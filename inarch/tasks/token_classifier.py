"""Token classification (named entities, parts of speech) with the head of the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from inarch.answers import entities
from inarch.answers.activation import softmax
from inarch.answers.labels import (
    checked_labels,
    class_arguments,
    classes_misfit,
    label_fields,
    labels_for,
)
from inarch.data.columns import values_of
from inarch.errors import InputError, InputTypeError
from inarch.metrics.entities import entity_scores, span_scores
from inarch.metrics.tag_scheme import OUTSIDE, span_labels
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import texts_of
from inarch.preprocessors.windows import Window, encode_windows, with_most_context
from inarch.tasks import inference
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.task import Task
from inarch.training import entity_targets as targets
from inarch.training.datasets import weights_of
from inarch.training.objective import Objective, token_objective
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import check_count, shown


class TokenClassifier(Task):
    """Logits `[batch, length, num_classes]`: of the classes of each token.

    A text that is longer than `preprocessor.sequence_length` is read in windows that overlap.

    Training on labels of words, `fit(texts, labels)`, takes a list of words for each text, and as
    many labels, names or numbers. The first token of a word has its label, and the others don't
    count.

    Training on spans of characters, `fit(texts, spans)`, takes a string for each text, and a list
    of its spans, each `(start, end, kind)` or `{"start", "end", "label"}`. The labels must have
    `O`, and for each kind `B-` and `I-` (BIO), or `B-`, `I-`, `E-` and `S-` (BIOES). All tokens
    count.

    Args:
        backbone: the encoder.
        num_classes: number of classes.
        preprocessor: text to inputs; None to feed prepared arrays, with targets int
            `[batch, length]`.
        labels: names of the classes, `LABEL_0` and so on where not given.
        dropout: rate before the last layer; the architecture's own where not given.
    """

    head = "token_classifier"
    pipeline_tag = "token-classification"
    verb = "tag"
    has_token_outputs = True
    has_token_targets = True
    saved_settings = ("dropout",)
    labels = MutableArgument(checked_labels)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: TextPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        dropout: float | None = None,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        labels = labels_for(num_classes, labels or None)  # before the graph is built
        super().__init__(
            backbone,
            lambda outputs: backbone.token_classifier(outputs, num_classes, dropout),
            preprocessor,
            **kwargs,
        )
        self.num_classes = num_classes
        self.labels = labels
        self.dropout = dropout

    # --- from a checkpoint and back -----------------------------------------------------------

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        classes = class_arguments(checkpoint, TokenClassifier.head, given)
        return super().arguments_of(checkpoint, {}) | classes.arguments

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        misfit = classes_misfit(checkpoint, TokenClassifier.head, self.labels)
        return misfit or super().head_misfit(checkpoint)

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return label_fields(config, self.labels)

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return token_objective()

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        if class_weight is not None:
            raise InputError(
                "class_weight is given; TokenClassifier weighs the tokens of a text by its "
                "sample_weight alone"
            )
        return None

    def examples(self, x: Any, of_batch: bool = False) -> Sequence[Any] | None:
        """Return texts as strings, or as words where each is a list; None for a data set."""
        rows = values_of(x)
        rows = rows.tolist() if isinstance(rows, np.ndarray) else rows
        first = rows[0] if isinstance(rows, list | tuple) and rows else None
        if isinstance(first, targets.Words):
            return rows
        if isinstance(first, list | tuple | np.ndarray):
            return [targets.words_of(row, i) for i, row in enumerate(rows)]
        return super().examples(x, of_batch)

    def training_rows(
        self, examples: Sequence[Any], y: Any, sample_weight: Any
    ) -> tuple[Sequence[Any], Any, Any]:
        """Return the windows of texts, with class numbers and weights of the tokens of each."""
        classes_of = self._token_classes(examples, y)
        weights = weights_of(sample_weight, len(examples))
        windows = self._windows([_text(e, i) for i, e in enumerate(examples)], None)
        found = []
        for index, group in groupby(windows, lambda window: window.index):
            of_text = list(group)
            classes = classes_of(index, of_text)
            found += [targets.token_targets(window, classes) for window in of_text]
        numbers, counted = ([row[i] for row in found] for i in (0, 1))
        if weights is not None:
            owners = [window.index for window in windows]
            counted = [row * weights[i] for row, i in zip(counted, owners, strict=True)]
        return windows, numbers, counted

    def _token_classes(
        self, examples: Sequence[Any], y: Any
    ) -> Callable[[int, Sequence[Window]], dict[int, int]]:
        """Return a function from a text's index and windows to the classes of its tokens."""
        if examples and isinstance(examples[0], targets.Words):
            numbers = targets.word_labels(y, examples, self.labels)

            def of_words(index: int, windows: Sequence[Window]) -> dict[int, int]:
                first = targets.first_tokens(windows, examples[index])
                return {position: numbers[index][word] for position, word in first.items()}

            return of_words
        texts = [_text(e, i) for i, e in enumerate(examples)]
        spans = targets.character_spans(y, texts, self.labels)
        labels, outside = span_labels(self.labels), self.labels.index(OUTSIDE)
        return lambda index, windows: targets.span_classes(
            windows, texts[index], spans[index], labels, outside
        )

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            x = self.padded([texts[i] for i in indices])
            shape = x["token_ids"].shape
            numbers, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
            for row, i in enumerate(indices):
                numbers[row, : len(y[i])] = y[i]
                weights[row, : len(y[i])] = sample_weight[i]
            return x, numbers, weights

        return make

    # --- answers ------------------------------------------------------------------------------

    def checked_texts(self, texts: Sequence[Any]) -> list[str]:
        return [_text(text, i) for i, text in enumerate(texts)]

    @in_runtime
    def tag(
        self,
        texts: Any,
        aggregation: str = "simple",
        stride: int | None = None,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Any:
        """Return the entities of each text, as transformers' token-classification pipeline.

        Args:
            texts: one text, or a list of texts.
            aggregation: how tokens become entities. `"none"`: not at all, each token is one;
                `"simple"`: neighbouring tokens of one kind; `"first"`, `"average"`, `"max"`:
                neighbouring words of one kind, where a word has the label of its first token, of
                the mean of its tokens' scores, or of its token with the highest score.
            stride: tokens that neighbouring windows of a long text have in common; by default half
                of a window, at most 128.
            batch_size: size of a batch, in windows of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            For each text a list of `{"label", "text", "start", "end", "score"}`, where `start` and
            `end` are characters of the text, and `label` is the kind of entity without `B-` or
            `I-` (with it for `"none"`); for one text its list. Entities are without white space at
            their ends.

        Raises:
            InputError: `aggregation` is unknown, or `stride` as long as a window.
        """
        entities.check_aggregation(aggregation)
        given = [texts] if isinstance(texts, str) else texts_of(texts, "texts")
        given = [_text(text, i) for i, text in enumerate(given)]
        windows = self._windows(given, stride)
        logits = self._logits(windows, batch_size)
        scores: list[list[entities.TokenScores]] = [[] for _ in given]
        for window, rows in zip(windows, logits, strict=True):
            text = given[window.index]
            scores[window.index].append(self._scores(text, window, rows, aggregation))
        found = [
            entities.decode(text, of_text, self.labels, aggregation)
            for text, of_text in zip(given, scores, strict=True)
        ]
        return found[0] if isinstance(texts, str) else found

    def evaluate_entities(
        self, x: Any, y: Any, stride: int | None = None, batch_size: int = 32
    ) -> dict[str, Any]:
        """Return precision, recall and F1 of entities, by seqeval's definition.

        Args:
            x, y: texts with labels of their words or spans of characters, as `fit` takes them. The
                label of a word is that of its first token; spans are those of `tag`.
            stride: as of `tag`.
            batch_size: size of a batch, in windows of 64 tokens, as of `Task.predict`.

        Returns:
            `{"precision", "recall", "f1", "support", "labels"}`; see `span_scores` of entities.
        """
        examples = self.examples(x)
        if not examples:
            raise InputError(f"x is {shown(x)}; give a list of texts, or of lists of words")
        texts = [_text(e, i) for i, e in enumerate(examples)]
        if not isinstance(examples[0], targets.Words):
            true = targets.character_spans(y, texts, self.labels)
            found = self.tag(texts, stride=stride, batch_size=batch_size)
            predicted = [{(e["label"], e["start"], e["end"]) for e in row} for row in found]
            return span_scores(true, predicted)
        numbers = targets.word_labels(y, examples, self.labels)
        windows = self._windows(texts, stride)
        rows = zip(windows, self._logits(windows, batch_size), strict=True)
        named: list[list[list[str]]] = [[], []]
        for index, group in groupby(rows, lambda row: row[0].index):
            of_text = list(group)
            first = targets.first_tokens([window for window, _ in of_text], examples[index])
            best = with_most_context(of_text)
            pairs = [(numbers[index][word], int(best[p].argmax())) for p, word in first.items()]
            for side, row in enumerate(zip(*pairs, strict=True) if pairs else ((), ())):
                named[side].append([self.labels[number] for number in row])
        return entity_scores(*named)

    def _windows(self, texts: Sequence[str], stride: int | None) -> list[Window]:
        windows = encode_windows(inference.preprocessor_of(self), texts, stride)
        inference.check_vocabulary(self, windows)
        return windows

    def _logits(self, windows: Sequence[Window], batch_size: int) -> list[np.ndarray]:
        """Return the logits of each window's tokens, `[tokens, classes]`."""
        return self.map_outputs(lambda i, row: row[: len(windows[i])], windows, batch_size)

    def _scores(
        self, text: str, window: Window, logits: np.ndarray, aggregation: str
    ) -> entities.TokenScores:
        """Return the scores of the tokens of a window that are of the text."""
        of_text = [i for i, s in enumerate(window.sequence_ids) if s is not None]
        offsets = [window.offsets[i] for i in of_text]
        scores = softmax(logits[of_text].astype(np.float64))
        flags: Sequence[bool] = ()
        if aggregation not in entities.TOKEN_AGGREGATIONS:
            tokenizer = inference.preprocessor_of(self).tokenizer
            tokens = tokenizer.ids_to_tokens(window.ids[i] for i in of_text)
            marked = tokenizer.continuing_subword_prefix is not None
            flags = entities.subwords(text, tokens, offsets, marked, tokenizer.unk_token)
        return entities.TokenScores(scores, offsets, flags, window.is_first, window.is_last)


def _text(example: Any, index: int) -> str:
    if isinstance(example, targets.Words):
        return example.text
    if not isinstance(example, str):
        raise InputTypeError(
            f"text {index} is {shown(example)}, which would be read as a pair of texts; give one "
            "string; to train, a list of words for every text will do"
        )
    return example
