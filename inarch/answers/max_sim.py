"""MaxSim, the similarity of two texts that have a vector for each token, and training by it.

Sources: Khattab & Zaharia, 2020, arXiv:2004.12832; sentence-transformers, util/similarity.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.losses.embedding import RecordedLoss, in_batch_loss
from inarch.validation import ABOVE_0, shown

# Numbers that a block of products may hold at a time.
_BLOCK = 1 << 24
# Score of a document without a vector, below those of all others; sentence-transformers' value.
EMPTY_SCORE = -1e9
# Product with a token that isn't compared, below those of all others.
_MASKED = -1e9
SIMILARITIES = ("maxsim", "meanmaxsim")


def max_sim(
    queries: Sequence[np.ndarray], documents: Sequence[np.ndarray], mean: bool = False
) -> np.ndarray:
    """Return the scores of documents for queries: each query vector's largest product, summed.

    Args:
        queries: the vectors of each query, float `[tokens, dim]`.
        documents: the vectors of each document, float `[tokens, dim]`; one without any has the
            score -1e9.
        mean: whether the products are averaged over a query's tokens in place of summed.

    Returns:
        float32 `[len(queries), len(documents)]`.
    """
    scores = np.full((len(queries), len(documents)), EMPTY_SCORE, np.float32)
    for rows in _blocks(queries, 1):
        left = np.concatenate([queries[i] for i in rows]).astype(np.float32)
        for columns in _blocks(documents, len(left)):
            right = np.concatenate([documents[i] for i in columns]).astype(np.float32)
            best = np.maximum.reduceat(left @ right.T, _starts(documents, columns), axis=1)
            scores[np.ix_(rows, columns)] = np.add.reduceat(best, _starts(queries, rows), axis=0)
    counts = np.array([len(query) for query in queries])
    filled = np.array([len(document) > 0 for document in documents], bool)
    scores[np.ix_(counts == 0, filled)] = 0.0
    return scores / counts.clip(1)[:, None].astype(np.float32) if mean else scores


def _blocks(texts: Sequence[np.ndarray], others: int) -> Iterator[list[int]]:
    """Yield the indices of texts with vectors, so many that their products are one block."""
    block: list[int] = []
    size = 0
    for index, vectors in enumerate(texts):
        if not len(vectors):
            continue
        numbers = len(vectors) * max(others, vectors.shape[1])
        if block and size + numbers > _BLOCK:
            yield block
            block, size = [], 0
        block.append(index)
        size += numbers
    if block:
        yield block


def _starts(texts: Sequence[np.ndarray], indices: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *(len(texts[i]) for i in indices[:-1])])


def checked_token_vectors(name: str, given: Any) -> list[np.ndarray]:
    """Return the argument `name` as a list of arrays `[tokens, dim]`, all of one width.

    Raises:
        InputTypeError: it isn't one such array, nor several.
        InputError: they are of several widths.
    """
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise InputTypeError(f"{name} is {shown(given)}; give what embed_query(texts) returns")
    single = getattr(given, "ndim", None) == 2
    vectors = [np.asarray(each) for each in ([given] if single else given)]
    for i, each in enumerate(vectors):
        if each.ndim != 2 or each.dtype.kind in "USOMm":
            raise InputTypeError(
                f"{name} has an array of {each.dtype} and shape {each.shape} for text {i}; give "
                "numbers [tokens, dim], such as embed_query(texts) returns"
            )
    widths = sorted({each.shape[1] for each in vectors})
    if len(widths) > 1:
        raise InputError(
            f"{name} has vectors of {' and '.join(map(str, widths))} numbers; take all of one model"
        )
    return vectors


@keras.saving.register_keras_serializable(package="inarch")
class MaxSimContrastive(RecordedLoss):
    """Each query's document against all others of the batch, by MaxSim.

    Examples are `(query, document)`, or `(query, document, negative, ...)` with hard negatives. The
    predictions are their vectors, column by column, `[columns * batch, length, dim]`, and the
    targets `[batch, columns, length]` 1 where a token's vector is compared. The loss is the cross
    entropy of the scores.

    Source: sentence-transformers' MultiVectorMultipleNegativesRankingLoss.

    Args:
        scale: factor on the scores, the inverse of a temperature.

    Raises:
        InputError: `scale` isn't above 0.
    """

    def __init__(self, scale: float = 1.0, name: str = "max_sim_contrastive", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        ABOVE_0.check("scale", scale)
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        compared = ops.transpose(ops.cast(y_true, "float32"), (1, 0, 2))
        batch, length, dim = ops.shape(y_true)[0], ops.shape(y_pred)[1], y_pred.shape[-1]
        vectors = ops.reshape(ops.cast(y_pred, "float32"), (-1, batch, length, dim))
        documents = ops.reshape(vectors[1:], (-1, length, dim))
        products = ops.einsum("qsd,ctd->qcst", vectors[0], documents)
        of_documents = ops.reshape(compared[1:], (1, -1, 1, length))
        products = ops.where(of_documents > 0, products, _MASKED)
        scores = ops.sum(ops.max(products, axis=-1) * compared[0][:, None], axis=-1)
        return in_batch_loss(self.scale * scores)
