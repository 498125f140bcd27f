"""Targets of a token classifier: labels of words, or spans of characters, as labels of tokens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from inarch.data.columns import values_of
from inarch.errors import InputError, InputTypeError
from inarch.metrics.entities import Span
from inarch.metrics.tag_scheme import check_scheme, span_labels
from inarch.preprocessors.windows import Window
from inarch.training.class_targets import find_class, is_whole, known_classes
from inarch.validation import shown

SPAN_FORM = '(start, end, label) in characters, or {"start", "end", "label"}'


@dataclass(frozen=True)
class Words:
    """A text that is given as words.

    Attributes:
        text: the words with a space between any two.
        places: `(start, end)` of each in the text.
    """

    text: str
    places: tuple[tuple[int, int], ...]


def words_of(words: Sequence[Any], index: int) -> Words:
    """Return the words of text number `index` as one text.

    Raises:
        InputTypeError: they are no list, or one isn't a string.
        InputError: one is empty, or has nothing but white space.
    """
    if isinstance(words, str) or not isinstance(words, Sequence | np.ndarray):
        raise InputTypeError(
            f"text {index} is {shown(words)}, and the first one is a list of words; give a list of "
            "words for each"
        )
    places, end = [], -1
    for number, word in enumerate(words):
        if not isinstance(word, str):
            raise InputTypeError(f"word {number} of text {index} is {shown(word)}; give a string")
        if not word.strip():
            raise InputError(f"word {number} of text {index} is empty; leave it and its label out")
        places.append((end + 1, end + 1 + len(word)))
        end += 1 + len(word)
    return Words(" ".join(words), tuple(places))


# --- labels ------------------------------------------------------------------------------------


def word_labels(y: Any, texts: Sequence[Words], labels: Sequence[str]) -> list[list[int]]:
    """Return the class number of each word of each text.

    Args:
        y: for each text the labels of its words, by name or number.

    Raises:
        InputError: there are other numbers of texts or labels, or a label is no class; or labels
            clash (`check_scheme`).
    """
    check_scheme(labels)
    rows = _rows(y, len(texts))
    numbers = {label: i for i, label in enumerate(labels)}
    found = []
    for index, (row, words) in enumerate(zip(rows, texts, strict=True)):
        if len(row) != len(words.places):
            raise InputError(
                f"text {index} has {len(words.places)} words and {len(row)} labels; give one for "
                "each word"
            )
        found.append([_number(label, i, index, numbers) for i, label in enumerate(row)])
    return found


def _rows(y: Any, count: int) -> list[list[Any]]:
    if y is None:
        raise InputError(
            "TokenClassifier needs labels: give y, a list for each text, of one label for each of "
            f"its words, or of spans, each {SPAN_FORM}"
        )
    rows = values_of(y)
    rows = rows.tolist() if hasattr(rows, "tolist") else rows
    if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence):
        raise InputTypeError(f"y is {shown(y)}; give a list for each text")
    if len(rows) != count:
        raise InputError(f"there are {count} texts and {len(rows)} lists of labels")
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    for index, row in enumerate(rows):
        if isinstance(row, str | Mapping) or not isinstance(row, Sequence):
            raise InputTypeError(f"y has {shown(row)} for text {index}; give a list")
    return [list(row) for row in rows]


def _number(label: Any, word: int, index: int, numbers: Mapping[str, int]) -> int:
    number = find_class(label, numbers)
    if number is None:
        raise InputError(
            f"label {shown(label)} of word {word} of text {index} is none of "
            f"{known_classes(numbers)}, nor the number of one"
        )
    return number


# --- spans -------------------------------------------------------------------------------------


def character_spans(y: Any, texts: Sequence[str], labels: Sequence[str]) -> list[list[Span]]:
    """Return the spans of each text, checked and in order.

    Args:
        y: for each text a list of spans, each `(start, end, label)` or a mapping with these; the
            label is the kind of an entity, such as `PER`.

    Raises:
        InputTypeError: a span has another form.
        InputError: a span goes beyond its text, has white space at an end, overlaps another, or is
            of no kind that `labels` have.
    """
    kinds = span_labels(labels)
    rows = _rows(y, len(texts))
    found = []
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        spans = sorted((_span(s, text, index, kinds) for s in row), key=lambda s: s[1:])
        for first, second in pairwise(spans):
            if second[1] < first[2]:
                raise InputError(
                    f"the spans {first[1:]} {first[0]!r} and {second[1:]} {second[0]!r} of text "
                    f"{index} overlap, and a token has one label; leave one of them out"
                )
        found.append(spans)
    return found


def _span(span: Any, text: str, index: int, kinds: Mapping[str, Any]) -> Span:
    if isinstance(span, Mapping) and {*span} >= {"start", "end", "label"}:
        start, end, label = span["start"], span["end"], span["label"]
    elif isinstance(span, list | tuple) and len(span) == 3:
        start, end, label = span
    else:
        raise InputTypeError(f"text {index} has the span {shown(span)}; give {SPAN_FORM}")
    if not is_whole(start) or not is_whole(end):
        raise InputTypeError(f"text {index} has the span {shown(span)}; give {SPAN_FORM}")
    if not 0 <= start < end <= len(text):
        raise InputError(
            f"text {index} has the span {shown(span)}, which is no part of its {len(text)} "
            "characters; start is counted from 0, and end is one beyond the last"
        )
    inner = text[start:end]
    if inner != inner.strip():
        raise InputError(
            f"text {index} has the span {shown(span)}, {inner!r}, with white space at an end; "
            "leave that out of the span"
        )
    if not isinstance(label, str) or label not in kinds:
        known = ", ".join(map(repr, kinds))
        raise InputError(
            f"text {index} has a span with the label {shown(label)}; the kinds of entities are "
            f"{known}"
        )
    return label, int(start), int(end)


# --- tokens ------------------------------------------------------------------------------------

# In all windows of a text a token is known by its position in the encoding of the whole.


def first_tokens(windows: Sequence[Window], words: Words) -> dict[int, int]:
    """Return the position of the first token of each word that has one, with the word's number."""
    starts = [start for start, _ in words.places]
    found: dict[int, int] = {}
    for position, (start, _) in _places(windows, words.text).items():
        word = bisect_right(starts, start) - 1
        if word >= 0 and start < words.places[word][1]:
            found.setdefault(word, position)
    return {position: word for word, position in found.items()}


def span_classes(
    windows: Sequence[Window],
    text: str,
    spans: Sequence[Span],
    labels: Mapping[str, Mapping[str, int]],
    outside: int,
) -> dict[int, int]:
    """Return the class of each token of a text, by its position.

    Args:
        windows: all windows of the text.
        spans: those of the text, from `character_spans`.
        labels: their classes, from `span_labels`.
        outside: class of a token in no span.

    Raises:
        InputError: a span begins or ends within a token, or has none.
    """
    places = _places(windows, text)
    found = dict.fromkeys(places, outside)
    starts = [start for _, start, _ in spans]
    tokens: dict[Span, list[int]] = {span: [] for span in spans}
    for position, (start, end) in places.items():
        span = spans[bisect_left(starts, end) - 1] if spans and starts[0] < end else None
        if span and span[2] > start:
            _check_inside((start, end), span, text, windows[0].index)
            tokens[span].append(position)
    for span, positions in tokens.items():
        if not positions:
            kind, start, end = span
            raise InputError(
                f"text {windows[0].index} has the span ({start}, {end}, {kind!r}), "
                f"{text[start:end]!r}, of which the tokenizer leaves nothing; leave it out"
            )
        for position in positions:
            ends = position == positions[0], position == positions[-1]
            found[position] = _class_within(labels[span[0]], *ends)
    return found


def token_targets(window: Window, classes: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return class numbers and weights of a row, int32 and float32 `[tokens]`.

    Args:
        classes: class of each token that has one, by its position; others have the weight 0.
    """
    targets = np.array([classes.get(p, 0) for p in window.positions], np.int32)
    weights = np.array([p in classes for p in window.positions], np.float32)
    return targets, weights


def _places(windows: Sequence[Window], text: str) -> dict[int, tuple[int, int]]:
    """Return the place of each token in the text, without white space at its ends, by position."""
    found = {}
    for window in windows:
        rows = zip(window.positions, window.offsets, window.sequence_ids, strict=True)
        for position, (start, end), sequence in rows:
            inner = text[start:end]
            if sequence is not None and inner.strip():
                start += len(inner) - len(inner.lstrip())
                found[position] = start, start + len(inner.strip())
    return found


def _check_inside(place: tuple[int, int], span: Span, text: str, index: int) -> None:
    kind, start, end = span
    if place[0] < start or place[1] > end:
        raise InputError(
            f"text {index} has the span ({start}, {end}, {kind!r}), {text[start:end]!r}, which "
            f"begins or ends within the token {text[slice(*place)]!r} {place}; move its ends to "
            "those of tokens, or leave it out"
        )


def _class_within(numbers: Mapping[str, int], is_first: bool, is_last: bool) -> int:
    """Return the class of a token of a span."""
    if "" in numbers:
        return numbers[""]
    if "E" in numbers and is_last:
        return numbers["S" if is_first else "E"]
    return numbers["B" if is_first else "I"]
