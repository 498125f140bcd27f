"""Answers to a question from the logits of the windows of its context.

Source: transformers 4.57, pipelines/question_answering.py, whose answers and scores these are. That
pipeline also counts spans that begin after their end, with a score of 0, where a context has fewer
spans than answers to return; here there are fewer answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.preprocessors.windows import Window
from inarch.runtime.forward import softmax

# Candidates of a window for each answer, and in addition: of those that are widened to whole words
# several become one (transformers, `pre_topk`).
CANDIDATES_PER_ANSWER, MORE_CANDIDATES = 2, 10


@dataclass(frozen=True)
class Readout:
    """Logits of a window, and where its tokens come from.

    Attributes:
        logits: float `[tokens, 2]`, of an answer's first token and of its last.
        in_context: bool `[tokens]`, the tokens of the context, which an answer can have.
        is_null: bool `[tokens]`, the tokens that stand for no answer (CLS).
        offsets: start and end of each token in characters of its text.
        word_ids: index of each token's word in its text; None where it is of none.
    """

    logits: np.ndarray
    in_context: np.ndarray
    is_null: np.ndarray
    offsets: Sequence[tuple[int, int]]
    word_ids: Sequence[int | None]

    @classmethod
    def of_window(cls, window: Window, logits: np.ndarray, null_id: int | None) -> Readout:
        """Return the readout of a window of a pair (question, context).

        Args:
            logits: float `[tokens or more, 2]`.
            null_id: id of the token that stands for no answer; None without one.
        """
        return cls(
            logits[: len(window)],
            np.array([sequence == 1 for sequence in window.sequence_ids]),
            np.array([token == null_id for token in window.ids]),
            window.offsets,
            window.word_ids,
        )


def token_spans(
    readout: Readout, count: int, max_answer_length: int
) -> tuple[list[tuple[int, int, float]], float]:
    """Return the likeliest spans of tokens of a window, best first, and the score of no answer.

    A span's score is the probability of its first token times that of its last, each of a softmax
    over the context and the tokens that stand for no answer (Devlin et al., 2018, section 4.2). No
    answer is the span of the row's first token alone.

    Args:
        count: spans to return, where there are as many.
        max_answer_length: most tokens of a span.

    Returns:
        `[(first, last, score), ...]`, the last token included; and a score, 0 where the row's first
        token doesn't stand for no answer.
    """
    read = readout.in_context | readout.is_null
    if not read.any():
        return [], 0.0
    scores = softmax(np.where(read, readout.logits.T.astype(np.float64), -np.inf))
    null = float(scores[0, 0] * scores[1, 0])
    width = min(max_answer_length, len(read))
    last = _last_tokens(len(read), width)
    starts, ends = np.where(readout.in_context, scores, np.nan)  # NaN where no span is
    products = (starts[:, None] * np.concatenate([ends, [np.nan]])[last]).ravel()
    best = (-products).argsort(kind="stable")[:count]
    columns = best // width, last.ravel()[best], products[best]
    found = zip(*(column.tolist() for column in columns), strict=True)
    return [span for span in found if not math.isnan(span[2])], null


@functools.lru_cache(maxsize=8)
def _last_tokens(tokens: int, width: int) -> np.ndarray:
    """Return the last tokens of the spans from each token, int `[tokens, width]`.

    It is `tokens` for what would end beyond them. Most windows are of one length.
    """
    return np.minimum(np.arange(tokens)[:, None] + np.arange(width), tokens)


def character_span(
    readout: Readout, first: int, last: int, align_to_words: bool
) -> tuple[int, int]:
    """Return start and end of a span of tokens, in characters of the context.

    Args:
        first, last: its tokens.
        align_to_words: whether a word of which it has a part belongs to it as a whole, as far as
            the window has it.
    """
    if align_to_words:
        first, last = _word_of(readout, first)[0], _word_of(readout, last)[1]
    return readout.offsets[first][0], readout.offsets[last][1]


def _word_of(readout: Readout, token: int) -> tuple[int, int]:
    """Return the first and the last token of a token's word."""
    word = readout.word_ids[token]
    if word is None:
        return token, token
    first = last = token
    while first and readout.word_ids[first - 1] == word and readout.in_context[first - 1]:
        first -= 1
    end = len(readout.word_ids) - 1
    while last < end and readout.word_ids[last + 1] == word and readout.in_context[last + 1]:
        last += 1
    return first, last


def best_answers(
    context: str,
    windows: Iterable[Readout],
    top_k: int,
    max_answer_length: int = 15,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
) -> list[dict[str, Any]]:
    """Return the `top_k` answers in a context, best first, from the logits of its windows.

    The scores of spans with the same text, whatever its case, are added, and the first of them
    gives the place: that of the earliest window, and there the likeliest. So a score may be above 1
    where windows have tokens in common.

    Returns:
        `{"answer", "start", "end", "score"}`, where `start` and `end` are characters of the
        context. No answer is `""` from 0 to 0; its score is the lowest of all windows. It is among
        the answers with `handle_impossible_answer`, and is the only one where there is no span.
    """
    count = top_k
    if align_to_words:
        count = CANDIDATES_PER_ANSWER * top_k + MORE_CANDIDATES
    answers: dict[str, dict[str, Any]] = {}
    no_answer = 1.0
    for readout in windows:
        spans, null = token_spans(readout, count, max_answer_length)
        no_answer = min(no_answer, null)
        for first, last, score in spans:
            start, end = character_span(readout, first, last, align_to_words)
            text = context[start:end]
            known = answers.setdefault(
                text.lower(), {"answer": text, "start": start, "end": end, "score": 0.0}
            )
            known["score"] += score
    found = list(answers.values())
    if handle_impossible_answer or not found:
        found.append({"answer": "", "start": 0, "end": 0, "score": no_answer})
    return sorted(found, key=lambda answer: -answer["score"])[:top_k]
