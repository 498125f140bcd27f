"""Batches of texts from `TextLines`, packed to the length of a sequence."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from inarch.data.text_lines import TextLines, shuffled
from inarch.errors import InputError
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.text import Encoding
from inarch.training.datasets import default_batch_size
from inarch.validation import shown

if TYPE_CHECKING:
    from inarch.tasks.task import Task

# Lines that are tokenized at once.
CHUNK = 256


def open_lines(task: Task, x: Any, batch_size: int | None, shuffle: bool) -> Any:
    """Return the batches of a `TextLines`, or of a path; anything else as it is.

    Raises:
        InputError: the task needs a target for each text; the path leads to no file; or there is
            no text.
    """
    if task.is_self_supervised and isinstance(x, str | os.PathLike):
        x = TextLines(x)
    if not isinstance(x, TextLines):
        return x
    if not task.is_self_supervised:
        raise InputError(
            f"x is TextLines, and {type(task).__name__} needs a target for each text: give a data "
            "set whose batches are (texts, targets)"
        )
    rows = default_batch_size(batch_size, task.preprocessor.batch_size)
    if next(iter(x), None) is None:
        raise InputError(f"{shown(x.source)} holds no text; give lines that aren't blank")
    return LineBatches(x, task.preprocessor, rows, shuffle)


class LineBatches:
    """Iterable of batches of texts, in a new order each time.

    Args:
        lines: where the texts are from.
        preprocessor: of the task, whose sequences packed texts fill.
        batch_size: texts of a batch.
        shuffle: whether the order changes.
    """

    def __init__(
        self, lines: TextLines, preprocessor: TextPreprocessor, batch_size: int, shuffle: bool
    ):
        self._lines = lines
        self._preprocessor = preprocessor
        self._batch_size = batch_size
        self._shuffle = shuffle

    def _texts(self) -> Iterable[str]:
        return packed(self._lines, self._preprocessor) if self._lines.pack else self._lines

    def __iter__(self) -> Iterator[list[str]]:
        texts = self._texts()
        if self._shuffle:
            # Drawn from NumPy's global state, which keras.utils.set_random_seed sets.
            rng = np.random.default_rng(np.random.randint(2**31))
            texts = shuffled(texts, self._lines.shuffle_buffer, rng)
        texts = iter(texts)
        while batch := list(itertools.islice(texts, self._batch_size)):
            yield batch

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        """Number of batches, for which everything is read once."""
        return -(-sum(1 for _ in self._texts()) // self._batch_size)


def packed(lines: Iterable[str], preprocessor: TextPreprocessor) -> Iterator[str]:
    """Yield texts of consecutive lines, each of as many tokens as a sequence has room for.

    Lines are joined by a space. One that is longer than a sequence is cut at spaces, where it has
    any, and its last part goes on with the next line.

    Raises:
        InputError: the special tokens leave no room.
    """
    room = preprocessor.sequence_length - len(preprocessor.encode([""])[0].ids)
    if room < 1:
        raise InputError(
            f"sequence_length={preprocessor.sequence_length} has no room for text; set a larger one"
        )
    parts: list[str] = []
    used = 0
    for part, size in parts_of_lines(lines, preprocessor, room):
        if parts and used + size > room:
            yield " ".join(parts)
            parts, used = [], 0
        parts.append(part)
        used += size
    if parts:
        yield " ".join(parts)


def parts_of_lines(
    lines: Iterable[str], preprocessor: TextPreprocessor, room: int
) -> Iterator[tuple[str, int]]:
    """Yield each line, in parts of at most `room` tokens, with their numbers."""
    lines = iter(lines)
    while chunk := list(itertools.islice(lines, CHUNK)):
        # With the space that joins them; some tokenizers have other tokens after one.
        texts = [f" {line.lower() if preprocessor.lowercase else line}" for line in chunk]
        encodings = preprocessor.tokenizer.encode_batch(
            texts, add_special_tokens=False, allow_special=preprocessor.allow_special
        )
        for text, encoding in zip(texts, encodings, strict=True):
            yield from _cut(text, encoding, room)


def _cut(text: str, encoding: Encoding, room: int) -> Iterator[tuple[str, int]]:
    count = len(encoding)
    if count <= room:
        yield text.strip(), count
        return
    words, starts = encoding.word_ids, [start for start, _ in encoding.offsets]
    begin = 0
    while begin < count:
        end = min(begin + room, count)
        if end < count:
            at_word = [p for p in range(end, begin, -1) if words[p] != words[p - 1]]
            # A token may begin with the space before it, or after that.
            near = (text[starts[p] - 1 : starts[p] + 1] for p in at_word)
            at_space = [p for p, t in zip(at_word, near, strict=True) if any(map(str.isspace, t))]
            end = [*at_space, *at_word, end][0]
        until = starts[end] if end < count else len(text)
        yield text[starts[begin] : until].strip(), end - begin
        begin = end
