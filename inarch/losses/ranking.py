"""Losses that train a reranker on several documents of a query at once.

All read the scores of all documents of a batch, `[rows, 1]`, and for each `[rows, 2]` its label and
the number of its query, by which the documents of a query are found among the rows. Rows of a
negative number are padding. The loss of a batch is the mean over its queries, its pairs or its
negatives, as each says; a sample weight is that of a document's query.

Two have the names of losses of sentence vectors, so these are registered with Keras as a package of
their own, as they are in sentence-transformers.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import keras
from keras import ops

from inarch.losses.embedding import RecordedLoss
from inarch.validation import ABOVE_0, AT_LEAST_0, COUNT, one_of, optional

WEIGHTINGS = ("none", "ndcg_loss1", "ndcg_loss2", "lambda_rank", "ndcg_loss2_pp")
# In place of the logits of other queries' documents; its exponential is 0.
_NEG_INF = -1e9


class RankingLoss(RecordedLoss):
    """Base class of the losses on several documents of a query.

    Attributes:
        label_range: the smallest and the largest label that the loss can read.
        positive_first: whether the first document of a query is the one to prefer to the others.
        needs_labels: whether it reads the labels at all.
    """

    label_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    positive_first: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, scores = ops.cast(y_true, "float32"), ops.cast(y_pred[:, 0], "float32")
        labels, queries = y_true[:, 0], y_true[:, 1]
        real, rows = queries >= 0, ops.shape(scores)[0]
        # Each row of padding is the only document of a query of its own.
        alone = -1.0 - ops.cast(ops.arange(rows), "float32")
        queries = ops.where(real, queries, alone)
        same = ops.equal(queries[:, None], queries[None, :])
        terms, counts = self.terms(scores, labels, same)
        counted = ops.sum(ops.where(real, ops.cast(counts, "float32"), 0.0))
        # Keras takes the mean over all rows; ours is over what the loss counts.
        scale = ops.cast(rows, "float32") / ops.maximum(counted, 1.0)
        return ops.where(real, terms, 0.0) * scale

    def terms(self, scores: Any, labels: Any, same: Any) -> tuple[Any, Any]:
        """Return each row's part of the loss, and how many terms of the mean it is, `[rows]`.

        Args:
            scores, labels: `[rows]`.
            same: whether two rows are documents of one query, `[rows, rows]`.
        """
        raise NotImplementedError


def _first_of(same: Any) -> tuple[Any, Any]:
    """Return the first row of each row's query, and whether a row is that row itself."""
    first = ops.argmax(ops.cast(same, "int32"), axis=-1)
    return first, ops.equal(first, ops.arange(ops.shape(same)[0], dtype=first.dtype))


def _log_softmax(x: Any, same: Any) -> Any:
    """Return the logarithm of the softmax of `x` over the documents of each row's query."""
    others = ops.where(same, x[None, :], _NEG_INF)
    return x - ops.logsumexp(others, axis=-1)


def _ranks(x: Any, same: Any) -> Any:
    """Return the ranks, from 1 on, of `x` by falling value among the documents of a query."""
    rows = ops.arange(ops.shape(x)[0])
    above = ops.greater(x[None, :], x[:, None])
    earlier = ops.logical_and(
        ops.equal(x[None, :], x[:, None]), ops.less(rows[None, :], rows[:, None])
    )
    before = ops.logical_and(same, ops.logical_or(above, earlier))
    return 1.0 + ops.sum(ops.cast(before, "float32"), axis=-1)


@keras.saving.register_keras_serializable(package="inarch.ranking")
class ListNetLoss(RankingLoss):
    """Cross entropy between the softmaxes of labels and of scores; the mean over the queries.

    Labels are any numbers, such as grades or a teacher's scores. Source: Cao et al., 2007,
    doi:10.1145/1273496.1273513; sentence-transformers' ListNetLoss.
    """

    def __init__(self, name: str = "list_net", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def terms(self, scores: Any, labels: Any, same: Any) -> tuple[Any, Any]:
        target = ops.exp(_log_softmax(labels, same))
        _, is_first = _first_of(same)
        return -target * _log_softmax(scores, same), is_first


@keras.saving.register_keras_serializable(package="inarch.ranking")
class LambdaLoss(RankingLoss):
    """Bound on NDCG by the pairs of a query's documents; the mean over the pairs.

    Labels are grades from 0 up, of which the gain is `2**grade - 1`. Source: Wang et al., 2018,
    doi:10.1145/3269206.3271784; sentence-transformers' LambdaLoss, whose defaults these are.

    Args:
        weighting: weight of a pair: "none", "ndcg_loss1", "ndcg_loss2", "lambda_rank" or
            "ndcg_loss2_pp", by the names of the paper's schemes.
        k: pairs with none among the first `k` of the ranking don't count; None for all.
        sigma: factor on the differences of scores.
        mu: weight of NDCG-Loss2 against LambdaRank in "ndcg_loss2_pp".
        eps: least ideal gain of a query.

    Raises:
        InputError: an argument is out of its range.
    """

    label_range = (0, 60)  # two to the power of it must be a float32

    def __init__(
        self,
        weighting: str = "ndcg_loss2_pp",
        k: int | None = None,
        sigma: float = 1.0,
        mu: float = 10.0,
        eps: float = 1e-10,
        name: str = "lambda_loss",
        **kwargs: Any,
    ):
        one_of(WEIGHTINGS).check("weighting", weighting)
        optional(COUNT).check("k", k)
        ABOVE_0.check("sigma", sigma)
        AT_LEAST_0.check("mu", mu)
        ABOVE_0.check("eps", eps)
        super().__init__(name=name, **kwargs)
        self.weighting, self.k, self.sigma, self.mu, self.eps = weighting, k, sigma, mu, eps

    def terms(self, scores: Any, labels: Any, same: Any) -> tuple[Any, Any]:
        ranks = _ranks(scores, same)
        gains = ops.power(2.0, ops.maximum(labels, 0.0)) - 1
        weights = self._weights(ranks, self._normalized(gains, labels, same))
        pairs = same
        if self.weighting != "ndcg_loss1":
            pairs = ops.logical_and(pairs, ops.greater(labels[:, None], labels[None, :]))
        if self.k is not None:
            top = ranks <= self.k
            pairs = ops.logical_and(pairs, ops.logical_or(top[:, None], top[None, :]))
        # Where a pair doesn't count it must give no gradient either.
        differences = ops.where(pairs, scores[:, None] - scores[None, :], 0.0)
        logs = ops.log_sigmoid(self.sigma * differences) / math.log(2)
        terms = -ops.sum(ops.where(pairs, weights * logs, 0.0), axis=-1)
        return terms, ops.sum(ops.cast(pairs, "float32"), axis=-1)

    def _normalized(self, gains: Any, labels: Any, same: Any) -> Any:
        """Return the gains over the ideal DCG of each query."""
        ideal = _ranks(labels, same)
        discounted = gains / ops.log2(1.0 + ideal)
        if self.k is not None:
            discounted = ops.where(ideal <= self.k, discounted, 0.0)
        best = ops.sum(ops.where(same, discounted[None, :], 0.0), axis=-1)
        return gains / ops.maximum(best, self.eps)

    def _weights(self, ranks: Any, gains: Any) -> Any:
        """Return the weights of pairs `[rows, rows]` by the paper's schemes."""
        if self.weighting == "none":
            return ops.ones_like(gains)[:, None]
        if self.weighting == "ndcg_loss1":
            return (gains / ops.log2(1.0 + ranks))[:, None]
        apart = ops.absolute(gains[:, None] - gains[None, :])
        inverse = 1.0 / ops.log2(1.0 + ranks)
        by_rank = ops.absolute(inverse[:, None] - inverse[None, :])
        if self.weighting == "lambda_rank":
            return by_rank * apart
        distance = ops.absolute(ranks[:, None] - ranks[None, :])
        # Of a row and itself, and of those of other queries, nothing is read.
        distance = ops.maximum(distance, 1.0)
        by_distance = 1.0 / ops.log2(1.0 + distance) - 1.0 / ops.log2(2.0 + distance)
        if self.weighting == "ndcg_loss2":
            return by_distance * apart
        return (self.mu * by_distance + by_rank) * apart


@keras.saving.register_keras_serializable(package="inarch.ranking")
class MarginMSELoss(RankingLoss):
    """Squared error of the margins of a positive over its negatives; the mean over the negatives.

    Labels are a teacher's scores of the documents, the positive first, whose differences are the
    margins to learn. Source: Hofstätter et al., 2020, arXiv:2010.02666; sentence-transformers'
    MarginMSELoss.
    """

    positive_first = True

    def __init__(self, name: str = "margin_mse", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def terms(self, scores: Any, labels: Any, same: Any) -> tuple[Any, Any]:
        first, is_first = _first_of(same)
        margins = ops.take(scores, first) - scores
        wanted = ops.take(labels, first) - labels
        # Of the positive itself it is 0.
        return ops.square(margins - wanted), ops.logical_not(is_first)


@keras.saving.register_keras_serializable(package="inarch.ranking")
class MarginRankingLoss(RankingLoss):
    """Hinge on the margins of a positive over its negatives; the mean over the negatives.

    Labels aren't read: the first document of a query is the positive. Source: torch.nn's
    MarginRankingLoss.

    Args:
        margin: by how much the positive's score should be above a negative's.

    Raises:
        InputError: `margin` is below 0.
    """

    positive_first = True
    needs_labels = False

    def __init__(self, margin: float = 1.0, name: str = "margin_ranking", **kwargs: Any):
        AT_LEAST_0.check("margin", margin)
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def terms(self, scores: Any, labels: Any, same: Any) -> tuple[Any, Any]:
        first, is_first = _first_of(same)
        short = ops.relu(self.margin - (ops.take(scores, first) - scores))
        negative = ops.logical_not(is_first)
        return ops.where(negative, short, 0.0), negative
