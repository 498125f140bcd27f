"""Targets of question answering: places of answers in characters, and in tokens of a window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inarch.data.columns import is_missing, values_of
from inarch.errors import InputError, InputTypeError
from inarch.preprocessors.windows import Window
from inarch.training.class_targets import is_whole
from inarch.validation import shown

Span = tuple[int, int]
FORMS = (
    '(start, end) in characters, {"start": start, "text": text} or {"answer_start": start, "text": '
    "text}, or None where it has no answer"
)


def answer_places(y: Any, contexts: Sequence[str]) -> list[Span | None]:
    """Return the place of each answer in its context, `(start, end)` in characters, or None.

    Args:
        y: for each context `(start, end)`, or `{"start", "text"}`, or None where there is no
            answer; or `{"answer_start", "text"}`, as SQuAD has it: of lists of several answers the
            first, as in google-research/bert, run_squad.py, and of empty ones none.

    Raises:
        InputTypeError: a target is none of these.
        InputError: there are other numbers of targets and contexts; a span is empty or goes beyond
            its context; or the context has another text there.
    """
    if y is None:
        raise InputError(f"QuestionAnswerer needs a target for each question: give y, each {FORMS}")
    y = values_of(y)
    targets = y.tolist() if isinstance(y, np.ndarray) else y
    if isinstance(targets, str | Mapping) or not isinstance(targets, Sequence):
        raise InputTypeError(f"y is {shown(y)}; give a list with one target for each question")
    if len(targets) != len(contexts):
        raise InputError(f"there are {len(contexts)} questions and {len(targets)} targets")
    pairs = zip(targets, contexts, strict=True)
    return [_place(target, context, i) for i, (target, context) in enumerate(pairs)]


def _place(target: Any, context: str, index: int) -> Span | None:
    if target is None or is_missing(target):
        return None
    start: Any = None
    end: Any = None
    text: Any = None
    if isinstance(target, Mapping) and {*target} >= {"answer_start", "text"}:
        texts, starts = squad_lists(target, index)
        if not texts:
            return None
        start, text = starts[0], texts[0]
        end = start + len(text) if is_whole(start) and isinstance(text, str) else None
    elif isinstance(target, Mapping) and {*target} >= {"start", "text"}:
        start, text = target["start"], target["text"]
        end = start + len(text) if is_whole(start) and isinstance(text, str) else None
    elif isinstance(target, list | tuple) and len(target) == 2:
        start, end = target
    if not is_whole(start) or not is_whole(end):
        raise InputTypeError(f"the target of question {index} is {shown(target)}; give {FORMS}")
    if not 0 <= start < end <= len(context):
        raise InputError(
            f"the target of question {index} is {shown(target)}, which is no span of the "
            f"{len(context)} characters of its context; start is counted from 0, and end is one "
            "beyond the last"
        )
    if text is not None and context[start:end] != text:
        raise InputError(
            f"the target of question {index} has the text {text!r} at {start}, and the context has "
            f"{context[start:end]!r} there"
        )
    return int(start), int(end)


def squad_lists(target: Mapping[str, Any], index: int) -> tuple[list[Any], list[Any]]:
    """Return texts and starts of the answers of a question, as SQuAD has them.

    Args:
        target: `{"text", "answer_start"}`, one of each or lists.
        index: number of the question, for errors.

    Raises:
        InputError: there are other numbers of texts and starts.
    """
    found = [
        [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        for value in (target["text"], target["answer_start"])
    ]
    if len(found[0]) != len(found[1]):
        raise InputError(
            f"the target of question {index} is {shown(target)}, with {len(found[0])} texts and "
            f"{len(found[1])} starts; give one start for each text"
        )
    return found[0], found[1]


def answer_tokens(windows: Sequence[Window], place: Span, context: str, index: int) -> Span:
    """Return the first and the last token of an answer, as positions in the whole encoding.

    Args:
        windows: all windows of the context.
        place: the answer's start and end, in characters.
        index: number of the question, for errors.

    Raises:
        InputError: no token is in the span; or it begins or ends within a token, so that no answer
            of the model could be it.
    """
    start, end = place
    inside = {
        position: offsets
        for window in windows
        for position, sequence, offsets in zip(
            window.positions, window.sequence_ids, window.offsets, strict=True
        )
        if sequence == 1 and offsets[0] < min(end, offsets[1]) and offsets[1] > start
    }
    if not inside:
        raise InputError(
            f"the answer {context[start:end]!r} of question {index} has no token; give another "
            "span, or None"
        )
    first, last = min(inside), max(inside)
    begin, stop = inside[first][0], inside[last][1]
    if context[begin:start].strip() or context[end:stop].strip():
        raise InputError(
            f"the answer {context[start:end]!r} of question {index} begins or ends within a token, "
            f"so no answer can be it; give ({begin}, {stop}), {context[begin:stop]!r}, or leave "
            "the question out"
        )
    return first, last


def window_target(window: Window, tokens: Span | None, null: int | None) -> Span | None:
    """Return the first and the last token of an answer in a window's row.

    Args:
        tokens: of the answer, as positions in the whole encoding; None where there is no answer.
        null: the token of the row that stands for no answer, which is the target where the window
            hasn't the whole answer (google-research/bert, run_squad.py); None without one.
    """
    if tokens is not None and {*tokens} <= {*window.positions}:
        first, last = map(window.positions.index, tokens)
        return first, last
    return None if null is None else (null, null)
