"""Mixtral's graph. Jiang et al., 2024, arXiv:2401.04088; transformers, models/mixtral."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import initializers
from keras.layers import ReversibleEmbedding

from inarch.layers import (
    Block,
    GatedFeedForward,
    MixtureOfExperts,
    MultiHeadAttention,
    RMSNorm,
    RotaryEmbedding,
)
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone
from inarch.models.input_checks import values_per_layer


class MixtralBackbone(CausalBackbone):
    """Mixtral decoder (Jiang et al., 2024, arXiv:2401.04088), and Qwen3-MoE, which has its graph.

    It is Llama's with a mixture of experts in place of each feedforward layer, or of some.
    Qwen3-MoE adds norms of queries and keys (Yang et al., 2025, arXiv:2505.09388).
    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, hidden_dim]`. A token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: inner width of the feedforward layers without experts, and of each expert
            where `moe_intermediate_dim` is `None`.
        num_experts: experts of each layer that has any.
        experts_per_token: how many of them each token passes.
        num_key_value_heads: heads of keys and values, which several heads of queries share;
            `None` is `num_heads`.
        moe_intermediate_dim: inner width of each expert.
        normalize_weights: whether the weights of a token's experts are divided by their sum.
        sparse_layers: for each layer, whether it has experts; `None` for all.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        use_sliding_window: whether layers have a window.
        sliding_window: tokens that a token attends to, itself among them; `None` for all.
        attention_dropout: rate on the attention weights; `None` is 0.
        activation: of the gates of experts and of feedforward layers.
        layer_norm_epsilon: of every normalization.
        attention_bias: whether the projections of attention have biases.
        query_key_norm: whether queries and keys are normalized, head by head.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.

    Raises:
        InputError: `sparse_layers` has another length than `num_layers`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_experts: int = 8,
        experts_per_token: int = 2,
        num_key_value_heads: int | None = 8,
        moe_intermediate_dim: int | None = None,
        normalize_weights: bool = True,
        sparse_layers: Sequence[bool] | None = None,
        head_dim: int | None = None,
        use_sliding_window: bool = True,
        sliding_window: int | None = None,
        attention_dropout: float | None = 0.0,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-5,
        attention_bias: bool = False,
        query_key_norm: bool = False,
        rope_theta: float = 1e6,
        rope_scaling: Mapping[str, Any] | None = None,
        max_sequence_length: int = 131072,
        padding_id: int | None = None,
        **kwargs: Any,
    ):
        is_sparse = values_per_layer("sparse_layers", sparse_layers, num_layers)
        window = sliding_window if use_sliding_window else None
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            head_dim,
            dropout=attention_dropout or 0.0,
            use_bias=attention_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            query_key_norm=norm if query_key_norm else None,
            position=RotaryEmbedding(rope_theta, scaling=rope_scaling),
            causal=True,
            window=None if window is None else window - 1,
        )
        dense = GatedFeedForward(intermediate_dim, activation, init, use_bias=False)
        inner = moe_intermediate_dim or intermediate_dim
        experts = MixtureOfExperts(
            num_experts, experts_per_token, inner, activation, normalize_weights, init
        )
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        for i in range(num_layers):
            feed_forward = experts if is_sparse[i] else dense
            block = Block(attention, feed_forward, norm, order="pre", name=f"layer_{i}")
            x = block(x, context={"padding_mask": inputs["padding_mask"]})
        x = RMSNorm(layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
