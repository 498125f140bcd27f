"""Llama's graph. Touvron et al., 2023, arXiv:2302.13971; transformers, models/llama."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from keras import initializers
from keras.layers import ReversibleEmbedding

from inarch.layers import Block, GatedFeedForward, MultiHeadAttention, RMSNorm, RotaryEmbedding
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone
from inarch.models.input_checks import values_per_layer


class LlamaBackbone(CausalBackbone):
    """Llama decoder (Touvron et al., 2023, arXiv:2302.13971), and those with its graph.

    Blocks normalize before each sublayer, positions are rotary, and the feedforward layers are
    gated. Mistral adds a window (Jiang et al., 2023, arXiv:2310.06825), Qwen2 biases (Yang et al.,
    2024, arXiv:2407.10671), Qwen3 norms of queries and keys (Yang et al., 2025, arXiv:2505.09388),
    SmolLM3 layers without positions (Yang et al., 2025, arXiv:2501.18795).
    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, hidden_dim]`. A token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the gated feedforward layers.
        num_key_value_heads: heads of keys and values, which several heads of queries share;
            `None` is `num_heads`.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        attention_dropout: rate on the attention weights; `None` is 0.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        attention_bias: whether the projections to queries, keys and values have biases.
        output_bias: whether the projection of attention's output has one; `None` is
            `attention_bias`.
        feed_forward_bias: whether the projections of the feedforward layers have biases.
        query_key_norm: whether queries and keys are normalized, head by head.
        use_sliding_window: whether layers have a window.
        sliding_window: tokens that a token attends to, itself among them; `None` for all.
        window_layers: for each layer whether it has the window; `None` is all.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        rotary_layers: for each layer whether its positions are rotary; the others have none. `None`
            is all.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.

    Raises:
        InputError: `rotary_layers` or `window_layers` has another length than `num_layers`.
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
        attention_dropout: float | None = 0.0,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-6,
        attention_bias: bool = False,
        output_bias: bool | None = None,
        feed_forward_bias: bool = False,
        query_key_norm: bool = False,
        use_sliding_window: bool = True,
        sliding_window: int | None = None,
        window_layers: Sequence[bool] | None = None,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        rotary_layers: Sequence[bool] | None = None,
        max_sequence_length: int = 2048,
        padding_id: int | None = None,
        **kwargs: Any,
    ):
        is_rotary = values_per_layer("rotary_layers", rotary_layers, num_layers)
        has_window = values_per_layer("window_layers", window_layers, num_layers)
        window = sliding_window if use_sliding_window else None
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon)
        rotary = RotaryEmbedding(rope_theta, scaling=rope_scaling)
        attention = partial(
            MultiHeadAttention,
            num_heads,
            head_dim,
            dropout=attention_dropout or 0.0,
            use_bias=attention_bias,
            output_bias=output_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            query_key_norm=norm if query_key_norm else None,
            causal=True,
        )
        feed_forward = GatedFeedForward(
            intermediate_dim, activation, kernel_initializer=init, use_bias=feed_forward_bias
        )
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        for i in range(num_layers):
            mixing = attention(
                position=rotary if is_rotary[i] else None,
                window=window - 1 if window is not None and has_window[i] else None,
            )
            x = Block(mixing, feed_forward, norm, order="pre", name=f"layer_{i}")(
                x, context={"padding_mask": inputs["padding_mask"]}
            )
        x = RMSNorm(layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
