"""A loss of sentence vectors over several of their dimensions at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.losses.embedding import EmbeddingLoss, unit
from inarch.validation import NUMBER, check_count, shown


@keras.saving.register_keras_serializable(package="inarch")
class MatryoshkaLoss(EmbeddingLoss):
    """Sum of a loss over vectors cut to several dimensions, each normalised to length one.

    A model that is trained by it can be used with a `truncate_dim` at little loss. Source: Kusupati
    et al., 2022, arXiv:2205.13147; sentence-transformers.

    Args:
        loss: another `EmbeddingLoss`.
        matryoshka_dims: the dimensions, the model's own among them.
        matryoshka_weights: factor of each; 1 where not given.
    """

    def __init__(
        self,
        loss: EmbeddingLoss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(loss, EmbeddingLoss):
            raise InputTypeError(
                f"loss is {shown(loss)}; give a loss of sentence vectors, such as "
                "MultipleNegativesRankingLoss()"
            )
        super().__init__(loss.mini_batch_size, **kwargs)
        self.loss = loss
        self.matryoshka_dims = _dimensions(matryoshka_dims)
        given = (
            [1.0] * len(self.matryoshka_dims) if matryoshka_weights is None else matryoshka_weights
        )
        self.matryoshka_weights = tuple(given)
        if len(self.matryoshka_weights) != len(self.matryoshka_dims):
            raise InputError(
                f"there are {len(self.matryoshka_weights)} matryoshka_weights for "
                f"{len(self.matryoshka_dims)} matryoshka_dims; give one for each"
            )
        for weight in self.matryoshka_weights:
            NUMBER.check("a weight in matryoshka_weights", weight)
        self.least_columns, self.most_columns = loss.least_columns, loss.most_columns
        self.weighs_examples = loss.weighs_examples

    def targets(self, y: np.ndarray | None, count: int, columns: int, dim: int) -> np.ndarray:
        return self.loss.targets(y, count, columns, dim)

    def at_dimension(self, y: Any, dim: int) -> Any:
        return self.loss.at_dimension(y, dim)

    def check_dimension(self, dim: int) -> None:
        if max(self.matryoshka_dims) > dim:
            raise InputError(
                f"matryoshka_dims has {max(self.matryoshka_dims)}, and the model's vectors have "
                f"{dim} numbers; give at most those"
            )

    def losses(self, columns: Any, y: Any) -> Any:
        return sum(
            weight * self.loss.losses(unit(columns[..., :dim]), self.loss.at_dimension(y, dim))
            for dim, weight in zip(self.matryoshka_dims, self.matryoshka_weights, strict=True)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "loss": keras.saving.serialize_keras_object(self.loss),
            "matryoshka_dims": list(self.matryoshka_dims),
            "matryoshka_weights": list(self.matryoshka_weights),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MatryoshkaLoss:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _dimensions(dims: Any) -> tuple[int, ...]:
    if isinstance(dims, str) or not isinstance(dims, Sequence) or not dims:
        raise InputTypeError(f"matryoshka_dims is {shown(dims)}; give a list of dimensions")
    for dim in dims:
        check_count("a dimension in matryoshka_dims", dim)
    return tuple(dims)
