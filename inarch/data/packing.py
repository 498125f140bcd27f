"""Plan of packed batches: sequences one after another in few rows, with next to no padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inarch.data.buckets import PlannedBatch, bucket
from inarch.validation import check_count

# Rows are at least this long, where there are as many tokens: in shorter ones little fits after
# the first sequence, and in longer ones attention computes more pairs that are masked.
ROW_LENGTH = 128

# The smallest share of rows that aren't padding in a batch whose shape isn't exact.
LEAST_SHARE = 0.8

# A part has at most so many times the tokens of its batch, padding included.
MOST_TOKENS = 2


@dataclass(frozen=True)
class PackedPart(PlannedBatch):
    """Sequences of a packed batch that are taken out of it together.

    Attributes:
        places: int32 `[len(indices)]`, the place of the first token of each sequence among the
            tokens of the batch, row after row.
        sequence_ids: int32 `[len(indices)]`, the number of each sequence in its row, from 1.
        sizes: int32 `[len(indices)]`, the tokens of each sequence.
    """

    places: np.ndarray
    sequence_ids: np.ndarray
    sizes: np.ndarray

    def token_places(self) -> np.ndarray:
        """Return the place of each token in the batch, int32 `[rows, length]`.

        What is beyond the end of a sequence has the place of its first token, so that nothing of
        another one gets there.
        """
        found = np.zeros((self.rows, self.length), np.int32)
        index = np.arange(self.length, dtype=np.int32)
        index = np.where(index < self.sizes[:, None], index, 0)
        found[: len(self.indices)] = self.places[:, None] + index
        return found


@dataclass(frozen=True)
class PackedBatch:
    """Shape of a batch of packed rows, and the parts in which its sequences are taken out."""

    rows: int
    length: int
    parts: tuple[PackedPart, ...]

    def pack(self, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the packed arrays `[rows, length]` of the padded arrays of each part.

        A `padding_mask` gets the sequence ids; a mask of -1 keeps its sign (see `layers.mask`).
        """
        size = self.rows * self.length
        packed = {name: np.zeros(size, array.dtype) for name, array in parts[0].items()}
        for part, arrays in zip(self.parts, parts, strict=True):
            count = len(part.indices)
            mask = arrays["padding_mask"][:count]
            row, column = np.nonzero(mask)
            places = part.places[row] + column
            for name, array in arrays.items():
                packed[name][places] = array[row, column]
            packed["padding_mask"][places] *= part.sequence_ids[row]
        return {name: array.reshape(self.rows, self.length) for name, array in packed.items()}


def packed_batches(
    lengths: Sequence[int],
    tokens: int,
    limit: int | None = None,
    exact: bool = False,
    tight: bool = False,
) -> Iterator[PackedBatch | PlannedBatch]:
    """Yield batches of packed rows that hold all sequences, those with the longest first.

    A sequence goes into the fullest row that has room for it. Where every row holds one sequence, a
    batch is a plain one.

    Args:
        lengths: tokens of each sequence.
        tokens: of a batch; one row may have more.
        limit: longest row that the model takes.
        exact: shapes that are just large enough, for backends that don't compile per shape.
        tight: parts whose shapes are near those of the sequences in them, at the price of more
            shapes: for outputs that are large for each token.
    """
    check_count("tokens", tokens)
    if len(lengths) == 1:  # what the rest finds as well, in a tenth of the time
        longest = max(int(lengths[0]), 1)
        yield PlannedBatch(np.zeros(1, np.int64), 1, longest if exact else bucket(longest, limit))
        return
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    by_shape: dict[int, list[list[int]]] = {}
    for row in _fill_rows(sizes, limit):
        used = int(sizes[row].sum())
        by_shape.setdefault(bucket(used, limit), []).append(row)
    for length in sorted(by_shape, reverse=True):
        alike = by_shape[length]
        size = max(1, tokens // length)
        while alike:
            count, rows = _row_count(len(alike), size, exact)
            part, alike = alike[:count], alike[count:]
            yield _batch(part, sizes, rows, length, exact, tight)


def pack_together(
    lengths: Sequence[int], limit: int | None = None, exact: bool = False
) -> PackedBatch:
    """Return one batch of packed rows with all sequences, as one part in their order.

    Args:
        lengths: tokens of each sequence.
        limit: longest row that the model takes.
        exact: a shape that is just large enough, for backends that don't compile per shape; if not,
            it has 1, 2, 3, 4, 6, 8, 12, ... rows, of which the last may be padding.
    """
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    longest = int(sizes.max())
    power = 1 << (max(longest, ROW_LENGTH) - 1).bit_length()
    length = max(longest, min(power, limit or power))
    rows = _fill_rows(sizes, limit, length)
    above = 1 << (len(rows) - 1).bit_length()
    count = above * 3 // 4 if above >= 4 and len(rows) <= above * 3 // 4 else above
    if exact:
        count = len(rows)
        length = max(int(sizes[row].sum()) for row in rows)
    found = _places(rows, sizes, length).astype(np.int32)
    indices, places, numbers = found[:, np.argsort(found[0])]
    tokens = sizes.astype(np.int32)
    part = PackedPart(indices, len(sizes), longest, places, numbers, tokens)
    return PackedBatch(count, length, (part,))


def _fill_rows(sizes: np.ndarray, limit: int | None, length: int | None = None) -> list[list[int]]:
    """Return the sequences of each row, by falling length of its first.

    Args:
        limit: longest row that the model takes.
        length: of every row; where not given, it depends on its first sequence.
    """
    total = int(sizes.sum())
    rows: list[list[int]] = []
    # Rows by the room that is left in them, and the rooms that there are as bits of a number.
    rows_by_room: dict[int, list[int]] = {}
    rooms = 0
    for index in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[index])
        if enough := rooms >> size:
            room = size + (enough & -enough).bit_length() - 1
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms ^= 1 << room
            rows[row].append(index)
        else:
            room = length or _row_length(size, total, limit)
            row = len(rows)
            rows.append([index])
        total -= size
        if room > size:
            rows_by_room.setdefault(room - size, []).append(row)
            rooms |= 1 << (room - size)
    return rows


def _row_length(first: int, total: int, limit: int | None) -> int:
    """Return the length of a row for its first sequence, where `total` tokens are left."""
    power = 1 << (max(first, ROW_LENGTH) - 1).bit_length()
    return max(first, min(power, bucket(total), limit or power))


def _row_count(left: int, most: int, exact: bool) -> tuple[int, int]:
    """Return how many of the rows that are left a batch gets, and how many rows it has."""
    if left >= most or exact:
        return min(left, most), min(left, most)
    below = 1 << (left.bit_length() - 1)
    if below < left and left >= LEAST_SHARE * 2 * below:
        return left, min(most, 2 * below)
    return below, below


def _batch(
    rows: list[list[int]], sizes: np.ndarray, count: int, length: int, exact: bool, tight: bool
) -> PackedBatch | PlannedBatch:
    if exact:
        length = max(int(sizes[row].sum()) for row in rows)
    if all(len(row) == 1 for row in rows):
        return PlannedBatch(np.array([row[0] for row in rows]), count, length)
    found = _places(rows, sizes, length)
    found = found[:, np.argsort(-sizes[found[0]], kind="stable")]
    shapes = [_part_length(int(n), length, exact, tight) for n in sizes[found[0]]]
    parts = []
    for shape in sorted(set(shapes), reverse=True):
        alike = found[:, np.array(shapes) == shape]
        longest = int(sizes[alike[0]].max()) if exact else shape
        most = max(1, MOST_TOKENS * count * length // longest)
        while alike.size:
            size = _part_rows(min(alike.shape[1], most), most, exact, tight)
            index, place, number = alike[:, :size].astype(np.int32)
            tokens = sizes[index].astype(np.int32)
            parts.append(PackedPart(index, size, longest, place, number, tokens))
            alike = alike[:, size:]
    return PackedBatch(count, length, tuple(parts))


def _places(rows: list[list[int]], sizes: np.ndarray, length: int) -> np.ndarray:
    """Return the index, the place and the number in its row of each sequence, `[3, sequences]`."""
    indices: list[int] = []
    places: list[int] = []
    numbers: list[int] = []
    for i, row in enumerate(rows):
        ends = np.cumsum(sizes[row])
        indices += row
        places += (i * length + ends - sizes[row]).tolist()
        numbers += range(1, len(row) + 1)
    return np.array([indices, places, numbers])


def _part_length(size: int, limit: int, exact: bool, tight: bool) -> int:
    """Return the length that a sequence of a size is padded to as it is taken out."""
    if tight or exact:
        return bucket(size, limit)
    bits = (size - 1).bit_length()
    return min(max(16, 1 << (bits + bits % 2)), limit)  # powers of 4, so that shapes are few


def _part_rows(count: int, most: int, exact: bool, tight: bool) -> int:
    """Return how many rows a part of up to `count` sequences has: at most `most`."""
    if exact:
        return count
    bits = (count - 1).bit_length()
    return min(1 << (bits if tight else bits + -bits % 3), most)  # else powers of 8
