"""Disentangled self-attention: separate products for contents and relative positions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import sqrt
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.attention_alternatives import attention_alternatives
from inarch.layers.axes import ATTENTION_AXES
from inarch.layers.buckets import distance_rows, table_span, take, wrong_rows
from inarch.layers.dot_product_attention import masked_softmax
from inarch.layers.dropout import Dropout
from inarch.layers.layer import Layer
from inarch.layers.mask import combine_masks, position_range, self_attention_mask

ops: Any = keras.ops  # Typed, every result may be None.

TERMS = ("c2p", "p2c")


@keras.saving.register_keras_serializable(package="inarch")
class DisentangledSelfAttention(Layer):
    """Self-attention over contents and relative positions (He et al., 2021, arXiv:2006.03654).

    The score of a key for a query is the sum of up to three products over the root of their
    number times a head's width: content to content, content to position (`c2p`: the query with
    the projected vector of their distance) and position to content (`p2c`: that vector with the
    key). `keras.layers.Dense` named `query`, `key`, `value` and `output`, and `position_key` and
    `position_query` where positions have their own, so that `enable_lora` works on each.

    The table is projected once for all sequences, and only what the length reaches of it, where
    that is less than half.

    Args:
        num_heads: number of heads; must divide the width of the inputs.
        max_relative_positions: the longest distance of either sign in the table.
        bucket_size: buckets of either sign; below 1 for none.
        dropout: rate of dropout on the attention probabilities.
        position_terms: `"c2p|p2c"`, `"c2p"`, `"p2c"` or `"none"`. What it names counts in the
            scale even where there are no relative embeddings, as in the reference.
        share_keys: whether positions are projected by the query and key layers of contents.
        position_dropout: rate of dropout on the relative embeddings.
        key_bias: whether the projections of keys, contents and positions alike, have a bias.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        relative_embeddings: float `[rows, dim]`, the output of `RelativeEmbedding`; `None` leaves
            positions out.
        attention_mask: bool or int `[length, length]`, `[batch, length, length]` or
            `[batch, 1, length, length]`, true where a token attends to another. One that
            attends to none averages all.
        return_attention_scores: whether to return the probabilities
            `[batch, num_heads, length, length]`.

    Returns:
        `output` `[batch, length, dim]`, or `(output, scores)`.

    Raises:
        InputError: `num_heads` doesn't divide the width, `position_terms` is unknown, or the
            sizes make no buckets.
    """

    axes = ATTENTION_AXES
    _softmax = staticmethod(masked_softmax)

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
        key_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
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
        self.query_dense = self.make_dense("query", width, inputs_shape)
        self.key_dense = self.make_dense("key", width, inputs_shape, self.key_bias)
        self.value_dense = self.make_dense("value", width, inputs_shape)
        self.output_dense = self.make_dense("output", width, inputs_shape)
        self.position_key_dense, self.position_query_dense = self.key_dense, self.query_dense
        self._rows: Any = None
        if relative_embeddings_shape is not None:
            # The row for each distance, and for the farthest ones of all the others.
            self._rows = distance_rows(self.bucket_size, self.max_relative_positions)
            if not self.share_keys and "c2p" in self.terms:
                self.position_key_dense = self.make_dense(
                    "position_key", width, inputs_shape, self.key_bias
                )
            if not self.share_keys and "p2c" in self.terms:
                self.position_query_dense = self.make_dense("position_query", width, inputs_shape)
        policy = {"dtype": self.dtype_policy}
        self.dropout_layer = Dropout(self.dropout, name="dropout", **policy)
        self.position_dropout_layer = Dropout(
            self.position_dropout, name="position_dropout", **policy
        )
        self.built = True

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
        mask = _heads_first(combine_masks(attention_mask))

        logits = ops.einsum("hbtd,hbsd->hbts", queries, keys)
        logits = logits + self._position_terms(queries, keys, relative_embeddings, training)
        weights = self._softmax(logits, mask)
        dropped = ops.cast(self.dropout_layer(weights, training=training), values.dtype)
        attended = ops.einsum("hbts,hbsd->bthd", dropped, values)
        output = self.output_dense(ops.reshape(attended, ops.shape(inputs)))
        if not return_attention_scores:
            return output
        return output, ops.cast(ops.swapaxes(weights, 0, 1), self.compute_dtype)

    # --- as a sublayer of a block --------------------------------------------------------------

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape, context_shapes.get("relative_embeddings"))

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        """Return attention over `x` and the `relative_embeddings` of a context."""
        scores = context.get("return_attention_scores", False)
        outputs = self(
            x,
            context.get("relative_embeddings"),
            attention_mask=self_attention_mask(
                context["padding_mask"], context.get("attention_mask")
            ),
            return_attention_scores=scores,
            training=training,
        )
        return (outputs[0], {"scores": outputs[1]}) if scores else (outputs, {})

    def _split_heads(self, x: Any) -> Any:
        """Reshape `[batch, length, heads * d]` to `[heads, batch, length, d]`."""
        x = ops.reshape(x, (*ops.shape(x)[:2], self.num_heads, x.shape[-1] // self.num_heads))
        return ops.transpose(x, (2, 0, 1, 3))

    def _position_terms(self, queries: Any, keys: Any, embeddings: Any, training: Any) -> Any:
        """Return the position terms of the scores, `[heads, batch, query, key]`, or 0."""
        if embeddings is None or not self.terms:
            return 0.0
        length = ops.shape(queries)[2]
        table = ops.expand_dims(self.position_dropout_layer(embeddings, training=training), 0)
        first, last = self._table_range(length)
        table = table[:, first:last]

        index = position_range(length)
        queries_at, keys_at = ops.expand_dims(index, 1), ops.expand_dims(index, 0)
        farthest = len(self._rows) // 2
        places = ops.clip(queries_at - keys_at, -farthest, farthest) + farthest
        rows = take(ops.convert_to_tensor(self._rows - first), places, axis=0)
        added: Any = 0.0
        if "p2c" in self.terms:
            vectors = self._split_heads(self.position_query_dense(table))[:, 0] * self._scale
            added = added + self._gather_products(keys, vectors, keys_at, rows)
        if "c2p" in self.terms:
            vectors = self._split_heads(self.position_key_dense(table))[:, 0]
            added = added + self._gather_products(queries, vectors, queries_at, rows)
        return added

    def _table_range(self, length: Any) -> tuple[int, int]:
        """Return the range of table rows that a sequence uses, or all if that is at least half."""
        farthest = len(self._rows) // 2
        whole = 0, 2 * table_span(self.bucket_size, self.max_relative_positions)
        if not isinstance(length, int) or length > farthest:
            return whole
        reached = self._rows[farthest - max(length - 1, 0) : farthest + max(length, 1)]
        first, last = int(reached.min()), int(reached.max()) + 1
        return (first, last) if 2 * (last - first) <= whole[1] else whole

    @staticmethod
    def _gather_products(x: Any, vectors: Any, tokens: Any, rows: Any) -> Any:
        """Return, for every pair of tokens, the product of one with the vector of their distance.

        Every token is multiplied with every vector first, once for all of its pairs.

        Args:
            x: float `[heads, batch, length, d]`.
            vectors: float `[heads, rows, d]`.
            tokens: int `[length, 1]` or `[1, length]`, which token of a pair is in `x`.
            rows: int `[length, length]`, which vector is the pair's.

        Returns:
            float `[heads, batch, length, length]`.
        """
        heads, batch, length, dim = ops.shape(x)
        count = ops.shape(vectors)[1]
        flat = ops.reshape(x, (heads, batch * length, dim))
        products = ops.einsum("hxd,hrd->hxr", flat, vectors)
        products = ops.reshape(products, (heads * batch, length * count))
        chosen = take(products, ops.reshape(tokens * count + rows, (-1,)), axis=1)
        return ops.reshape(chosen, (heads, batch, length, length))

    def branches(self) -> Alternatives:
        return {term: {"terms": tuple(t for t in self.terms if t != term)} for term in self.terms}

    def alternatives(self) -> Alternatives:
        """Return what is wrong with attention, or with position terms, table rows and buckets."""
        sizes = (self.bucket_size, self.max_relative_positions)
        gather, terms = self._gather_products, self._position_terms
        rows = distance_rows(*sizes) if self._rows is None else self._rows
        changes = {
            "distances with their sign flipped": lambda x, v, t, r: gather(
                x, v, t, ops.transpose(r)
            ),
            "a position term that is transposed": lambda x, v, t, r: ops.swapaxes(
                gather(x, v, t, r), 2, 3
            ),
        }
        looked_up = wrong_rows(rows, *sizes)
        return {
            **attention_alternatives(self, of_itself=True),
            **{f"no {term} term": without for term, without in self.branches().items()},
            **{
                f"{what} in {term}": {"_gather_products": partial(_in_term, term, change, gather)}
                for what, change in changes.items()
                for term in self.terms
            },
            **{
                f"position terms times {factor:.3g}": {
                    "_position_terms": lambda *args, factor=factor: factor * terms(*args)
                }
                for factor in (0.0, -1.0, 2.0, (1 + len(self.terms)) ** 0.5, 1 / self._scale)
            },
            "positions projected by each other's layer": {
                "position_key_dense": self.position_query_dense,
                "position_query_dense": self.position_key_dense,
            },
            "positions projected as keys alone": {"position_query_dense": self.position_key_dense},
            "positions projected as queries alone": {
                "position_key_dense": self.position_query_dense
            },
            "distances with their sign flipped": {"_rows": rows[::-1]},
            **{name: {"_rows": np.asarray(found, "int32")} for name, found in looked_up.items()},
        }


def _in_term(
    term: str, change: Any, gather: Any, x: Any, vectors: Any, tokens: Any, *rows: Any
) -> Any:
    """Gather the products of a term, `c2p` or `p2c`, in another way."""
    is_term = tokens.shape[0] == 1 if term == "p2c" else tokens.shape[0] > 1
    return (change if is_term else gather)(x, vectors, tokens, *rows)


def _heads_first(mask: Any) -> Any:
    """Return a mask of rank 2 to 4 as `[1 or heads, 1 or batch, T, S]`."""
    if mask is None:
        return None
    if len(mask.shape) == 4:
        return ops.swapaxes(mask, 0, 1)
    return ops.expand_dims(mask, (0, 1) if len(mask.shape) == 2 else 0)
