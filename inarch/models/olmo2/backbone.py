"""OLMo 2's graph. OLMo team, 2024, arXiv:2501.00656; transformers, models/olmo2 and olmo3."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from keras import initializers
from keras.layers import ReversibleEmbedding

from inarch.layers import Block, GatedFeedForward, MultiHeadAttention, RMSNorm, RotaryEmbedding
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone
from inarch.models.input_checks import values_per_layer


class Olmo2Backbone(CausalBackbone):
    """OLMo 2 decoder (OLMo team, 2024, arXiv:2501.00656), and OLMo 3's.

    Blocks normalize what their sublayers give, and nothing that these read; queries and keys are
    normalized over all heads together; positions are rotary and the feedforward layers are gated.
    OLMo 3 (Olmo team, 2025, arXiv:2512.13961) adds layers with a window. Inputs are `token_ids` and
    `padding_mask`, int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`. A token
    attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the gated feedforward layers.
        num_key_value_heads: heads of keys and values, which several heads of queries share;
            `None` is `num_heads`.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        attention_dropout: rate on the attention weights.
        attention_bias: whether the four projections of attention have biases.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        sliding_window: tokens that a token attends to in layers with a window, itself among them;
            `None` for all.
        window_layers: for each layer whether it has the window; `None` is all.
        local_rope_theta: base of the rotary wavelengths in layers with a window, which have no
            scaling.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.

    Raises:
        InputError: `window_layers` has another length than `num_layers`.
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
        attention_dropout: float = 0.0,
        attention_bias: bool = False,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-5,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        sliding_window: int | None = None,
        window_layers: Sequence[bool] | None = None,
        local_rope_theta: float = 500000.0,
        max_sequence_length: int = 2048,
        padding_id: int | None = 1,
        **kwargs: Any,
    ):
        has_window = values_per_layer("window_layers", window_layers, num_layers)
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon)
        attention = partial(
            MultiHeadAttention,
            num_heads,
            head_dim,
            dropout=attention_dropout,
            use_bias=attention_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            query_key_norm=RMSNorm(layer_norm_epsilon, num_axes=2),
            causal=True,
        )
        feed_forward = GatedFeedForward(intermediate_dim, activation, init, use_bias=False)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        for i in range(num_layers):
            if sliding_window is not None and has_window[i]:
                rotary = RotaryEmbedding(local_rope_theta)
                mixing = attention(position=rotary, window=sliding_window - 1)
            else:
                mixing = attention(position=RotaryEmbedding(rope_theta, scaling=rope_scaling))
            x = Block(mixing, feed_forward, norm, order="output", name=f"layer_{i}")(
                x, context={"padding_mask": inputs["padding_mask"]}
            )
        x = RMSNorm(layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
