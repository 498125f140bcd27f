"""Self-attention with sinusoids of relative positions, and the block around it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.attention_alternatives import attention_alternatives
from inarch.layers.axes import ATTENTION_AXES
from inarch.layers.block import Block
from inarch.layers.direct_calls import call_norm
from inarch.layers.dot_product_attention import join_heads, masked_softmax, split_heads
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer, copy_layer
from inarch.layers.mask import combine_masks, padding_mask_of, position_range, self_attention_mask
from inarch.layers.rotary_scaling import scaled_frequencies

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class TransformerXLAttention(Layer):
    """Attention over contents, relative positions and segments, with its residual and norm.

    The score of a key for a query is the sum of three products, over the root of a head's width:
    of contents, of the query with the projected sinusoids of the distance, and of the query with a
    vector for keys of the same segment or of another. Each adds a trained vector to the query.
    `keras.layers.Dense` named `query`, `key`, `value`, `output` and `position_key`, none of which
    has a bias.

    Source: Dai et al., 2019, arXiv:1901.02860, section 3.3; Yang et al., 2019, arXiv:1906.08237,
    section 2.5; zihangdai/xlnet, modeling.py.

    Args:
        num_heads: number of heads; must divide the width of the inputs.
        norm: normalization of inputs plus attention, of which this layer gets a copy.
        dropout: rate on the probabilities, the sinusoids and the output.
        max_distance: distance in tokens from which on all are alike, either way; `None` for none.
        kernel_initializer: of all weights but the norm's.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        segment_ids: int `[batch, length]`; `None` leaves segments out.
        attention_mask: bool or int `[length, length]`, `[batch, length, length]` or
            `[batch, 1, length, length]`, true where a token attends to another.
        return_attention_scores: whether to return the probabilities
            `[batch, num_heads, length, length]`.

    Returns:
        float `[batch, length, dim]`, or a tuple of it and the scores.

    Raises:
        InputError: `num_heads` doesn't divide the width.
    """

    axes: ClassVar = {
        **ATTENTION_AXES,
        # Small, and of every head.
        **dict.fromkeys(("content_bias", "position_bias", "segment_bias"), (None, None)),
        "segment_keys": (None, None, None),
    }
    templates = ("norm",)
    residual_dropout = False
    has_weights_by_head = True
    parts_within = ("query", "key", "value", "output", "position_key")
    _softmax = staticmethod(masked_softmax)
    _split_heads = staticmethod(split_heads)

    def __init__(
        self,
        num_heads: int,
        norm: Any,
        dropout: float = 0.0,
        max_distance: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        self.supports_masking = True

    def build(self, inputs_shape: Any, segment_ids_shape: Any = None) -> None:
        width = inputs_shape[-1]
        if self.num_heads < 1 or width % self.num_heads:
            raise InputError(
                f"num_heads={self.num_heads} doesn't divide the hidden size {width}. Choose a "
                "number of heads that does."
            )
        dim = width // self.num_heads
        self._scale = 1 / sqrt(dim)
        self._frequencies = scaled_frequencies(None, width, 10000)
        for name in ("query", "key", "value", "output", "position_key"):
            setattr(self, f"{name}_dense", self.make_dense(name, width, inputs_shape, False))
        shapes = dict.fromkeys(
            ("content_bias", "position_bias", "segment_bias"), (self.num_heads, dim)
        )
        for name, shape in {**shapes, "segment_keys": (2, self.num_heads, dim)}.items():
            initial = fresh_initializer(self.kernel_initializer)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initial))
        options = {"dtype": self.dtype_policy}
        self.drop = keras.layers.Dropout(self.dropout, name="dropout", **options)
        self.output_norm = copy_layer(self.norm, "norm", self.dtype_policy)
        self.output_norm.build(inputs_shape)
        self.built = True

    def call(
        self,
        inputs: Any,
        segment_ids: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        queries, keys, values = (
            self._split_heads(dense(inputs), self.num_heads)
            for dense in (self.query_dense, self.key_dense, self.value_dense)
        )
        logits = self._content_scores(queries + self.content_bias, keys)
        logits = logits + self._position_scores(queries + self.position_bias, inputs, training)
        if segment_ids is not None:
            logits = logits + self._segment_scores(queries + self.segment_bias, segment_ids)
        mask = combine_masks(attention_mask)
        if mask is not None and len(mask.shape) < 4:
            mask = ops.expand_dims(mask, 1 if len(mask.shape) == 3 else (0, 1))
        scores = self._softmax(logits * self._scale, mask)
        dropped = ops.cast(self.drop(scores, training=training), values.dtype)
        attended = ops.einsum("bhts,bshd->bthd", dropped, values)
        added = self.output_dense(join_heads(attended, inputs))
        output = self._added(inputs, self.drop(added, training=training))
        return (output, ops.cast(scores, self.compute_dtype)) if return_attention_scores else output

    def _added(self, inputs: Any, attended: Any) -> Any:
        return call_norm(self.output_norm, inputs + attended)

    @staticmethod
    def _content_scores(queries: Any, keys: Any) -> Any:
        return ops.einsum("bthd,bshd->bhts", queries, keys)

    def _position_scores(self, queries: Any, inputs: Any, training: Any) -> Any:
        """Return the products of queries and distances, `[batch, heads, query, key]`."""
        length = ops.shape(inputs)[1]
        # Each row of distances, from `length` down to `1 - length`, begins one later than the last.
        distances = self._distances(length - position_range(2 * length))
        vectors = self.drop(self._sinusoids(distances), training=training)
        vectors = self._split_heads(self.position_key_dense(vectors[None]), self.num_heads)[0]
        products = ops.einsum("bthd,rhd->bhtr", queries, vectors)
        batch, heads = ops.shape(products)[:2]
        products = ops.reshape(products, (batch, heads, 2 * length, length))[:, :, 1:]
        return ops.reshape(products, (batch, heads, length, 2 * length - 1))[..., :length]

    def _distances(self, distances: Any) -> Any:
        limit = self.max_distance
        return distances if limit is None else ops.clip(distances, -limit, limit)

    def _sinusoids(self, distances: Any) -> Any:
        """Return the sines and then the cosines of distances, `[distances, dim]`."""
        angles = ops.cast(distances, "float32")[:, None] * ops.convert_to_tensor(self._frequencies)
        return ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], -1), self.compute_dtype)

    def _segment_scores(self, queries: Any, segment_ids: Any) -> Any:
        """Return the products of queries and the vectors of same and other segments."""
        products = ops.einsum("bthd,shd->sbht", queries, ops.convert_to_tensor(self.segment_keys))
        same = ops.equal(segment_ids[:, None, :, None], segment_ids[:, None, None, :])
        return ops.where(same, products[0][..., None], products[1][..., None])

    # --- as a sublayer of a block --------------------------------------------------------------

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape)

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        """Return normalized `x` plus attention over it and the `segment_ids` of a context."""
        scores = context.get("return_attention_scores", False)
        outputs = self(
            x,
            context.get("segment_ids"),
            attention_mask=self_attention_mask(
                context["padding_mask"], context.get("attention_mask")
            ),
            return_attention_scores=scores,
            training=training,
        )
        return (outputs[0], {"scores": outputs[1]}) if scores else (outputs, {})

    def branches(self) -> Alternatives:
        return {} if self.max_distance is None else {"max_distance": {"max_distance": None}}

    def alternatives(self) -> Alternatives:
        added, sinusoids, distances = self._added, self._sinusoids, self._distances
        positions, segments, bias = self._position_scores, self._segment_scores, self.position_bias
        return {
            **attention_alternatives(self, of_itself=True),
            "no residual around attention": {"_added": lambda x, y: added(0 * x, y)},
            "nothing added by attention": {"_added": lambda x, y: added(x, 0 * y)},
            "no norm of attention": {"_added": lambda x, y: x + y},
            "no products with positions": {"_position_scores": lambda *args: 0.0},
            "no products with segments": {"_segment_scores": lambda *args: 0.0},
            "distances with their sign flipped": {"_distances": lambda d: -distances(d)},
            "distances that are one too large": {"_distances": lambda d: distances(d) + 1},
            "cosines before sines": {
                "_sinusoids": lambda d: ops.roll(sinusoids(d), self._frequencies.size, axis=-1)
            },
            "the segments' vectors swapped": {"segment_keys": ops.flip(self.segment_keys, axis=0)},
            "positions without regard to the query's own vector": {
                "position_bias": self.content_bias
            },
            "biases of contents and positions swapped": {
                "position_bias": self.content_bias,
                "content_bias": bias,
            },
            "twice the products with positions": {
                "_position_scores": lambda *args: 2 * positions(*args)
            },
            "twice the products with segments": {
                "_segment_scores": lambda *args: 2 * segments(*args)
            },
        }


@keras.saving.register_keras_serializable(package="inarch")
class TransformerXLBlock(Block):
    """Transformer block whose attention adds and normalizes by itself, then a feed-forward network.

    Arguments, call arguments and outputs are those of `Block`, but for these.

    Args:
        attention: a `TransformerXLAttention`.
        feed_forward, norm, dropout: as of `Block`, of the network's residual alone.

    Call arguments:
        context: as of `Block`, and `segment_ids`, int `[batch, length]`.

    Raises:
        InputError: `order` isn't `"post"`, or there is cross-attention.
    """

    def build(self, inputs_shape: Any, context_shape: Any = None) -> None:
        if self.order != "post" or self.cross_attention is not None:
            raise InputError(
                f"order={self.order!r} and cross_attention={self.cross_attention!r}; this block is "
                "computed in the order 'post' alone, without cross-attention."
            )
        super().build(inputs_shape, context_shape)

    def _build_residual(self, name: str, shape: Any) -> None:
        if name == "feed_forward":
            super()._build_residual(name, shape)

    def apply(
        self, inputs: Any, context: Mapping[str, Any], training: bool | None = None
    ) -> tuple[Any, dict[str, Any]]:
        context = dict(context)
        context["padding_mask"] = padding_mask_of(inputs, context.get("padding_mask"))
        x, found = self.attention.mix(inputs, context, training)
        x = self._after("feed_forward", x, self.feed_forward(x, training=training), training)
        return x, {"attention": found} if found else {}

    def alternatives(self) -> Alternatives:
        after, norm = self._after, self.feed_forward_norm
        return {
            "norms of what the network gives, before it is added": {
                "_after": lambda name, x, y, training: x + norm(y)
            },
            **{
                what: {
                    "_after": lambda name, x, y, training, a=a, b=b: after(
                        name, a * x, b * y, training
                    )
                }
                for what, (a, b) in {
                    "no residual around feed_forward": (0.0, 1.0),
                    "twice the residual around feed_forward": (2.0, 1.0),
                    "nothing added by feed_forward": (1.0, 0.0),
                }.items()
            },
        }
