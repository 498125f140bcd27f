"""Extractive question answering: the place in a context that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import keras
import numpy as np

from inarch.answers.answer_changes import class_changes
from inarch.answers.answer_spans import Readout, best_answers
from inarch.answers.labels import class_names, label_fields, numbered
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.models.backbone import Backbone
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import single_texts, texts_of
from inarch.preprocessors.text_source import TextSource
from inarch.preprocessors.windows import Window
from inarch.tasks.inference import preprocessor_of, window_chunks
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.settings_file import read_settings
from inarch.tasks.task import Task
from inarch.training.answer_targets import answer_places, answer_tokens, window_target
from inarch.training.datasets import weights_of
from inarch.training.objective import Objective
from inarch.training.training_batches import MakeBatch
from inarch.validation import check_count, check_flag, shown

ops: Any = keras.ops  # Typed, every result may be None.

# Tokens of a window where a folder records none, as SQuAD's models are trained
# (google-research/bert, run_squad.py, max_seq_length).
WINDOW = 384
# Logit of padding, which no span begins or ends at; a number that float16 has too.
PADDING_LOGIT = -1e4


@keras.saving.register_keras_serializable(package="inarch")
def span_cross_entropy(y_true: Any, y_pred: Any) -> Any:
    """Return the loss `[rows]` of spans: the mean cross entropy of first and of last tokens.

    Args:
        y_true: int `[rows, 2]`, the first and the last token of each row's answer.
        y_pred: logits `[rows, length, 2]`.
    """
    logits = ops.transpose(y_pred, (0, 2, 1))
    tokens = ops.cast(y_true, "int32")
    losses = ops.sparse_categorical_crossentropy(tokens, logits, from_logits=True)
    return ops.mean(losses, axis=-1)


@keras.saving.register_keras_serializable(package="inarch")
def span_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return `[rows]` 1 where the likeliest first and last token are the answer's, else 0."""
    right = ops.equal(ops.argmax(y_pred, axis=1), ops.cast(y_true, "int32"))
    return ops.cast(ops.all(right, axis=-1), "float32")


@dataclass(frozen=True)
class TrainingRow:
    """Token ids and segments of a window, without what only answers need."""

    ids: np.ndarray
    segment_ids: np.ndarray


class QuestionAnswerer(Task):
    """Logits `[batch, length, 2]`: of each token to be an answer's first one, and its last.

    Inputs are pairs `(question, context)`. A context that is too long for a row is read in windows
    that overlap (Devlin et al., 2018, section 4.2; google-research/bert, run_squad.py).

    Training on raw text takes for each pair the place of its answer, `(start, end)` in characters
    of the context or `{"start", "text"}`, or None where it has no answer (SQuAD 2). Each window is
    a row; one without the whole answer is trained to give no answer, the tokenizer's CLS token.

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays, with targets int `[batch, 2]`.
        dropout: rate before the last layer; the architecture's own where not given.
    """

    head = "question_answering"
    pipeline_tag = "question-answering"
    has_token_outputs = True
    saved_settings = ("dropout",)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        dropout: float | None = None,
        **kwargs: Any,
    ):
        rate = {} if dropout is None else {"dropout": dropout}

        def logits(outputs: Any) -> Any:
            mask = ops.expand_dims(backbone.input["padding_mask"] > 0, -1)
            return ops.where(mask, backbone.question_answering(outputs, **rate), PADDING_LOGIT)

        super().__init__(backbone, logits, preprocessor, **kwargs)
        self.dropout = dropout

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Any, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        made = super().preprocessor_of(checkpoint, arguments, source)
        if read_settings(source.folder).sequence_length is None:
            made.sequence_length = min(made.sequence_length, WINDOW)
        return made

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        # transformers counts the outputs of this head, too, by the config's classes.
        try:
            two = len(class_names(config)) == 2
        except ConfigError:
            two = False  # the names of another head's classes, of which nothing is read here
        return {} if two else label_fields(config, numbered(2))

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return Objective(span_cross_entropy, metrics=[span_accuracy])

    def training_rows(
        self, examples: Sequence[Any], y: Any, sample_weight: Any
    ) -> tuple[Sequence[Any], Any, Any]:
        """Return the windows of `(question, context)` pairs, with first and last token of each."""
        pairs = checked_question_pairs(examples)
        places = answer_places(y, [context for _, context in pairs])
        weights = weights_of(sample_weight, len(pairs))
        rows: list[TrainingRow] = []
        targets: list[tuple[int, int]] = []
        owners: list[int] = []
        found = chain.from_iterable(window_chunks(self, pairs))
        for index, group in groupby(found, lambda window: window.index):
            windows, place = list(group), places[index]
            tokens = place and answer_tokens(windows, place, pairs[index][1], index)
            for window in windows:
                target = window_target(window, tokens, self._null_token(window))
                if target is not None:
                    rows.append(TrainingRow(np.array(window.ids), np.array(window.segment_ids)))
                    targets.append(target)
                    owners.append(index)
                elif tokens is None:
                    raise InputError(
                        f"question {index} has no answer, for which the tokenizer needs a CLS "
                        "token, and it has none; leave the question out"
                    )
        if not rows:
            raise InputError(
                "no window holds a whole answer; give a longer preprocessor.sequence_length"
            )
        return rows, np.array(targets, np.int32), None if weights is None else weights[owners]

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        return self.collate_rows(texts, y, sample_weight)

    def _null_token(self, window: Window) -> int | None:
        """Return the token of a row that stands for no answer; None without one."""
        null = preprocessor_of(self).tokenizer.cls_token_id
        return window.ids.index(null) if null in window.ids else None

    def answer_changes(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        # Of each text the tokens are the classes, of an answer's first one and of its last.
        is_padding = ~before.any(-1, keepdims=True)
        one, two = (np.where(is_padding, PADDING_LOGIT, x) for x in (before, after))
        return class_changes(one.swapaxes(1, 2), two.swapaxes(1, 2))

    # --- answering ----------------------------------------------------------------------------

    def answers(self, examples: Sequence[Any], **options: Any) -> Sequence[Any]:
        """Return the answer of each (question, context) pair of a list."""
        pairs = checked_question_pairs(texts_of(examples, "examples"))
        questions, contexts = ([pair[side] for pair in pairs] for side in (0, 1))
        return self.answer(questions, contexts, **options)

    @in_runtime
    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        top_k: int = 1,
        stride: int | None = None,
        max_answer_length: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Any:
        """Return the place in a context that answers a question, as transformers 4's pipeline.

        Answers and scores are those of its question-answering pipeline (release 4.57). A score is
        the probability of the answer's first token times that of its last, within a window; those
        of equal texts are added, so that it can be above 1.

        Args:
            question: one question, or one for each context.
            context: one text, or one for each question.
            top_k: how many answers to return for each question.
            stride: tokens that neighbouring windows of a context have in common; by default half of
                what a window holds of it, at most 128. A window has
                `preprocessor.sequence_length` tokens, those of the question included.
            max_answer_length: most tokens of an answer.
            handle_impossible_answer: whether no answer, `""`, is among the answers.
            align_to_words: whether an answer is widened to whole words.
            batch_size, runtime: as of `Task.predict`; windows of 64 tokens are counted.

        Returns:
            `{"answer", "start", "end", "score"}`, where `start` and `end` are characters of the
            context; for `top_k` above 1 a list of them, best first, shorter where the context has
            fewer. For a list of questions or contexts, a list of these. A context without a token
            has no answer, `""`.

        Raises:
            InputError: a question is empty, or leaves no room for a context; there are other
                numbers of questions and contexts; or an argument has a value that can't be used.
        """
        check_count("top_k", top_k)
        check_count("max_answer_length", max_answer_length)
        check_flag("handle_impossible_answer", handle_impossible_answer)
        check_flag("align_to_words", align_to_words)
        pairs = question_context_pairs(question, context)
        if not pairs:
            self._readouts([], batch_size)  # where batch size and runtime are checked
        found = []
        for windows in window_chunks(self, pairs, stride):
            readouts = self._readouts(windows, batch_size)
            for index, group in groupby(zip(windows, readouts, strict=True), lambda p: p[0].index):
                found.append(
                    best_answers(
                        pairs[index][1], [readout for _, readout in group], top_k,
                        max_answer_length, handle_impossible_answer, align_to_words,
                    )
                )  # fmt: skip
        results = [answers[0] for answers in found] if top_k == 1 else found
        return results[0] if isinstance(question, str) and isinstance(context, str) else results

    def checked_texts(self, texts: Sequence[Any]) -> list[tuple[str, str]]:
        return checked_question_pairs(texts)

    def _readouts(self, windows: Sequence[Window], batch_size: int) -> list[Readout]:
        null = preprocessor_of(self).tokenizer.cls_token_id
        return self.map_outputs(
            lambda i, logits: Readout.of_window(windows[i], logits, null), windows, batch_size
        )


def checked_question_pairs(examples: Sequence[Any]) -> list[tuple[str, str]]:
    """Return examples as pairs of question and context; InputError for one that is none."""
    for index, example in enumerate(examples):
        if isinstance(example, str) or len(example) != 2:
            what = "one text" if isinstance(example, str) else f"{len(example)} texts"
            raise InputTypeError(
                f"example {index} is {what}, {shown(example)}; give (question, context)"
            )
        if not example[0].strip():
            raise InputError(f"question {index} is empty; leave it out")
    return list(examples)


def question_context_pairs(question: Any, context: Any) -> list[tuple[str, str]]:
    """Return pairs of questions and contexts, of which either may be one text for all."""
    given = {"question": question, "context": context}
    refusal = "{name} {{index}} is a pair of texts; give one text"
    lists = {
        n: single_texts(v, n, refusal.format(name=n))
        for n, v in given.items() if not isinstance(v, str)
    }  # fmt: skip
    counts = {name: len(texts) for name, texts in lists.items()}
    if len({*counts.values()}) > 1:
        raise InputError(
            f"there are {counts['question']} questions and {counts['context']} contexts; give one "
            "context for each question, or one for all"
        )
    count = next(iter(counts.values()), 1)
    questions, contexts = (lists.get(name, [text] * count) for name, text in given.items())
    return checked_question_pairs(list(zip(questions, contexts, strict=True)))
