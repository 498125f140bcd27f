"""Phi-3's graph. Abdin et al., 2024, arXiv:2404.14219; transformers, models/phi3."""

from collections.abc import Mapping
from typing import Any

from keras import initializers
from keras.layers import ReversibleEmbedding

from inarch.layers import Block, GatedFeedForward, MultiHeadAttention, RMSNorm, RotaryEmbedding
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone


class Phi3Backbone(CausalBackbone):
    """Phi-3's decoder (Abdin et al., 2024, arXiv:2404.14219), and Phi-4's.

    Positions are rotary, in a share of the features of each head, and models for long texts scale
    them by LongRoPE (Ding et al., 2024, arXiv:2402.13753); feedforward layers are gated. Inputs are
    `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is `[batch, length,
    hidden_dim]`. A token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the gated feedforward layers.
        num_key_value_heads: heads of keys and values, which several heads of queries share;
            `None` is `num_heads`.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        sliding_window: tokens that a token attends to, itself among them; `None` for all.
        dropout: rate on what sublayers add.
        attention_dropout: rate on the attention weights.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        partial_rotary_factor: share of the features of a head that are rotated, the first ones.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        sliding_window: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-5,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        partial_rotary_factor: float = 1.0,
        max_sequence_length: int = 4096,
        padding_id: int | None = 32000,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            head_dim,
            dropout=attention_dropout,
            use_bias=False,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            position=RotaryEmbedding(
                rope_theta, scaling=rope_scaling, partial_rotary_factor=partial_rotary_factor
            ),
            causal=True,
            window=None if sliding_window is None else sliding_window - 1,
        )
        feed_forward = GatedFeedForward(intermediate_dim, activation, init, use_bias=False)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        for i in range(num_layers):
            block = Block(
                attention, feed_forward, norm, order="pre", dropout=dropout, name=f"layer_{i}"
            )
            x = block(x, context={"padding_mask": inputs["padding_mask"]})
        x = RMSNorm(layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
