"""Losses that make sentence vectors those of a teacher, or their similarities a teacher's scores.

Names, defaults and values are sentence-transformers'.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.errors import InputError
from inarch.losses.embedding import PAIRWISE, EmbeddingLoss
from inarch.validation import ABOVE_0, one_of


@keras.saving.register_keras_serializable(package="inarch")
class EmbedDistillLoss(EmbeddingLoss):
    """Distance of vectors from a teacher's vectors.

    `y` holds the teacher's vector of each text: `[count, dim]`, which all texts of an example are
    to have (translations of one sentence, for instance), or `[count, texts, dim]`. With
    `distance_metric="mse"` this is sentence-transformers' MSELoss. Source: Reimers & Gurevych,
    2020, arXiv:2004.09813; sentence-transformers.

    Args:
        distance_metric: `"cosine"` (one minus the similarity), `"mse"` or `"l2"`.
        mini_batch_size: see `EmbeddingLoss`.
    """

    least_columns = 1
    most_columns = None

    def __init__(
        self,
        distance_metric: str = "cosine",
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(mini_batch_size, **kwargs)
        one_of(("cosine", "mse", "l2")).check("distance_metric", distance_metric)
        self.distance_metric = distance_metric

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        if y is None:
            raise InputError(
                f"{type(self).__name__} needs a teacher's vector for each example: give y"
            )
        if y.shape[1:] not in ((dim,), (columns, dim)):
            raise InputError(
                f"y has the shape {list(y.shape)}, and the model's vectors have {dim} numbers; "
                f"give [{count}, {dim}] or [{count}, {columns}, {dim}]: vectors of a teacher of "
                "another width must be projected first"
            )
        return y.astype(np.float32)

    def at_dimension(self, y: Any, dim: int) -> Any:
        return y[..., :dim]

    def losses(self, columns: Any, y: Any) -> Any:
        teacher = y[None] if len(y.shape) == 2 else ops.transpose(y, (1, 0, 2))
        if self.distance_metric == "mse":
            distances = ops.mean(ops.square(columns - teacher), axis=-1)
        elif self.distance_metric == "l2":
            distances = -PAIRWISE["euclidean"](columns, teacher)
        else:
            distances = 1 - PAIRWISE["cosine"](columns, teacher)
        return ops.mean(distances, axis=0)


class _ScoreDistillLoss(EmbeddingLoss):
    """Loss of a query's similarities to several documents, which a teacher has scored."""

    least_columns = 3
    most_columns = None

    def __init__(
        self, similarity_fct: str = "dot", mini_batch_size: int | None = None, **kwargs: Any
    ):
        super().__init__(mini_batch_size, **kwargs)
        one_of(PAIRWISE).check("similarity_fct", similarity_fct)
        self.similarity_fct = similarity_fct

    def similarities(self, columns: Any) -> Any:
        """Return the similarity of each query to each of its documents `[batch, documents]`."""
        return ops.transpose(PAIRWISE[self.similarity_fct](columns[:1], columns[1:]))


@keras.saving.register_keras_serializable(package="inarch")
class MarginMSELoss(_ScoreDistillLoss):
    """Squared distance of margins from a teacher's: of a positive's similarity over a negative's.

    Examples are `(query, positive, negative, ...)`; `y` holds the teacher's margin for each
    negative `[count, negatives]`, or its scores of the positive and the negatives
    `[count, 1 + negatives]`. Source: Hofstätter et al., 2020, arXiv:2010.02666;
    sentence-transformers.

    Args:
        similarity_fct: `"dot"`, `"cosine"`, `"euclidean"` or `"manhattan"`.
        mini_batch_size: see `EmbeddingLoss`.
    """

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        scores = self._scores(y, count, (columns - 2, columns - 1))
        return scores if scores.shape[1] == columns - 2 else scores[:, :1] - scores[:, 1:]

    def losses(self, columns: Any, y: Any) -> Any:
        scores = self.similarities(columns)
        return ops.mean(ops.square(scores[:, :1] - scores[:, 1:] - y), axis=-1)


@keras.saving.register_keras_serializable(package="inarch")
class DistillKLDivLoss(_ScoreDistillLoss):
    """Divergence of the softmax over a query's similarities from that over a teacher's scores.

    Examples are `(query, document, document, ...)`; `y` holds the teacher's score of each document
    `[count, documents]`. Source: Lin et al., 2020, arXiv:2010.11386; sentence-transformers.

    Args:
        similarity_fct: `"dot"`, `"cosine"`, `"euclidean"` or `"manhattan"`.
        temperature: divisor of the similarities and of the scores; the loss is scaled by its
            square.
        mini_batch_size: see `EmbeddingLoss`.
    """

    def __init__(
        self,
        similarity_fct: str = "dot",
        temperature: float = 1.0,
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(similarity_fct, mini_batch_size, **kwargs)
        ABOVE_0.check("temperature", temperature)
        self.temperature = temperature

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        return self._scores(y, count, (columns - 1,))

    def losses(self, columns: Any, y: Any) -> Any:
        student = ops.log_softmax(self.similarities(columns) / self.temperature)
        teacher = ops.log_softmax(y / self.temperature)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return divergence * self.temperature**2
