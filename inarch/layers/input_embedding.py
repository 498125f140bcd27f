"""Embedding of the tokens that a stack of layers reads, with a table that several stacks share."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from inarch.layers.alternatives import Alternatives, changed
from inarch.layers.embedding import PositionEmbedding
from inarch.layers.layer import Layer, copy_layer
from inarch.layers.mask import masked_positions, same_sequence, token_positions

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class FixedPositionEmbedding(PositionEmbedding):
    """A constant vector per position, from a table that is computed in place of trained.

    Arguments and calls are those of `PositionEmbedding`; `initializer` has a method `table`, as
    `SinePositions` has. Rows before the `offset` are 0. There are no weights.
    """

    def build(self, inputs_shape: Any) -> None:
        table = self.initializer.table(self.sequence_length + self.offset, inputs_shape[-1])
        table[: self.offset] = 0
        self.position_embeddings = table
        self.built = True


@keras.saving.register_keras_serializable(package="inarch")
class InputEmbedding(Layer):
    """The input of a stack: tokens times a number, projected, plus positions, normalized.

    Args:
        token_embedding: the table of tokens, which other layers may have too.
        position_embedding: the layer of positions, of which this one gets a copy.
        norm: normalization of the sum, of which this one gets a copy; `None` for none.
        projection: layer from the table's width to the stack's, of which this one gets a copy;
            `None` where they are equal.
        scale: factor of the tokens' vectors.
        padding_id: id of the padding token, for positions as fairseq counts them, over the tokens
            that aren't padding; `None` counts all.
        skips_padding: whether positions count the tokens of `padding_mask` alone, so that padding
            before them shifts none.

    Call arguments:
        inputs: int `[batch, length]`, token ids.
        positions: int `[length]` or `[batch, length]`; by default counted from 0.
        padding_mask: int or bool `[batch, length]` of sequence ids (see `inarch.layers.mask`);
            positions restart with every packed sequence.

    Returns:
        float `[batch, length, dim]`.

    Raises:
        InputError: `inputs` is longer than there are positions, and no `positions` are given.
    """

    templates = ("norm", "projection")
    pairs_with_module = False

    def __init__(
        self,
        token_embedding: keras.layers.ReversibleEmbedding,
        position_embedding: PositionEmbedding,
        norm: Any = None,
        scale: float = 1.0,
        padding_id: int | None = None,
        projection: Any = None,
        skips_padding: bool = False,
        **kwargs: Any,
    ): ...

    def set_argument(self, name: str, value: Any) -> None:
        if name == "position_embedding":
            value = copy_layer(value, name, self.dtype_policy)
        super().set_argument(name, value)

    def build(self, inputs_shape: Any) -> None:
        shape = self.compute_output_shape(inputs_shape)
        if not self.token_embedding.built:
            self.token_embedding.build(inputs_shape)
        self.token_projection = None
        if self.projection is not None:
            self.token_projection = copy_layer(self.projection, "projection", self.dtype_policy)
            self.token_projection.build((*inputs_shape, self.token_embedding.output_dim))
        self.position_embedding.build(shape)
        self.embedding_norm = None
        if self.norm is not None:
            self.embedding_norm = copy_layer(self.norm, "norm", self.dtype_policy)
            self.embedding_norm.build(shape)
        self.built = True

    def call(self, inputs: Any, positions: Any = None, padding_mask: Any = None) -> Any:
        x = self.token_embedding(inputs)
        x = x if self.scale == 1.0 else x * ops.cast(self.scale, x.dtype)
        x = x if self.token_projection is None else self.token_projection(x)
        x = x + self._position_vectors(x, inputs, positions, padding_mask)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def _position_vectors(self, x: Any, token_ids: Any, positions: Any, padding_mask: Any) -> Any:
        if positions is None and self.padding_id is not None:
            self.position_embedding.check_length(token_ids.shape[-1])
            mask = ops.ones_like(token_ids) if padding_mask is None else padding_mask
            positions = token_positions(token_ids, self.padding_id, mask) - (self.padding_id + 1)
        elif positions is None and self.skips_padding and padding_mask is not None:
            self.position_embedding.check_length(token_ids.shape[-1])
            positions = masked_positions(padding_mask)
        elif positions is not None and self.padding_id is not None:
            # Padding that is generated has the position of padding, too.
            positions = ops.where(ops.equal(token_ids, self.padding_id), -1, positions)
        return self.position_embedding(x, positions=positions, padding_mask=padding_mask)

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        narrow = self.token_embedding.output_dim
        return (*inputs_shape, narrow if self.projection is None else self.projection.units)

    def alternatives(self) -> Alternatives:
        found: dict[str, Any] = {}
        if not self.position_embedding.weights:  # a layer without weights isn't looked at by itself
            for phrase, attributes in self.position_embedding.alternatives().items():
                found[phrase] = {"_position_vectors": partial(self._changed_positions, attributes)}
        if self.scale != 1.0:
            found["tokens that aren't scaled"] = {"scale": 1.0}
            found["tokens that are divided by their scale"] = {"scale": 1 / self.scale}
        if self.embedding_norm is not None:
            found["the sum in place of its norm"] = {"embedding_norm": None}
        return found

    def _changed_positions(self, attributes: Mapping[str, Any], *args: Any) -> Any:
        with changed(self.position_embedding, attributes):
            return type(self)._position_vectors(self, *args)


@keras.saving.register_keras_serializable(package="inarch")
class ShiftRight(Layer):
    """Token ids of a text each one place later, after a start token, as a decoder reads them.

    Source: Lewis et al., 2019, arXiv:1910.13461, section 3; transformers, models/bart/
    modeling_bart.py and models/mbart/modeling_mbart.py, `shift_tokens_right`.

    Args:
        start_id: id of the start token; `None` is that of a text's last token, which names a
            language in mBART.

    Call arguments:
        inputs: int `[batch, length]`, token ids.
        padding_mask: int `[batch, length]` of sequence ids; each packed sequence has its start.

    Returns:
        int32 `[batch, length]`.
    """

    def __init__(self, start_id: int | None, **kwargs: Any):
        self.built = True

    def call(self, inputs: Any, padding_mask: Any) -> Any:
        ids, mask = ops.cast(inputs, "int32"), ops.cast(padding_mask, "int32")
        starts = self._last_tokens(ids, mask) if self.start_id is None else self.start_id
        ids = ops.concatenate([ops.zeros_like(ids[:, :1]), ids[:, :-1]], axis=1)
        before = ops.concatenate([ops.zeros_like(mask[:, :1]), mask[:, :-1]], axis=1)
        is_first = ops.logical_and(ops.not_equal(before, mask), ops.not_equal(mask, 0))
        return ops.where(is_first, starts, ids)

    def _last_tokens(self, ids: Any, mask: Any) -> Any:
        """Return the last token of each token's sequence, int32 `[batch, length]`."""
        after = ops.concatenate([mask[:, 1:], ops.zeros_like(mask[:, :1])], axis=1)
        last = ops.where(ops.not_equal(after, mask), ids, 0)  # of each sequence, else 0
        # A sum over pairs instead of a lookup, which would fix the length of an exported graph.
        pairs = ops.cast(same_sequence(mask, mask), "int32")
        return ops.cast(ops.sum(pairs * ops.expand_dims(last, 1), axis=-1), "int32")

    def compute_output_spec(self, inputs: Any, padding_mask: Any) -> Any:
        return keras.KerasTensor(inputs.shape, dtype="int32")
