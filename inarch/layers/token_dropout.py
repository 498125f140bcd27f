"""Embedding of tokens in a model that was trained with masked tokens dropped from its input."""

from __future__ import annotations

from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.embedding import PositionEmbedding
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer, copy_layer
from inarch.layers.mask import same_sequence, token_positions

ops: Any = keras.ops  # Typed, every result may be None.

# Masked language modeling chooses 15% of the tokens, and hides 80% of those.
RATE = 0.15 * 0.8


@keras.saving.register_keras_serializable(package="inarch")
class TokenDropoutEmbedding(Layer):
    """Token embedding in which mask tokens count as dropped, then positions and a norm, if any.

    A mask token's vector is 0, and the vectors of a sequence of which a share `s` is masked are
    multiplied by `(1 - rate) / (1 - s)`, as inverted dropout would: so a text without masks has the
    scale that training had on average. Padding's vectors are 0 in the end.

    Source: Rives et al., 2021, doi:10.1073/pnas.2016239118; facebookresearch/esm, esm/model/
    esm2.py.

    Args:
        vocabulary_size: rows of the table of tokens.
        embedding_dim: its columns.
        mask_id: id of the mask token; `None` leaves the tokens' vectors as they are.
        position_embedding: a `PositionEmbedding`, of which this layer gets a copy; `None` for none.
        padding_id: id of the padding token, from which positions are counted as fairseq does it.
        norm: normalization of the sum, of which this layer gets a copy; `None` for none.
        rate: share of the tokens that training masked on average.
        embeddings_initializer: of the table of tokens.

    Call arguments:
        inputs: int `[batch, length]`, token ids.
        padding_mask: int or bool `[batch, length]` of sequence ids (see `inarch.layers.mask`);
            each packed sequence has a share of masks, and positions, of its own.

    Returns:
        float `[batch, length, embedding_dim]`.

    Raises:
        InputError: `rate` isn't from 0 to 1; or `inputs` is longer than there are positions.
    """

    templates = ("norm",)

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        mask_id: int | None = None,
        position_embedding: PositionEmbedding | None = None,
        padding_id: int = 1,
        norm: Any = None,
        rate: float = RATE,
        embeddings_initializer: Any = "uniform",
        **kwargs: Any,
    ):
        if not 0 <= rate < 1:
            raise InputError(f"rate={rate!r}. Pass a share of the tokens, from 0 to below 1.")
        # Made here, not in build: a masked-LM head takes `token_embedding` before the first call.
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer=fresh_initializer(self.embeddings_initializer),
            reverse_dtype=self.compute_dtype,
            dtype=self.dtype_policy,
            name="token_embedding",
        )

    def set_argument(self, name: str, value: Any) -> None:
        if name == "position_embedding" and value is not None:
            value = copy_layer(value, name, self.dtype_policy)
        super().set_argument(name, value)

    def build(self, inputs_shape: Any, padding_mask_shape: Any = None) -> None:
        shape = self.compute_output_shape(inputs_shape)
        self.token_embedding.build(inputs_shape)
        if self.position_embedding is not None:
            self.position_embedding.build(shape)
        self.embedding_norm = None
        if self.norm is not None:
            self.embedding_norm = copy_layer(self.norm, "norm", self.dtype_policy)
            self.embedding_norm.build(shape)
        self.built = True

    def call(self, inputs: Any, padding_mask: Any) -> Any:
        mask = ops.cast(padding_mask, "int32")
        x = self.token_embedding(inputs)
        if self.mask_id is not None:
            x = x * ops.cast(self._factors(inputs, mask), x.dtype)
        if self.position_embedding is not None:
            self.position_embedding.check_length(inputs.shape[-1], self.padding_id + 1)
            positions = token_positions(inputs, self.padding_id, mask)
            x = x + self.position_embedding(x, positions=positions)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        return x * ops.cast(ops.expand_dims(ops.not_equal(mask, 0), -1), x.dtype)

    def _factors(self, token_ids: Any, mask: Any) -> Any:
        """Return what each token's vector is multiplied by, float32 `[batch, length, 1]`."""
        is_kept = ops.cast(ops.expand_dims(self._is_kept(token_ids), -1), "float32")
        ids = ops.abs(mask)
        alike = ops.cast(same_sequence(ids, ids), "float32")
        kept, tokens = ops.matmul(alike, is_kept), ops.sum(alike, axis=-1, keepdims=True)
        # Where nothing is kept there is nothing to scale.
        return is_kept * self._scale(kept, tokens)

    def _is_kept(self, token_ids: Any) -> Any:
        return ops.not_equal(token_ids, self.mask_id)

    def _scale(self, kept: Any, tokens: Any) -> Any:
        """Return the factor of sequences with so many tokens, of which so many are kept."""
        return (1 - self.rate) * tokens / ops.maximum(kept, 1)

    def compute_output_shape(self, inputs_shape: Any, padding_mask_shape: Any = None) -> Any:
        return (*inputs_shape, self.embedding_dim)

    def branches(self) -> Alternatives:
        """Return what a mask token switches on, where there is one."""
        return {"token dropout": {"mask_id": None}} if self.mask_id is not None else {}

    def alternatives(self) -> Alternatives:
        found: dict[str, Any] = {}
        if self.embedding_norm is not None:
            found["the sum in place of its norm"] = {"embedding_norm": None}
        if self.mask_id is None:
            return found
        scale = self._scale
        return {
            **found,
            "tokens without token dropout": {"mask_id": None},
            "mask tokens that aren't dropped": {"_is_kept": ops.ones_like},
            "tokens that aren't scaled for masks": {"_scale": lambda kept, tokens: 1.0},
            "tokens that are scaled by the rate of training alone": {
                "_scale": lambda kept, tokens: 1 - self.rate
            },
            "tokens that are scaled by their own masks alone": {
                "_scale": lambda kept, tokens: scale(kept, tokens) / (1 - self.rate)
            },
            "tokens that are divided by their scale": {
                "_scale": lambda kept, tokens: 1 / scale(kept, tokens)
            },
            "masks counted over padding too": {
                "_factors": lambda ids, mask: type(self)._factors(self, ids, ops.ones_like(mask))
            },
        }
