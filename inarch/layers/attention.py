"""Multi-head attention: self, cross, and with a key/value cache."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers import cache as caches
from inarch.layers.alibi import add_score_bias, key_positions_of
from inarch.layers.attention_alternatives import attention_branches, multi_head_alternatives
from inarch.layers.axes import ATTENTION_AXES
from inarch.layers.dot_product_attention import (
    attend_to_cache,
    attention_logits,
    dot_product_attention,
    join_heads,
    masked_softmax,
    split_heads,
)
from inarch.layers.dropout import Dropout
from inarch.layers.layer import Layer, copy_layer
from inarch.layers.mask import combine_masks, mask_of_context, window_mask
from inarch.layers.packed_attention import PackedRows, attend_to_packed, packed_rows_of_context
from inarch.layers.rotary import rotary_positions

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
        kernel_initializer, bias_initializer: of the kernels and of the biases.
        num_key_value_heads: number of heads of keys and values, each of which serves
            `num_heads / num_key_value_heads` heads of queries (Ainslie et al., 2023,
            arXiv:2305.13245); `None` is `num_heads`.
        window: largest distance in tokens of a query and its keys, either way; `None` for none.
        position: layer that is applied to queries and keys, such as `RotaryEmbedding`, called
            with `start_index` or `positions`; `None` for none.
        query_key_norm: normalization of heads `[..., heads, key_dim]` of queries and of keys, ahead
            of `position`, by a copy each (Henry et al., 2020, arXiv:2010.04245); `None` for none.
        causal: whether tokens in a `Block` attend to none after them; a call takes a mask.
        scale: factor on the products of queries and keys; `None` is `1 / sqrt(key_dim)`.
        soft_cap: what the scaled scores approach, of either sign, as `soft_cap * tanh(scores /
            soft_cap)` (Gemma Team, 2024, arXiv:2408.00118, section 2); `None` for none.
        score_bias: layer that makes a bias on the scores of self-attention by the positions of
            keys, such as `AlibiBias`; `None` for none.

    Call arguments:
        query: float `[batch, T, dim]`.
        value: float `[batch, S, value width]`.
        key: float `[batch, S, key width]`; `None` is `value`.
        attention_mask: bool or int `[T, S]`, `[batch, T, S]` or `[batch, 1, T, S]`, true where a
            query attends to a key. A query that attends to none averages all values.
        cache: projected keys and values: a pair of float `[batch * num_heads, key_dim, S]` (see
            `inarch.layers.cache`), or both as `[batch, 2, S, num_heads, key_dim]`, which is slower.
            One that is used as it is may have fewer rows, `batch` over a whole number:
            neighboring rows share one, and a mask `[rows of the cache, 1, S]`, if any.
        cache_update_index: where in the cache the keys and values of this call go; `None` uses
            the cache as it is, and ignores `key` and `value`.
        return_attention_scores: whether to return the probabilities `[batch, num_heads, T, S]`.
        attention_bias: float, added to the scaled scores; `[1 or batch, 1 or num_heads, T, S]`.
        positions: int `[T]` or `[batch, T]`, positions of the queries and new keys for `position`;
            by default counted from `cache_update_index`, or from 0.
        key_positions: int `[S]` or `[batch, S]`, positions of all keys for `score_bias`; by default
            their indices. In a `Block` padding isn't counted.

    Returns:
        `output` `[batch, T, dim]`, or a tuple of it, the scores if requested, the cache if given.

    Raises:
        InputError: `num_heads` doesn't divide the query's width and `key_dim` isn't given;
            `num_key_value_heads` doesn't divide `num_heads`; a size isn't positive; or `cache` and
            `cache_update_index` don't fit together.
    """

    axes = ATTENTION_AXES
    templates = ("position", "query_key_norm", "score_bias")
    _softmax = staticmethod(masked_softmax)
    _split_heads = staticmethod(split_heads)

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
        *,
        num_key_value_heads: int | None = None,
        window: int | None = None,
        position: Any = None,
        query_key_norm: Any = None,
        causal: bool = False,
        scale: float | None = None,
        soft_cap: float | None = None,
        score_bias: Any = None,
        **kwargs: Any,
    ):
        for name in ("num_heads", "key_dim", "num_key_value_heads", "window"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise InputError(f"{name}={size}. Pass a positive int.")
        if soft_cap is not None and not soft_cap > 0:
            raise InputError(f"soft_cap={soft_cap}. Pass a positive number, or None for none.")
        self._key_value_heads = num_key_value_heads or num_heads
        if num_heads % self._key_value_heads:
            raise InputError(
                f"num_key_value_heads={num_key_value_heads} doesn't divide num_heads={num_heads}. "
                "Each head of keys and values serves the same number of heads of queries."
            )
        self.supports_masking = True

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        width = query_shape[-1]
        if self.key_dim is None and width % self.num_heads:
            raise InputError(
                f"num_heads={self.num_heads} doesn't divide the hidden size {width}. Choose a "
                "number of heads that does."
            )
        self._key_dim = key_dim = self.key_dim or width // self.num_heads
        self._value_dim = value_dim = self.value_dim or key_dim
        # jax's fused attention takes heads of one width only.
        self._fusible = key_dim == value_dim
        self._scale = 1 / sqrt(key_dim) if self.scale is None else self.scale

        def dense(name: str, units: int, shape: Any) -> keras.layers.Dense:
            bias = getattr(self, f"{name}_bias")
            return self.make_dense(name, units, shape, self.use_bias if bias is None else bias)

        heads, attended = self._key_value_heads, (*query_shape[:-1], self.num_heads * value_dim)
        self.query_dense = dense("query", self.num_heads * key_dim, query_shape)
        self.key_dense = dense("key", heads * key_dim, key_shape or value_shape)
        self.value_dense = dense("value", heads * value_dim, value_shape)
        self.output_dense = dense("output", width, attended)
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.query_norm = self._by_head("query_norm", self.query_key_norm, self.num_heads)
        self.key_norm = self._by_head("key_norm", self.query_key_norm, heads)
        self.query_position = self._by_head("query_position", self.position, self.num_heads)
        self.key_position = self._by_head("key_position", self.position, heads)
        self.distance_bias = None
        if self.score_bias is not None:
            self.distance_bias = copy_layer(self.score_bias, "distance_bias", self.dtype_policy)
        self.built = True

    def _by_head(self, name: str, template: Any, heads: int) -> Any:
        """Return a built copy of a layer of heads; the identity of `None`."""
        if template is None:
            return lambda x, **options: x
        layer = copy_layer(template, name, self.dtype_policy)
        if not layer.built:
            layer.build((None, None, heads, self._key_dim))
        return layer

    def _queries(self, x: Any, start: Any, positions: Any) -> Any:
        """Return projected queries `[batch, T, heads, d]` with their norm and positions."""
        queries = self.query_norm(self._split_heads(self.query_dense(x), self.num_heads))
        return self.query_position(queries, start_index=start, positions=positions)

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
        attention_bias: Any = None,
        positions: Any = None,
        key_positions: Any = None,
    ) -> Any:
        start = 0 if cache_update_index is None else cache_update_index
        queries = self._queries(query, start, positions)
        keys, values, cache = self._keys_and_values(
            value if key is None else key, value, cache, cache_update_index, positions
        )
        queries = caches.merge_rows_of_shared_keys(queries, keys)
        mask = combine_masks(attention_mask, window_mask(queries, keys, self.window, start))
        if mask is not None:
            mask = ops.expand_dims(mask, {2: (0, 1), 3: 1, 4: ()}[len(mask.shape)])

        length = None if cache is None else ops.shape(query)[1]
        own = (keys, key_positions, start, length)
        bias = add_score_bias(attention_bias, self.distance_bias, *own)
        scores, options = None, (self._scale, bias, self.soft_cap)
        if return_attention_scores or (training and self.dropout) or not self._fusible:
            keys, values = self._repeat_heads(keys), self._repeat_heads(values)
            scores = self._softmax(attention_logits(queries, keys, *options), mask)
            dropped = ops.cast(self.dropout_layer(scores, training=training), values.dtype)
            attended = ops.einsum("bhts,bshd->bthd", dropped, values)
        elif caches.is_pair(cache):
            attended = attend_to_cache(queries, cache, mask, *options)
        else:
            keys, values = self._repeat_heads(keys), self._repeat_heads(values)
            attended = dot_product_attention(queries, keys, values, mask, *options)
        output = self.output_dense(join_heads(attended, query))

        if not return_attention_scores:
            return output if cache is None else (output, cache)
        scores = ops.cast(scores, self.compute_dtype)
        return (output, scores) if cache is None else (output, scores, cache)

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape, context_shapes.get("source", shape))

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        """Return attention over `x`, or the `source` of a context, with the cache and scores."""
        context = {**context, "causal": True} if self.causal else context
        names = ("cache", "source", "mask", "cache_index")
        cache, source, mask, index = (context.get(name) for name in names)
        is_cross = source is not None or (cache is not None and index is None)
        scores = context.get("return_attention_scores", False)
        positions = rotary_positions(self.position, context)
        if (rows := self._packed_rows(context, training)) is not None:
            return self._attend_to_packed(x, rows, positions), {}
        if "mask" not in context and (not is_cross or "source_padding_mask" in context):
            mask = mask_of_context(x, context)
        outputs = self(
            x,
            x if source is None else source,
            attention_mask=mask,
            cache=cache,
            cache_update_index=index,
            return_attention_scores=scores,
            training=training,
            attention_bias=context.get("attention_bias"),
            positions=positions,
            key_positions=key_positions_of(self.distance_bias, context),
        )
        requested = ["scores"] * scores + ["cache"] * (cache is not None)
        y, *found = outputs if requested else (outputs,)
        return y, dict(zip(requested, found, strict=True))

    def _packed_rows(self, context: Mapping[str, Any], training: Any) -> PackedRows | None:
        """Return the sequences of packed rows, where attention can be over each by itself."""
        # What a subclass or an alternative changes has its effect.
        is_own = getattr(self.call, "__func__", None) is MultiHeadAttention.call
        fits = is_own and self._fusible and not (self.soft_cap or (training and self.dropout))
        fits = fits and self.distance_bias is None
        return packed_rows_of_context(context, self.compute_dtype) if fits else None

    def _attend_to_packed(self, x: Any, rows: PackedRows, positions: Any) -> Any:
        queries = self._queries(x, 0, positions)
        keys, values, _ = self._keys_and_values(x, x, positions=positions)
        keys, values = self._repeat_heads(keys), self._repeat_heads(values)
        attended = attend_to_packed(queries, keys, values, rows, self._scale, self.window)
        return self.output_dense(join_heads(attended, x))

    def init_cache(self, rows: int, length: int) -> Any:
        """Return an empty cache of `rows` sequences of up to `length` tokens."""
        widths = (self._key_dim, self._value_dim)
        return caches.empty_cache(rows, length, self._key_value_heads, *widths, self.compute_dtype)

    def share_cache(self, cache: Any, beams: int) -> Any:
        """Return a cache of `beams` sequences for each row, which go on from what it holds."""
        return caches.share_cache(cache, self._key_value_heads, beams)

    def reorder_cache(self, cache: Any, rows: int, indices: Any) -> Any:
        """Return a cache of `rows` sequences with those at `indices` alone, in that order."""
        return caches.reorder_cache(cache, rows, indices)

    def make_cache(self, value: Any, key: Any = None) -> Any:
        """Return the projected keys and values as a cache."""
        keys, values, _ = self._keys_and_values(value if key is None else key, value)
        return caches.make_cache(keys, values)

    def _repeat_heads(self, x: Any) -> Any:
        """Return keys or values with one head for each head of queries."""
        repeats = self.num_heads // self._key_value_heads
        return x if repeats == 1 else ops.repeat(x, repeats, axis=2)

    def _keys_and_values(
        self, key: Any, value: Any, cache: Any = None, index: Any = None, positions: Any = None
    ) -> tuple:
        """Return projected keys and values `[batch, S, heads, d]`, and the updated cache."""
        heads = self._key_value_heads
        caches.check_is_given(cache, index)
        if cache is not None and index is None:
            return *caches.read_cache(cache, heads), cache
        start = 0 if index is None else index
        keys = self.key_norm(self._split_heads(self.key_dense(key), heads))
        keys = self.key_position(keys, start_index=start, positions=positions)
        values = self._split_heads(self.value_dense(value), heads)
        if cache is None:
            return keys, values, None
        caches.check_room(cache, keys.shape[1], index)
        cache = caches.update_cache(cache, keys, values, index)
        return *caches.read_cache(cache, heads), cache

    def _scores_shape(self, arguments: Mapping[str, Any]) -> Any:
        (batch, length, _), cache = arguments["query"].shape, arguments.get("cache")
        source = arguments["value"].shape[1] if cache is None else caches.cache_length(cache)
        return batch, self.num_heads, length, source

    alternatives = multi_head_alternatives
    branches = attention_branches
