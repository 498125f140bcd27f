"""Batches of encoded examples for Keras's training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from inarch.data import pack_together, shuffle_by_length

Batch = tuple[Any, ...]
# From the indices of a batch's examples, and a generator for whatever is drawn anew each time, to
# the batch's `(x, y)` or `(x, y, sample_weight)`.
MakeBatch = Callable[[np.ndarray, np.random.Generator], Batch]
# Order of examples: as they are given, a new random one each epoch, or any, the same each time.
Order = Literal["given", "shuffled", "any"]


@dataclass(frozen=True)
class RowBatches:
    """A `MakeBatch` of examples that count by themselves, so that those of a batch may be alike.

    Attributes:
        make: makes a batch.
        lengths: tokens of each example.
    """

    make: MakeBatch
    lengths: Sequence[int]

    def __call__(self, indices: np.ndarray, random: np.random.Generator) -> Batch:
        return self.make(indices, random)


class TextBatches(keras.utils.PyDataset):
    """Batches of encoded examples, those of a batch alike in length where they may be chosen so.

    Args:
        count: number of examples.
        make: makes a batch.
        batch_size: examples of a batch; the last one may have fewer.
        order: of the examples.
    """

    def __init__(self, count: int, make: MakeBatch, batch_size: int, order: Order):
        super().__init__()
        self._count = count
        self._make = make
        self._batch_size = batch_size
        self._order = order
        # Drawn from NumPy's global state, which keras.utils.set_random_seed sets.
        self._random = np.random.default_rng(np.random.randint(2**31))
        self._indices = self._new_indices()

    def __len__(self) -> int:
        return -(-self._count // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self._batch_size
        return self._make(self._indices[start : start + self._batch_size], self._random)

    def on_epoch_end(self) -> None:
        if self._order == "shuffled":
            self._indices = self._new_indices()

    def _new_indices(self) -> np.ndarray:
        lengths = self._make.lengths if isinstance(self._make, RowBatches) else None
        if self._order == "shuffled" and lengths is not None:
            return shuffle_by_length(lengths, self._batch_size, self._random)
        if self._order == "shuffled":
            return self._random.permutation(self._count)
        if self._order == "any" and lengths is not None:
            return np.argsort(-np.asarray(lengths), kind="stable")
        return np.arange(self._count)


def pack_batches(make: MakeBatch, limit: int | None, exact: bool) -> MakeBatch:
    """Return `make` for targets and weights of tokens, with the texts of a batch in fewer rows.

    Each token has the target, the weight and the neighbors that it has in a row of its text alone.
    Where packed rows wouldn't be smaller, a text has its own.

    Args:
        limit: longest row that the model takes.
        exact: see `pack_together`.
    """

    def packed(indices: np.ndarray, random: np.random.Generator) -> Batch:
        x, y, weights = make(indices, random)
        plan = pack_together(np.count_nonzero(x["padding_mask"], axis=1).tolist(), limit, exact)
        if plan.rows * plan.length >= y.size:
            return x, y, weights
        rows = plan.pack([{**x, "y": y, "sample_weight": weights}])
        return {name: rows[name] for name in x}, rows["y"], rows["sample_weight"]

    return packed


def make_batches(
    inputs: Callable[[np.ndarray], Any], targets: np.ndarray, weights: np.ndarray | None
) -> MakeBatch:
    """Return a function that makes batches of inputs, targets and, if there are any, weights.

    Args:
        inputs: from the indices of a batch's examples to its `x`.
    """

    def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
        batch = (inputs(indices), targets[indices])
        return batch if weights is None else (*batch, weights[indices])

    return make
