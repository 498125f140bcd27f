"""Losses of sentence vectors: their names, defaults and values are sentence-transformers'.

An example has one text or several: a pair, or an anchor, its positive and hard negatives. The
vectors of a batch come column by column, `[columns * batch, dim]`, and targets `[batch, ...]`, so
the number of columns follows from both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.layers.pooling import Normalize
from inarch.validation import ABOVE_0, NUMBER, check_count, one_of


def unit(x: Any) -> Any:
    """Return vectors of length one, in float32."""
    return Normalize(dtype="float32")(x)


def _length(x: Any) -> Any:
    # The root has no gradient at 0, where two vectors are one.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1), 1e-24))


# Similarity of vectors in the same place, over the last axis.
PAIRWISE: dict[str, Callable[[Any, Any], Any]] = {
    "cosine": lambda a, b: ops.sum(unit(a) * unit(b), axis=-1),
    "dot": lambda a, b: ops.sum(a * b, axis=-1),
    "euclidean": lambda a, b: -_length(a - b),
    "manhattan": lambda a, b: -ops.sum(ops.abs(a - b), axis=-1),
}


def check_finite(y: np.ndarray, name: str = "y") -> None:
    """Raise InputError where a target is NaN or infinite, InputTypeError where it is no number."""
    if y.dtype.kind not in "fiub":
        raise InputTypeError(f"{name} has dtype {y.dtype}; give numbers")
    rows = np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(axis=-1))
    if len(rows):
        raise InputError(
            f"{name} has NaN or infinity in {len(rows)} of {len(y)} rows, the first at {rows[0]}; "
            "leave those examples out"
        )


def in_batch_loss(logits: Any) -> Any:
    """Return the loss `[batch]` of logits `[batch, candidates]` whose row i is of candidate i."""
    rows = ops.arange(ops.shape(logits)[0])
    return keras.losses.sparse_categorical_crossentropy(rows, logits, from_logits=True)


class RecordedLoss(keras.losses.Loss):
    """Base class of losses whose constructor's arguments are attributes, and their config."""

    def get_config(self) -> dict[str, Any]:
        names = [name for name in inspect.signature(type(self)).parameters if name != "kwargs"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class EmbeddingLoss(RecordedLoss):
    """Base class of losses of sentence vectors.

    A subclass computes `losses(columns, y)`, from vectors float32 `[columns, batch, dim]`, and
    checks targets in `targets`.

    Args:
        mini_batch_size: texts that the model computes at a time in training, so that a batch of
            any size fits in memory; None for all at once. The gradient is that of the whole batch,
            to rounding; each text is computed twice. Source: GradCache, Gao et al., 2021,
            arXiv:2101.06983; sentence-transformers' Cached... losses.
    """

    # Fewest and most texts that an example can have.
    least_columns: int = 2
    most_columns: int | None = 2
    # Whether each example has a loss of its own, which a sample weight can be for.
    weighs_examples: bool = True

    def __init__(self, mini_batch_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if mini_batch_size is not None:
            check_count("mini_batch_size", mini_batch_size)
        self.mini_batch_size = mini_batch_size

    def call(self, y_true: Any, y_pred: Any) -> Any:
        shape = (-1, ops.shape(y_true)[0], y_pred.shape[-1])
        return self.losses(ops.reshape(y_pred, shape), y_true)

    def losses(self, columns: Any, y: Any) -> Any:
        """Return the loss of each example `[batch]`, or of the whole batch."""
        raise NotImplementedError

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        """Return the targets of `count` examples of so many texts, as the loss reads them.

        Raises:
            InputError: there are none where the loss needs some, or the other way round; or they
                are of another shape.
        """
        if y is not None:
            raise InputError(
                f"y is given, and {type(self).__name__} needs no targets, which are in the texts' "
                "order; leave y out, or compile with another loss"
            )
        return np.zeros((count, 1), np.float32)

    def at_dimension(self, y: Any, dim: int) -> Any:
        """Return the targets for vectors that are cut to `dim` numbers."""
        return y

    def check_dimension(self, dim: int) -> None:
        """Raise InputError where the loss can't read vectors of `dim` numbers."""

    def check_columns(self, columns: int) -> None:
        """Raise InputError where an example can't have so many texts."""
        least, most = self.least_columns, self.most_columns
        if columns < least or (most is not None and columns > most):
            wanted = f"{least}" if least == most else f"at least {least}"
            raise InputError(
                f"an example has {columns} {'text' if columns == 1 else 'texts'}, and "
                f"{type(self).__name__} needs {wanted}: give a list of tuples, or compile with "
                "another loss"
            )

    def _scores(self, y: np.ndarray | None, count: int, widths: tuple[int, ...]) -> np.ndarray:
        """Return scores `[count, width]`, whose width must be one of `widths`."""
        if y is None:
            raise InputError(f"{type(self).__name__} needs a score for each example: give y")
        rows = y[:, None] if y.ndim == 1 else y
        if rows.ndim != 2 or rows.shape[1] not in widths:
            wanted = " or ".join(f"[{count}, {width}]" for width in widths)
            raise InputError(
                f"y has the shape {list(y.shape)}; {type(self).__name__} reads {wanted}"
            )
        return rows.astype(np.float32)


@keras.saving.register_keras_serializable(package="inarch")
class MultipleNegativesRankingLoss(EmbeddingLoss):
    """Each anchor's positive against all other positives and negatives of the batch.

    The loss is the cross entropy of the scaled similarities. Examples are `(anchor, positive)`, or
    `(anchor, positive, negative, ...)` with hard negatives. Source: Henderson et al., 2017,
    arXiv:1705.00652; sentence-transformers.

    Args:
        scale: factor on the similarities, the inverse of a temperature.
        similarity_fct: `"cosine"` or `"dot"`.
        mini_batch_size: see `EmbeddingLoss`; with it, this is sentence-transformers'
            CachedMultipleNegativesRankingLoss.
    """

    most_columns = None

    def __init__(
        self,
        scale: float = 20.0,
        similarity_fct: str = "cosine",
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(mini_batch_size, **kwargs)
        ABOVE_0.check("scale", scale)
        one_of(("cosine", "dot")).check("similarity_fct", similarity_fct)
        self.scale = scale
        self.similarity_fct = similarity_fct

    def losses(self, columns: Any, y: Any) -> Any:
        vectors = unit(columns) if self.similarity_fct == "cosine" else columns
        candidates = ops.reshape(vectors[1:], (-1, vectors.shape[-1]))
        return in_batch_loss(self.scale * ops.matmul(vectors[0], ops.transpose(candidates)))


@keras.saving.register_keras_serializable(package="inarch")
class CosineSimilarityLoss(EmbeddingLoss):
    """Squared distance of a pair's cosine similarity from its score.

    Examples are pairs, and `y` their scores, in the range of the cosine. Source: Reimers &
    Gurevych, 2019, arXiv:1908.10084; sentence-transformers.
    """

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        return self._scores(y, count, (1,))

    def losses(self, columns: Any, y: Any) -> Any:
        return ops.square(PAIRWISE["cosine"](columns[0], columns[1]) - y[:, 0])


@keras.saving.register_keras_serializable(package="inarch")
class CoSENTLoss(EmbeddingLoss):
    """Order of the pairs of a batch: one with a higher score must be more similar.

    The loss is `log(1 + sum(exp(scale * (s_i - s_j))))` over all two pairs i and j of which j has
    the higher score; it is one number of the whole batch, so sample weights are refused. Source:
    Su, 2022 (CoSENT); sentence-transformers.

    Args:
        scale: factor on the similarities, the inverse of a temperature.
        similarity_fct: `"cosine"`, `"dot"`, `"euclidean"` or `"manhattan"`.
        mini_batch_size: see `EmbeddingLoss`.
    """

    weighs_examples = False

    def __init__(
        self,
        scale: float = 20.0,
        similarity_fct: str = "cosine",
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(mini_batch_size, **kwargs)
        ABOVE_0.check("scale", scale)
        one_of(PAIRWISE).check("similarity_fct", similarity_fct)
        self.scale = scale
        self.similarity_fct = similarity_fct

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        return self._scores(y, count, (1,))

    def losses(self, columns: Any, y: Any) -> Any:
        scores = self.scale * PAIRWISE[self.similarity_fct](columns[0], columns[1])
        differences = scores[:, None] - scores[None, :]
        wrong = ops.where(y < ops.transpose(y), differences, -1e12)
        return ops.logsumexp(ops.concatenate([ops.zeros((1,)), ops.reshape(wrong, (-1,))]))


@keras.saving.register_keras_serializable(package="inarch")
class TripletLoss(EmbeddingLoss):
    """Distance of an anchor from its positive, which a margin keeps below that of its negative.

    `max(0, d(anchor, positive) - d(anchor, negative) + margin)`, of examples
    `(anchor, positive, negative)`. Source: Schroff et al., 2015, arXiv:1503.03832;
    sentence-transformers.

    Args:
        distance_metric: `"euclidean"`, `"cosine"` (one minus the similarity) or `"manhattan"`.
        triplet_margin: how much farther the negative must be.
        mini_batch_size: see `EmbeddingLoss`.
    """

    least_columns = most_columns = 3

    def __init__(
        self,
        distance_metric: str = "euclidean",
        triplet_margin: float = 5.0,
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(mini_batch_size, **kwargs)
        one_of(("euclidean", "cosine", "manhattan")).check("distance_metric", distance_metric)
        NUMBER.check("triplet_margin", triplet_margin)
        self.distance_metric = distance_metric
        self.triplet_margin = triplet_margin

    def losses(self, columns: Any, y: Any) -> Any:
        anchor, similar = columns[0], PAIRWISE[self.distance_metric]
        # A constant that a metric adds to its distances, such as 1 for the cosine, goes away.
        nearer = similar(anchor, columns[2]) - similar(anchor, columns[1])
        return ops.relu(nearer + self.triplet_margin)
