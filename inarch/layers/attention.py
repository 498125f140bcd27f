"""Multi-head attention: self, cross, and with a key/value cache."""

from collections.abc import Mapping
from math import sqrt
from numbers import Integral
from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.cache import cache_length, is_pair, make_cache, read_cache, update_cache
from inarch.layers.dot_product_attention import MASKED_LOGIT, attend_to_cache, dot_product_attention
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer
from inarch.layers.mask import combine_masks, self_attention_mask

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class MultiHeadAttention(Layer):
    """Scaled dot-product attention in several heads (Vaswani et al., 2017, arXiv:1706.03762).

    Four `keras.layers.Dense` named `query`, `key`, `value` and `output` with plain 2-D kernels, so
    that `enable_lora` and `quantize` work on each. Heads lie side by side in their columns.

    Args:
        num_heads: number of heads.
        key_dim: width of a head of queries and keys; `None` is the query's width over `num_heads`.
        value_dim: width of a head of values; `None` is `key_dim`.
        dropout: rate of dropout on the attention probabilities.
        use_bias: whether the four projections have biases.
        query_bias, key_bias, value_bias, output_bias: overrides of `use_bias` for one projection.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.

    Call arguments:
        query: float `[batch, T, dim]`.
        value: float `[batch, S, value width]`.
        key: float `[batch, S, key width]`; `None` is `value`.
        attention_mask: bool or int `[T, S]`, `[batch, T, S]` or `[batch, 1, T, S]`, true where a
            query attends to a key. A query that attends to none averages all values.
        cache: projected keys and values: a pair of float `[batch * num_heads, key_dim, S]` (see
            `inarch.layers.cache`), or both as `[batch, 2, S, num_heads, key_dim]`, which is slower.
            One that is used as it is may have fewer rows, `batch` over a whole number:
            neighboring rows share one, and there is no mask.
        cache_update_index: where in the cache the keys and values of this call go; `None` uses
            the cache as it is, and ignores `key` and `value`.
        return_attention_scores: whether to return the probabilities `[batch, num_heads, T, S]`.

    Returns:
        `output` `[batch, T, dim]`, or `(output, scores)`, `(output, cache)` or
        `(output, scores, cache)`.

    Raises:
        InputError: `num_heads` doesn't divide the query's width and `key_dim` isn't given; or
            `cache` and `cache_update_index` don't fit together.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int | None = None,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        query_bias: bool | None = None,
        key_bias: bool | None = None,
        value_bias: bool | None = None,
        output_bias: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        for argument, size in {"num_heads": num_heads, "key_dim": key_dim}.items():
            if size is not None and size < 1:
                raise InputError(f"{argument}={size}. Pass a positive int.")
        self.supports_masking = True

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        width = query_shape[-1]
        if self.key_dim is None and width % self.num_heads:
            raise InputError(
                f"num_heads={self.num_heads} doesn't divide the hidden size {width}. Choose a "
                "number of heads that does."
            )
        key_dim = self.key_dim or width // self.num_heads
        value_dim = self.value_dim or key_dim
        # jax's fused attention takes heads of one width only.
        self._fusible = key_dim == value_dim
        self._scale = 1 / sqrt(key_dim)

        self.query_dense = self._dense("query", self.num_heads * key_dim, self.query_bias)
        self.key_dense = self._dense("key", self.num_heads * key_dim, self.key_bias)
        self.value_dense = self._dense("value", self.num_heads * value_dim, self.value_bias)
        self.output_dense = self._dense("output", width, self.output_bias)
        self.query_dense.build(query_shape)
        self.key_dense.build(key_shape or value_shape)
        self.value_dense.build(value_shape)
        self.output_dense.build((*query_shape[:-1], self.num_heads * value_dim))
        self.dropout_layer = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="dropout"
        )
        self.built = True

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        attention_mask: Any = None,
        cache: Any = None,
        cache_update_index: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        queries = self._split_heads(self.query_dense(query))
        keys, values, cache = self._keys_and_values(
            value if key is None else key, value, cache, cache_update_index
        )
        queries = _merge_rows_of_shared_keys(queries, keys)
        mask = combine_masks(attention_mask)
        if mask is not None:
            mask = ops.expand_dims(mask, {2: (0, 1), 3: 1, 4: ()}[len(mask.shape)])

        scores = None
        if return_attention_scores or (training and self.dropout) or not self._fusible:
            scores = self._scores(queries, keys, mask)
            dropped = ops.cast(self.dropout_layer(scores, training=training), values.dtype)
            attended = ops.einsum("bhts,bshd->bthd", dropped, values)
        elif is_pair(cache):
            attended = attend_to_cache(queries, cache, mask, self._scale)
        else:
            attended = dot_product_attention(queries, keys, values, mask, self._scale)
        shape = (*ops.shape(query)[:2], self.num_heads * values.shape[-1])
        output = self.output_dense(ops.reshape(attended, shape))

        if not return_attention_scores:
            return output if cache is None else (output, cache)
        scores = ops.cast(scores, self.compute_dtype)
        return (output, scores) if cache is None else (output, scores, cache)

    # --- a part of a block ---------------------------------------------------------------------

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape, context_shapes.get("source", shape))

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        """Return attention over `x`, or over the `source` of a context, and what is asked for."""
        cache, source = context.get("cache"), context.get("source")
        mask = context.get("mask")
        if "mask" not in context:
            mask = self_attention_mask(context.get("padding_mask"), context.get("attention_mask"))
        scores = context.get("return_attention_scores", False)
        outputs = self(
            x,
            x if source is None else source,
            attention_mask=mask,
            cache=cache,
            cache_update_index=context.get("cache_index"),
            return_attention_scores=scores,
            training=training,
        )
        names = ["scores"] * scores + ["cache"] * (cache is not None)
        if not names:
            return outputs, {}
        y, *found = outputs
        return y, dict(zip(names, found, strict=True))

    def make_cache(self, value: Any, key: Any = None) -> Any:
        """Return the projected keys and values as a cache."""
        keys, values, _ = self._keys_and_values(value if key is None else key, value, None, None)
        return make_cache(keys, values)

    def _dense(self, name: str, units: int, use_bias: bool | None) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias if use_bias is None else use_bias,
            kernel_initializer=fresh_initializer(self.kernel_initializer),
            bias_initializer=fresh_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def _split_heads(self, x: Any) -> Any:
        """Reshape `[batch, T, heads * d]` to `[batch, T, heads, d]`."""
        return ops.reshape(x, (*ops.shape(x)[:2], self.num_heads, x.shape[-1] // self.num_heads))

    def _scores(self, queries: Any, keys: Any, mask: Any) -> Any:
        """Return attention probabilities `[batch, heads, T, S]`, in float32 at least."""
        logits = ops.einsum("bthd,bshd->bhts", queries, keys)
        logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")) * self._scale
        if mask is not None:
            logits = ops.where(mask, logits, MASKED_LOGIT)
        return ops.softmax(logits, axis=-1)

    def _keys_and_values(self, key: Any, value: Any, cache: Any, index: Any) -> tuple:
        """Return projected keys and values `[batch, S, heads, d]`, and the updated cache."""
        if cache is None and index is not None:
            raise InputError(
                f"cache_update_index={index} without a cache. Pass cache, zeros of shape "
                "[batch, 2, length, num_heads, key_dim] to begin with, or leave the index out."
            )
        if cache is not None and index is None:
            return *read_cache(cache, self.num_heads), cache
        keys = self._split_heads(self.key_dense(key))
        values = self._split_heads(self.value_dense(value))
        if cache is None:
            return keys, values, None
        _check_room(cache_length(cache), keys.shape[1], index)
        cache = update_cache(cache, keys, values, index)
        return *read_cache(cache, self.num_heads), cache

    def _scores_shape(self, arguments: Mapping[str, Any]) -> Any:
        (batch, length, _), cache = arguments["query"].shape, arguments.get("cache")
        source = arguments["value"].shape[1] if cache is None else cache_length(cache)
        return batch, self.num_heads, length, source


def _merge_rows_of_shared_keys(queries: Any, keys: Any) -> Any:
    """Concatenate the queries of the rows that share one row of keys."""
    rows, shared = queries.shape[0], keys.shape[0]
    if rows == shared or None in (rows, shared):
        return queries
    return ops.reshape(queries, (shared, -1, *queries.shape[2:]))


def _check_room(cache_length: Any, length: Any, index: Any) -> None:
    """Raise if new keys would run over the cache's end, where backends shift them in silence."""
    known = all(isinstance(number, Integral) for number in (cache_length, length, index))
    if known and index + length > cache_length:
        raise InputError(
            f"{length} tokens from cache_update_index={index} on don't fit a cache of length "
            f"{cache_length}. Make the cache as long as the longest sequence to be decoded."
        )
