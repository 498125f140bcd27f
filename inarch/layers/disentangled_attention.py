"""Attention that weighs what tokens say and how far apart they stand, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.attention import HIDDEN
from inarch.layers.initializer import fresh_initializer
from inarch.layers.mask import combine_masks
from inarch.layers.relative_position import rows_of_distances, table_span

ops: Any = keras.ops  # Typed, every result may be None.

TERMS = ("c2p", "p2c")
# Queries of a block. Their scores over all distances are twice as wide as needed where the block
# is the whole sequence, and hardly wider than the keys where it is short.
BLOCK = 128


@keras.saving.register_keras_serializable(package="inarch")
class RelativeEmbedding(keras.layers.Layer):
    """A trained vector for every distance, or bucket of distances, between two tokens.

    Source: He et al., 2021, arXiv:2006.03654, section 3.1.

    Args:
        max_relative_positions: the longest distance of either sign.
        bucket_size: buckets of either sign, in place of distances; below 1 for none.
        initializer: of the table.

    Call arguments:
        inputs: float `[batch, length, dim]`, read for its width alone.

    Returns:
        float `[2 * bucket_size or 2 * max_relative_positions, dim]`, whatever the batch.
    """

    def __init__(
        self,
        max_relative_positions: int = 512,
        bucket_size: int = 256,
        initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.max_relative_positions = max_relative_positions
        self.bucket_size = bucket_size
        self.initializer = keras.initializers.get(initializer)

    def build(self, inputs_shape: Any) -> None:
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=self.compute_output_shape(inputs_shape),
            initializer=self.initializer,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.convert_to_tensor(self.embeddings)

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return 2 * table_span(self.bucket_size, self.max_relative_positions), inputs_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_relative_positions": self.max_relative_positions,
            "bucket_size": self.bucket_size,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="inarch")
class DisentangledSelfAttention(keras.layers.Layer):
    """Self-attention over contents and relative positions (He et al., 2021, arXiv:2006.03654).

    The score of a key for a query is the sum of up to three products over the root of their
    number times a head's width: content to content, content to position (`c2p`: the query with
    the projected vector of their distance) and position to content (`p2c`: that vector with the
    key). `keras.layers.Dense` named `query`, `key`, `value` and `output`, and `position_key` and
    `position_query` where positions have their own, so that `enable_lora` works on each.

    The distances are projected once for all sequences, and of the table only what the length
    reaches, where that is less than half.

    Args:
        num_heads: number of heads; must divide the width of the inputs.
        max_relative_positions: the longest distance of either sign in the table.
        bucket_size: buckets of either sign; below 1 for none.
        dropout: rate of dropout on the attention probabilities.
        position_terms: `"c2p|p2c"`, `"c2p"`, `"p2c"` or `"none"`. What it names counts in the
            scale even where there are no relative embeddings, as in the original.
        share_keys: whether positions are projected by the query and key layers of contents.
        position_dropout: rate of dropout on the relative embeddings.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        relative_embeddings: float `[rows, dim]`, what `RelativeEmbedding` gives; `None` leaves
            positions out.
        attention_mask: bool or int `[length, length]`, `[batch, length, length]` or
            `[batch, 1, length, length]`, true where a token sees another. One that sees none
            averages all.
        return_attention_scores: whether to return the probabilities
            `[batch, num_heads, length, length]`.

    Returns:
        `output` `[batch, length, dim]`, or `(output, scores)`.

    Raises:
        InputError: `num_heads` doesn't divide the width, `position_terms` is unknown, or the
            sizes make no buckets.
    """

    def __init__(
        self,
        num_heads: int,
        max_relative_positions: int = 512,
        bucket_size: int = 256,
        dropout: float = 0.0,
        *,
        position_terms: str = "c2p|p2c",
        share_keys: bool = True,
        position_dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.max_relative_positions = max_relative_positions
        self.bucket_size = bucket_size
        self.dropout = dropout
        self.position_terms = position_terms
        self.share_keys = share_keys
        self.position_dropout = position_dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.supports_masking = True
        if position_terms != "none" and not set(position_terms.split("|")) <= set(TERMS):
            raise InputError(
                f"position_terms={position_terms!r} is unknown. Pass 'c2p|p2c', 'c2p', 'p2c' or "
                "'none'."
            )
        self.terms = tuple(term for term in TERMS if term in position_terms.split("|"))

    def build(self, inputs_shape: Any, relative_embeddings_shape: Any = None) -> None:
        width = inputs_shape[-1]
        if self.num_heads < 1 or width % self.num_heads:
            raise InputError(
                f"num_heads={self.num_heads} doesn't divide the hidden size {width}. Choose a "
                "number of heads that does."
            )
        self._scale = 1 / sqrt((1 + len(self.terms)) * (width // self.num_heads))
        self.query_dense = self._dense("query", inputs_shape)
        self.key_dense = self._dense("key", inputs_shape)
        self.value_dense = self._dense("value", inputs_shape)
        self.output_dense = self._dense("output", inputs_shape)
        self.position_key_dense, self.position_query_dense = self.key_dense, self.query_dense
        self._rows: Any = None
        if relative_embeddings_shape is not None:
            # The row for each distance, and for the farthest ones of all the others.
            self._rows = rows_of_distances(self.bucket_size, self.max_relative_positions)
            if not self.share_keys and "c2p" in self.terms:
                self.position_key_dense = self._dense("position_key", inputs_shape)
            if not self.share_keys and "p2c" in self.terms:
                self.position_query_dense = self._dense("position_query", inputs_shape)
        policy = {"dtype": self.dtype_policy}
        self.dropout_layer = keras.layers.Dropout(self.dropout, **policy)
        self.position_dropout_layer = keras.layers.Dropout(self.position_dropout, **policy)
        self.built = True

    def _dense(self, name: str, inputs_shape: Any) -> keras.layers.Dense:
        layer = keras.layers.Dense(
            inputs_shape[-1],
            kernel_initializer=fresh_initializer(self.kernel_initializer),
            bias_initializer=fresh_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(inputs_shape)
        return layer

    def call(
        self,
        inputs: Any,
        relative_embeddings: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        queries = self._split_heads(self.query_dense(inputs)) * self._scale
        keys = self._split_heads(self.key_dense(inputs))
        values = self._split_heads(self.value_dense(inputs))
        length = ops.shape(inputs)[1]
        near = self._tables(relative_embeddings, length, training)
        mask = _heads_first(combine_masks(attention_mask))

        blocks = _blocks(length)
        from_keys = None
        if "p2c" in near:  # a block of keys at a time, so `[heads, batch, key, query]`
            parts = [_skewed(keys[:, :, b], near["p2c"], b.start, length, -1) for b in blocks]
            from_keys = ops.swapaxes(_joined(parts, axis=2), 2, 3) * self._scale
        attended, kept = [], []
        for block in blocks:
            asking = queries[:, :, block]
            logits = ops.einsum("hbtd,hbsd->hbts", asking, keys)
            if "c2p" in near:
                logits = logits + _skewed(asking, near["c2p"], block.start, length, 1)
            if from_keys is not None:
                logits = logits + from_keys[:, :, block]
            weights = _softmax(logits, None if mask is None else mask[:, :, block])
            kept += [weights] if return_attention_scores else []
            dropped = ops.cast(self.dropout_layer(weights, training=training), values.dtype)
            attended.append(ops.einsum("hbts,hbsd->bthd", dropped, values))
        output = self.output_dense(ops.reshape(_joined(attended, axis=1), ops.shape(inputs)))
        if not return_attention_scores:
            return output
        return output, ops.cast(ops.swapaxes(_joined(kept, axis=2), 0, 1), self.compute_dtype)

    def _split_heads(self, x: Any) -> Any:
        """`[batch, length, heads * d]` to `[heads, batch, length, d]`."""
        x = ops.reshape(x, (*ops.shape(x)[:2], self.num_heads, x.shape[-1] // self.num_heads))
        return ops.transpose(x, (2, 0, 1, 3))

    def _tables(
        self, embeddings: Any, length: Any, training: bool | None
    ) -> dict[str, Callable[[Any], Any]]:
        """For each term what looks up projected vectors `[heads, n, d]` of distances `[n]`."""
        if embeddings is None or not self.terms:
            return {}
        embeddings = ops.expand_dims(self.position_dropout_layer(embeddings, training=training), 0)
        first, last = self._reach(length)
        if 2 * (last - first) <= embeddings.shape[1]:
            embeddings = embeddings[:, first:last]
        else:
            first = 0
        rows, farthest = ops.convert_to_tensor(self._rows - first), len(self._rows) // 2

        def lookup(table: Any, distances: Any) -> Any:
            places = ops.clip(distances, -farthest, farthest) + farthest
            return ops.take(table, ops.take(rows, places), axis=1)

        projections = {"p2c": self.position_query_dense, "c2p": self.position_key_dense}
        return {
            term: partial(lookup, self._split_heads(dense(embeddings))[:, 0])
            for term, dense in projections.items()
            if term in self.terms
        }

    def _reach(self, length: Any) -> tuple[int, int]:
        """The rows of the table that a sequence can need; all, where its length is unknown."""
        farthest = len(self._rows) // 2
        if not isinstance(length, int) or length > farthest:
            return 0, int(self._rows.max()) + 1
        # One farther than there is any token: `_skewed` has a column more than it keeps.
        reached = self._rows[farthest - length : farthest + length + 1]
        return int(reached.min()), int(reached.max()) + 1

    # --- Keras ---------------------------------------------------------------------------------

    def compute_output_shape(self, inputs_shape: Any, relative_embeddings_shape: Any = None) -> Any:
        return inputs_shape

    def compute_output_spec(
        self,
        inputs: Any,
        relative_embeddings: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        output = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        batch, length = inputs.shape[:2]
        shape = (batch, self.num_heads, length, length)
        return output, keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "max_relative_positions": self.max_relative_positions,
            "bucket_size": self.bucket_size,
            "dropout": self.dropout,
            "position_terms": self.position_terms,
            "share_keys": self.share_keys,
            "position_dropout": self.position_dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def _blocks(length: Any) -> list[slice]:
    """Slices of a sequence; one, where its length is unknown."""
    if not isinstance(length, int):
        return [slice(0, length)]
    return [slice(i, min(i + BLOCK, length)) for i in range(0, max(length, 1), BLOCK)]


def _joined(parts: list[Any], axis: int) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)


def _heads_first(mask: Any) -> Any:
    """A mask of rank 2 to 4 as `[1 or heads, 1 or batch, T, S]`."""
    if mask is None:
        return None
    if len(mask.shape) == 4:
        return ops.swapaxes(mask, 0, 1)
    return ops.expand_dims(mask, (0, 1) if len(mask.shape) == 2 else 0)


def _skewed(x: Any, near: Callable[[Any], Any], start: Any, length: Any, sign: int) -> Any:
    """The product of every token of a block with its distance to every token of the sequence.

    Columns are distances first, one for all sequences, so that no vector is looked up for a pair
    of tokens. A row then is one further along than the row above; cut into rows that are one
    shorter, the same numbers stand straight (as in Huang et al., 2018, arXiv:1809.04281).

    Args:
        x: float `[heads, batch, n, d]`, the tokens of the block.
        near: looks up vectors `[heads, m, d]` of distances `[m]`.
        start: index of the first token of the block.
        length: tokens of the sequence.
        sign: 1 if the tokens are queries, -1 if they are keys.

    Returns:
        float `[heads, batch, n, length]`.
    """
    heads, batch, size, dim = ops.shape(x)
    width = length + size
    distances = sign * (start + size - 1 - ops.arange(width, dtype="int32"))
    flat = ops.reshape(x, (heads, batch * size, dim))
    products = ops.einsum("hxd,hrd->hxr", flat, near(distances))
    products = ops.reshape(products, (heads, batch, size * width))
    straight = products[:, :, size - 1 : size - 1 + size * (width - 1)]
    return ops.reshape(straight, (heads, batch, size, width - 1))[..., :length]


def _softmax(logits: Any, mask: Any) -> Any:
    """Probabilities over the last axis, in float32 at least."""
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if mask is not None:
        logits = ops.where(mask, logits, HIDDEN)
    return ops.softmax(logits, axis=-1)
