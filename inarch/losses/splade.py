"""Training loss of sparse vectors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from inarch.losses.embedding import EmbeddingLoss, in_batch_loss
from inarch.validation import ABOVE_0, AT_LEAST_0, check_fields


@keras.saving.register_keras_serializable(package="inarch")
class SpladeLoss(EmbeddingLoss):
    """Each query's document against all others of the batch, and a price on the terms in use.

    Examples are `(query, document)`, or `(query, document, negative, ...)` with hard negatives. The
    loss is the cross entropy of the dot products, plus the FLOPS regularizers: the sum over the
    vocabulary of the squared mean weight of a term, of the queries and of the documents.

    Sources: Formal et al., 2022, arXiv:2205.04733; Paria et al., 2020, arXiv:2004.05665;
    sentence-transformers' SpladeLoss around SparseMultipleNegativesRankingLoss.

    Args:
        document_regularizer_weight: factor on the documents' regularizer.
        query_regularizer_weight: factor on the queries' regularizer.
        scale: factor on the dot products, the inverse of a temperature.
        mini_batch_size: see `EmbeddingLoss`.

    Raises:
        InputError: a weight is below 0, or `scale` isn't above 0.
    """

    most_columns = None

    def __init__(
        self,
        document_regularizer_weight: float = 3e-5,
        query_regularizer_weight: float = 5e-5,
        scale: float = 1.0,
        mini_batch_size: int | None = None,
        name: str = "splade_loss",
        **kwargs: Any,
    ):
        super().__init__(mini_batch_size, name=name, **kwargs)
        self.document_regularizer_weight = document_regularizer_weight
        self.query_regularizer_weight = query_regularizer_weight
        self.scale = scale
        weights = ("document_regularizer_weight", "query_regularizer_weight")
        check_fields(self, dict.fromkeys(weights, AT_LEAST_0) | {"scale": ABOVE_0})

    def losses(self, columns: Any, y: Any) -> Any:
        queries, documents = columns[0], ops.reshape(columns[1:], (-1, columns.shape[-1]))
        loss = in_batch_loss(self.scale * ops.matmul(queries, ops.transpose(documents)))
        loss += self.document_regularizer_weight * _flops(documents)
        return loss + self.query_regularizer_weight * _flops(queries)


def _flops(vectors: Any) -> Any:
    return ops.sum(ops.square(ops.mean(vectors, axis=0)))
