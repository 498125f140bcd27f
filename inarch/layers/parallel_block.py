"""Transformer block whose sublayers read the same input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from inarch.layers.alternatives import Alternatives
from inarch.layers.block import Block
from inarch.layers.mask import padding_mask_of


@keras.saving.register_keras_serializable(package="inarch")
class ParallelBlock(Block):
    """Transformer block of parallel sublayers (Wang & Komatsuzaki, 2021, mesh-transformer-jax).

    It computes `x + dropout(attention(norm(x))) + dropout(feed_forward(norm(x)))`, with a norm for
    each sublayer as in GPT-NeoX (Black et al., 2022, arXiv:2204.06745, section 2.1) or with one for
    both as in GPT-J. Arguments, call arguments and outputs are those of `Block`, but for these.

    Args:
        attention, feed_forward, norm, dropout: as of `Block`, without cross-attention.
        shared_norm: whether both sublayers read what one norm, `attention_norm`, gives.
    """

    def __init__(
        self,
        attention: Any,
        feed_forward: Any,
        norm: Any,
        shared_norm: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(self.attention, self.feed_forward, norm, order="pre", dropout=dropout)

    def _build_residual(self, name: str, shape: Any) -> None:
        if name == "feed_forward" and self.shared_norm:
            self.feed_forward_norm = self.attention_norm
            self.feed_forward_drop = self.attention_drop
            return
        super()._build_residual(name, shape)

    def apply(
        self, inputs: Any, context: Mapping[str, Any], training: bool | None = None
    ) -> tuple[Any, dict[str, Any]]:
        context = dict(context)
        context["padding_mask"] = padding_mask_of(inputs, context.get("padding_mask"))
        x, found = self._mixed("attention", inputs, context, training)
        y = self.feed_forward(self._before("feed_forward", inputs), training=training)
        x = self._after("feed_forward", x, y, training)
        return x, {"attention": found} if found else {}

    def alternatives(self) -> Alternatives:
        found = dict(super().alternatives())
        if self.shared_norm:
            found = {name: way for name, way in found.items() if "_norm in place of" not in name}
        one_after_the_other = Block.apply.__get__(self)
        return {**found, "sublayers one after the other": {"apply": one_after_the_other}}
