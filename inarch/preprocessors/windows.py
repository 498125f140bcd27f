"""Texts longer than a model's rows, cut into overlapping windows.

Windows are those of the tokenizers library, and so of transformers' pipelines, with the same stride
(its `Encoding.truncate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from inarch.errors import InputError
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import Text
from inarch.text import Encoding
from inarch.validation import check_count

# The overlap where none is given: half a window's text, and at most this many tokens, which is what
# SQuAD's models are trained and used with (google-research/bert, run_squad.py, doc_stride).
MAX_DEFAULT_STRIDE = 128


@dataclass(frozen=True)
class Window:
    """Row of tokens: a part of a text, or of the second text of a pair, wrapped as the whole is.

    All lists have one entry per token of the row. A `TextPreprocessor` pads windows as it does
    encodings.

    Attributes:
        index: index of the text in the list.
        ids: token ids.
        segment_ids: 0 for the first text and its special tokens, 1 for the second.
        sequence_ids: 0 for the first text, 1 for the second, None for a special token.
        offsets: `(start, end)` in characters of the text that the token came from.
        word_ids: index of the word within its text; None for a special token.
        positions: indices of the tokens in the encoding of the whole text.
        is_first, is_last: whether it has the beginning of the text that is cut, and its end.
    """

    index: int
    ids: list[int]
    segment_ids: list[int]
    sequence_ids: list[int | None]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    positions: list[int]
    is_first: bool
    is_last: bool

    def __len__(self) -> int:
        return len(self.ids)


def encode_windows(
    preprocessor: TextPreprocessor,
    texts: Sequence[Text],
    stride: int | None = None,
    cut: int = 1,
    first_index: int = 0,
) -> list[Window]:
    """Return the windows of texts, or of pairs of which one text is cut, in order.

    Rows have at most `preprocessor.sequence_length` tokens. Offsets are of the texts as given,
    whether or not the preprocessor lower-cases them.

    Args:
        stride: tokens that neighbouring windows of a text have in common; by default half of what
            a window holds of it, at most 128.
        cut: which text of a pair is cut, 0 or 1.
        first_index: index of the first text, where they are a part of a list.

    Raises:
        InputError: `stride` leaves a window nothing new; or so do the special tokens and the other
            text.
    """
    lower = preprocessor.lowercase
    given = [_lowered(text) for text in texts] if lower else texts
    encodings = preprocessor.tokenizer.encode_batch(given, allow_special=preprocessor.allow_special)
    found = windows(encodings, preprocessor.sequence_length, stride, cut, first_index)
    if not lower:
        return found
    return [_before_lowering(window, texts[window.index - first_index]) for window in found]


def windows(
    encodings: Sequence[Encoding],
    length: int,
    stride: int | None = None,
    cut: int = 1,
    first_index: int = 0,
) -> list[Window]:
    """Cut whole encodings into windows of at most `length` tokens; see `encode_windows`."""
    if stride is not None:
        check_count("stride", stride, 0)
    return [
        window for index, encoding in enumerate(encodings, first_index)
        for window in _cut(index, encoding, length, stride, cut)
    ]  # fmt: skip


def with_most_context(rows: Iterable[tuple[Window, np.ndarray]]) -> dict[int, np.ndarray]:
    """Return the logits of each token, by its position, of the window with most text around it."""
    best: dict[int, tuple[float, np.ndarray]] = {}
    for window, logits in rows:
        of_text = [i for i, s in enumerate(window.sequence_ids) if s is not None]
        for i in of_text:
            before = np.inf if window.is_first else i - of_text[0]
            after = np.inf if window.is_last else of_text[-1] - i
            position, context = window.positions[i], min(before, after)
            if position not in best or context > best[position][0]:
                best[position] = context, logits[i]
    return {position: row for position, (_, row) in best.items()}


def _cut(index: int, encoding: Encoding, length: int, stride: int | None, cut: int) -> list[Window]:
    sequences, positions = encoding.sequence_ids, [*range(len(encoding))]
    if len(positions) <= length:
        return [Window(
            index, encoding.ids, encoding.segment_ids, sequences, encoding.offsets,
            encoding.word_ids, positions, is_first=True, is_last=True,
        )]  # fmt: skip
    cut = min(cut, max((s for s in sequences if s is not None), default=0))
    text = [i for i, s in enumerate(sequences) if s == cut]
    room = length - (len(sequences) - len(text))
    ranges = _ranges(len(text), room, stride, _described(index, 1 in sequences, room, length))
    # The text that is cut is in one piece, so that what isn't is before it or after it.
    begin, end = (text[0], text[-1] + 1) if text else (0, 0)
    columns: tuple[Any, ...] = (
        encoding.ids, encoding.segment_ids, sequences, encoding.offsets, encoding.word_ids
    )  # fmt: skip
    found = []
    for part in ranges:
        positions = [*range(begin), *(begin + i for i in part), *range(end, len(sequences))]
        ids, segment_ids, sequence_ids, offsets, word_ids = (
            [column[i] for i in positions] for column in columns
        )
        ends = part.start == 0, part.stop == len(text)
        found.append(
            Window(index, ids, segment_ids, sequence_ids, offsets, word_ids, positions, *ends)
        )
    return found


def _ranges(count: int, room: int, stride: int | None, described: str) -> list[range]:
    """Return the tokens of each window: `room` of `count`, `stride` of them those of the last."""
    if room < 1:
        raise InputError(f"{described}; give a longer sequence_length")
    stride = min(room // 2, MAX_DEFAULT_STRIDE) if stride is None else stride
    if stride >= room:
        raise InputError(
            f"{described}, and stride={stride} of them would be of the window before; give a "
            "smaller stride, or a longer sequence_length"
        )
    starts = range(0, max(count - stride, 1), room - stride)
    return [range(start, min(start + room, count)) for start in starts]


def _described(index: int, is_pair: bool, room: int, length: int) -> str:
    other = " and the other text" if is_pair else ""
    return (
        f"text {index} is longer than sequence_length={length}, of which the special tokens{other} "
        f"leave {max(room, 0)} for a window of it"
    )


def _lowered(text: Text) -> Text:
    return text.lower() if isinstance(text, str) else (text[0].lower(), text[1].lower())


def _before_lowering(window: Window, text: Text) -> Window:
    """Return a window with offsets in a text, for one that has them in the lower-cased text."""
    texts = (text,) if isinstance(text, str) else text
    if all(len(t.lower()) == len(t) for t in texts):
        return window
    # A letter may become two, such as I with a dot above. None becomes part of another's.
    ends = [list(accumulate((len(c.lower()) for c in t), initial=0)) for t in texts]
    places = [[i for i, (a, b) in enumerate(pairwise(e)) for _ in range(b - a)] for e in ends]
    offsets = [
        (start, end) if number is None or start == end
        else (places[number][start], places[number][end - 1] + 1)
        for number, (start, end) in zip(window.sequence_ids, window.offsets, strict=True)
    ]  # fmt: skip
    return replace(window, offsets=offsets)
