"""Transformer block composed of attention, cross-attention, feed-forward and norms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import permutations
from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.direct_calls import call_norm
from inarch.layers.dropout import Dropout
from inarch.layers.layer import Layer, copy_layer
from inarch.layers.mask import padding_mask_of

ops: Any = keras.ops  # Typed, every result may be None.

ORDERS = ("post", "pre", "sandwich", "output")
SUBLAYERS = ("attention", "cross_attention", "feed_forward")


@keras.saving.register_keras_serializable(package="inarch")
class Block(Layer):
    """Transformer block: sublayers in sequence, each with a residual connection and a norm.

    A residual is `norm(x + dropout(sublayer(x)))` in the order `"post"` (Vaswani et al., 2017,
    arXiv:1706.03762), `x + dropout(sublayer(norm(x)))` in the order `"pre"` (Xiong et al., 2020,
    arXiv:2002.04745), `x + output_norm(dropout(sublayer(norm(x))))` in the order `"sandwich"`
    (Ding et al., 2021, arXiv:2105.13290, section 2.4) and `x + norm(dropout(sublayer(x)))` in the
    order `"output"` (Liu et al., 2022, arXiv:2111.09883, section 3.2).

    Sublayers are given as layers that aren't built. One that serves several blocks is copied from
    its config for each, with initial values of its own, so that all blocks of a model may share
    the arguments of one. In a block they are named `attention`, `cross_attention` and
    `feed_forward`, their norms `attention_norm` and so on, and those of what they give
    `attention_output_norm` and so on.

    A sublayer that mixes tokens has `build_mixing(shape, context shapes)` and
    `mix(x, context, training)`, which returns its output and a dict of the requested caches and
    scores; it reads from the context what it needs. The norm of a sublayer with `gives_float32`
    takes its output uncast; a sublayer without `residual_dropout` has no dropout on its output.

    Args:
        attention: the sublayer that mixes the tokens of a sequence.
        feed_forward: the sublayer that computes each token by itself: a layer of one tensor.
        norm: a normalization layer; every residual gets a copy.
        cross_attention: the sublayer that reads another sequence, or `None`.
        order: `"post"`, `"pre"`, `"sandwich"` or `"output"`.
        dropout: probability of dropout on the output of each sublayer.
        first_norm: the norm of `attention`, where it is another than `norm`;
            `keras.layers.Identity()` for none.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        context: dict of tensors, passed by its name, or `None` for an empty one. Attention reads
            `padding_mask`, int or bool `[batch, length]` of sequence ids: 0 for padding, 1 for
            tokens, 2, 3, ... for further packed sequences; `attention_mask`, true where a token may
            attend to another; or in place of both `mask`, true where a query attends to a key;
            `cache`, `cache_index`, `attention_bias` and `positions` (see `MultiHeadAttention`);
            `relative_embeddings` (see `DisentangledSelfAttention`). The context of cross-attention
            is the entry `cross`: the other sequence as `source`, or a full `cache`, and `mask`; or,
            in place of `mask`, int32 sequence ids as `padding_mask` and `source_padding_mask`.
        return_attention_scores: whether to return the scores of `attention`.

    Returns:
        float `[batch, length, dim]`; where caches or scores are requested, a tuple of it and a dict
        from the names of sublayers to dicts of their `cache` and `scores`.

    Raises:
        InputError: `order` is unknown.
    """

    templates = ("norm", "first_norm")

    def __init__(
        self,
        attention: Any,
        feed_forward: Any,
        norm: Any,
        cross_attention: Any = None,
        order: str = "post",
        dropout: float = 0.0,
        first_norm: Any = None,
        **kwargs: Any,
    ):
        self.supports_masking = True
        if order not in ORDERS:
            raise InputError(f"order={order!r} is unknown. Pass {' or '.join(map(repr, ORDERS))}.")

    def set_argument(self, name: str, value: Any) -> None:
        is_sublayer = isinstance(value, keras.layers.Layer) and name not in self.templates
        is_sublayer = is_sublayer and value is not getattr(self, name, None)  # of a subclass
        super().set_argument(name, self._sublayer(name, value) if is_sublayer else value)

    def _sublayer(self, name: str, layer: keras.layers.Layer, **options: Any) -> Any:
        """Return the layer if it is unused and has this name already, else a copy that has it."""
        is_free = not layer.built and not getattr(layer, "in_block", True)
        if layer.name == name and is_free and not options:
            layer.in_block = True
            return layer
        made = copy_layer(layer, name, self.dtype_policy, **options)
        if isinstance(made, Layer):
            made.in_block = True
        return made

    def build(self, inputs_shape: Any, context_shape: Any = None) -> None:
        shapes = context_shape or {}
        self._build_residual("attention", inputs_shape)
        self.attention.build_mixing(inputs_shape, shapes)
        if self.cross_attention is not None:
            self._build_residual("cross_attention", inputs_shape)
            self.cross_attention.build_mixing(inputs_shape, shapes["cross"])
        self._build_residual("feed_forward", inputs_shape)
        self.feed_forward.build(inputs_shape)
        self.built = True

    def _build_residual(self, name: str, shape: Any) -> None:
        sublayer = getattr(self, name)
        # Outputs in float32 may be too large for 16 bits, so the norm takes them uncast.
        options = {"autocast": False} if getattr(sublayer, "gives_float32", False) else {}
        is_first = name == "attention" and self.first_norm is not None
        templates = {f"{name}_norm": self.first_norm if is_first else self.norm}
        if self.order == "sandwich":
            templates[f"{name}_output_norm"] = self.norm
        for norm_name, template in templates.items():
            norm = self._sublayer(norm_name, template, **options)
            norm.build(shape)
            setattr(self, norm_name, norm)
        drop = None
        if getattr(sublayer, "residual_dropout", True):
            drop = Dropout(self.dropout, dtype=self.dtype_policy, name=f"{name}_dropout")
        setattr(self, f"{name}_drop", drop)

    def call(
        self,
        inputs: Any,
        context: Mapping[str, Any] | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        context = {**(context or {}), "return_attention_scores": return_attention_scores}
        x, others = self.apply(inputs, context, training)
        return (x, others) if others else x

    def apply(
        self, inputs: Any, context: Mapping[str, Any], training: bool | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output and the dict of caches and scores, whatever arguments `call` has.

        Args:
            inputs: float `[batch, length, dim]`.
            context: as in `call`, and `causal`, whether tokens attend to none after them.
        """
        context = dict(context)
        context["padding_mask"] = padding_mask_of(inputs, context.get("padding_mask"))
        x, found = self._mixed("attention", inputs, context, training)
        others = {"attention": found} if found else {}
        if self.cross_attention is not None:
            x, found = self._mixed("cross_attention", x, context["cross"], training)
            others |= {"cross_attention": found} if found else {}
        y = self.feed_forward(self._before("feed_forward", x), training=training)
        x = self._after("feed_forward", x, y, training)
        return x, others

    # --- caches of its sublayers ---------------------------------------------------------------

    def init_cache(self, rows: int, length: int) -> dict[str, Any]:
        """Return empty caches of `rows` sequences of up to `length` tokens, by sublayer."""
        return {"attention": self.attention.init_cache(rows, length)}

    def make_cross_attention_cache(self, source: Any) -> dict[str, Any]:
        """Return the cache of cross-attention over `source` `[rows, S, dim]`, by sublayer."""
        return {"cross_attention": self.cross_attention.make_cache(source)}

    def share_cache(self, cache: Mapping[str, Any], beams: int) -> dict[str, Any]:
        """Return caches of `beams` sequences for each row, which go on from what they hold."""
        return {name: getattr(self, name).share_cache(part, beams) for name, part in cache.items()}

    def reorder_cache(self, cache: Mapping[str, Any], rows: int, indices: Any) -> dict[str, Any]:
        """Return caches of `rows` sequences with those at `indices` alone, in that order."""
        return {
            name: getattr(self, name).reorder_cache(part, rows, indices)
            for name, part in cache.items()
        }

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        context = kwargs.get("context") or {}
        asks = kwargs.get("return_attention_scores") or "cache" in context
        if asks and type(self).call is Block.call:  # nests of outputs are traced
            return keras.Operation.compute_output_spec(self, *args, **kwargs)
        return super().compute_output_spec(*args, **kwargs)

    def alternatives(self) -> Alternatives:
        after, mixed, start = self._after, self._mixed, dict[str, Any]()
        names = [n for n in SUBLAYERS if getattr(self, n) is not None]
        bare = {"_after": lambda name, x, y, training: _add(x, y)}
        # A sandwich has weights that blocks of other orders lack.
        others = {"pre": ["post"], "post": ["pre"], "output": ["post", "pre"]}.get(self.order, [])
        orders = {f"order={other!r}": {"order": other} for other in others}
        as_output: dict[str, Any] = {"order": "output"}
        if self.order == "sandwich":
            as_output = {
                "_before": lambda name, x: x,
                "_after": lambda name, x, y, training: x + getattr(self, f"{name}_norm")(y),
            }
        if self.order != "output":
            orders["norms of what sublayers give, before it is added"] = as_output
        ends = ("norm", "output_norm") if self.order == "sandwich" else ("norm",)
        norms = [f"{name}_{end}" for name in names for end in ends]
        return {
            **orders,
            **({"no norms of what sublayers give": bare} if self.order == "sandwich" else {}),
            "residuals of normalized inputs": {
                "_after": lambda name, x, y, training: after(
                    name, getattr(self, f"{name}_norm")(x), y, training
                )
            },
            "sums that are halved": {
                "_after": lambda name, x, y, training: after(name, x / 2, y / 2, training)
            },
            "the block's input in place of the residual around feed_forward": {
                "_mixed": lambda name, x, *others: (
                    (name == "attention" and start.update(x=x)) or mixed(name, x, *others)
                ),
                "_after": lambda name, x, y, training: after(
                    name, start["x"] if name == "feed_forward" else x, y, training
                ),
            },
            "the block's input added to the residual around feed_forward": {
                "_mixed": lambda name, x, *others: (
                    (name == "attention" and start.update(x=x)) or mixed(name, x, *others)
                ),
                "_after": lambda name, x, y, training: after(
                    name, start["x"] + x if name == "feed_forward" else x, y, training
                ),
            },
            **{
                f"{what} {name}": {"_after": partial(_scaled_after, after, name, *factors)}
                for name in names
                for what, factors in {
                    "no residual around": (0.0, 1.0),
                    "twice the residual around": (2.0, 1.0),
                    "nothing added by": (1.0, 0.0),
                }.items()
            },
            **{
                f"{one} in place of {other}": {other: getattr(self, one)}
                for one, other in permutations(norms, 2)
            },
        }

    def _mixed(self, name: str, x: Any, context: Mapping[str, Any], training: Any) -> Any:
        y, found = getattr(self, name).mix(self._before(name, x), context, training)
        return self._after(name, x, y, training), found

    def _before(self, name: str, x: Any) -> Any:
        is_after = self.order in ("post", "output")
        return x if is_after else call_norm(getattr(self, f"{name}_norm"), x)

    def _after(self, name: str, x: Any, y: Any, training: Any) -> Any:
        drop = getattr(self, f"{name}_drop")
        y = y if drop is None or not training else drop(y, training=training)
        if end := {"sandwich": "output_norm", "output": "norm"}.get(self.order):
            y = call_norm(getattr(self, f"{name}_{end}"), y)
        x = _add(x, y)
        return call_norm(getattr(self, f"{name}_norm"), x) if self.order == "post" else x


def _add(x: Any, y: Any) -> Any:
    # Not `+` of two dtypes, which TensorFlow wouldn't add.
    return x + y if x.dtype == y.dtype else ops.add(x, y)


def _scaled_after(
    after: Any, name: str, of_x: float, of_y: float, sublayer: str, x: Any, y: Any, training: Any
) -> Any:
    """Continue after a sublayer; for the sublayer `name`, with factors on residual and output."""
    of_x, of_y = (of_x, of_y) if sublayer == name else (1.0, 1.0)
    return after(sublayer, of_x * x, of_y * y, training)
