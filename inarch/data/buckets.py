"""Length buckets. On a compiling backend each shape is compiled once, so shapes must be few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inarch.errors import InputError
from inarch.validation import check_count

BUCKETS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)

# Most batches that are made of one chunk of a random order.
CHUNK_BATCHES = 50


def bucket(length: int, limit: int | None = None) -> int:
    """Return the length to pad to: the smallest bucket that holds `length`, at most `limit`."""
    size = next((size for size in BUCKETS if size >= length), length)
    return size if limit is None else max(length, min(size, limit))


@dataclass(frozen=True)
class PlannedBatch:
    """Positions of some sequences in the caller's order, and the shape to pad them to.

    `rows` is at least `len(indices)`; the rows beyond are padding.
    """

    indices: np.ndarray
    rows: int
    length: int


def by_length(
    lengths: Sequence[int],
    batch_size: int,
    limit: int | None = None,
    exact: bool = False,
    padded: bool = True,
) -> Iterator[PlannedBatch]:
    """Yield batches of sequences alike in length, longest first, so that memory peaks at once.

    Args:
        lengths: tokens of each sequence.
        limit: the model's longest sequence.
        exact: pad to the longest of each batch and to no more rows than there are, for backends
            that don't compile per shape.
        padded: whether sequences may be padded; if not, those of a batch have one length. Rows
            beyond them are padding all the same, where not `exact`.
    """
    check_count("batch_size", batch_size)
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    groups = [order] if padded else np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1)
    for group in groups:
        for start in range(0, len(group), batch_size):
            indices = group[start : start + batch_size]
            longest = max(int(sizes[indices[0]]), 1)
            rows = min(batch_size, 1 << (len(indices) - 1).bit_length())
            yield PlannedBatch(
                indices,
                len(indices) if exact else rows,
                bucket(longest, limit) if padded and not exact else longest,
            )


def shuffle_by_length(
    lengths: Sequence[int], batch_size: int, random: np.random.Generator
) -> np.ndarray:
    """Return a random order in which the sequences of a batch are alike in length.

    A random order is cut into chunks, in each of which batches are of neighboring lengths; then the
    batches are shuffled. There are at least four chunks, so that a sequence has other neighbors
    each time. The last batch, where it is smaller, is of any lengths.

    Source: transformers, trainer_pt_utils.py, get_length_grouped_indices, whose chunks are these.

    Args:
        lengths: tokens of each sequence.
        batch_size: sequences of a batch; the order is cut into batches of so many.

    Returns:
        int64 `[len(lengths)]`, indices of `lengths`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = random.permutation(len(sizes))
    count = len(sizes) // batch_size
    batches = order[: count * batch_size].reshape(count, batch_size)
    chunks = max(4, -(-count // CHUNK_BATCHES))
    batches = np.concatenate(
        [
            chunk.ravel()[np.argsort(sizes[chunk.ravel()])].reshape(-1, batch_size)
            for chunk in np.array_split(batches, chunks)
        ]
    )
    random.shuffle(batches)
    return np.concatenate([batches.ravel(), order[count * batch_size :]])


def pad(
    sequences: Sequence[Sequence[int] | np.ndarray], rows: int, length: int, value: int = 0
) -> np.ndarray:
    """Pad sequences on the right with `value` to one int32 array `[rows, length]`.

    Raises:
        InputError: there are more than `rows`, or one is longer than `length`.
    """
    if not (type(rows) is type(length) is int and rows >= 0 <= length):
        check_count("rows", rows, 0)
        check_count("length", length, 0)
    if len(sequences) > rows:
        raise InputError(
            f"there are {len(sequences)} sequences for rows={rows}; give rows={len(sequences)} or "
            "more"
        )
    array = np.zeros((rows, length), np.int32)
    if value:
        array[:] = value
    for row, sequence in enumerate(sequences):
        if len(sequence) > length:
            raise InputError(
                f"row {row} holds {len(sequence)} numbers, and length={length}; give a length of "
                f"{max(map(len, sequences))} or more, or truncate the row"
            )
        array[row, : len(sequence)] = sequence
    return array
