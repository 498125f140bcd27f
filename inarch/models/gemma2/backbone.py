"""Gemma 2's graph. Gemma Team, 2024, arXiv:2408.00118; transformers, models/gemma2."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

from keras import initializers

from inarch.layers import (
    Block,
    GatedFeedForward,
    MultiHeadAttention,
    RMSNorm,
    RotaryEmbedding,
    ScaledEmbedding,
)
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone
from inarch.models.input_checks import check_layer_types


class Gemma2Backbone(CausalBackbone):
    """Gemma 2's decoder (Gemma Team, 2024, arXiv:2408.00118).

    Token vectors are scaled by the root of their width. Blocks normalize what each sublayer is
    given and what it gives; scores of attention and logits are capped softly; feedforward layers
    are gated. Full layers attend to all tokens before them, sliding ones to those near them.
    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is `[batch,
    length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the gated feedforward layers.
        layer_types: `"full"` or `"sliding"` for each layer; published models have a sliding layer
            and a full one in turn.
        num_key_value_heads: heads of keys and values, which several heads of queries share.
        head_dim: width of a head.
        query_pre_attn_scalar: scores of attention are divided by the root of it.
        attention_soft_cap: what scores of attention approach, of either sign; `None` for no cap.
        logits_soft_cap: what logits of the language model approach, of either sign; `None` for no
            cap.
        sliding_window: tokens that a token of a sliding layer attends to, itself among them.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        attention_dropout: rate on the attention weights; `None` is 0.
        attention_bias: whether the four projections of attention have biases.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.

    Raises:
        InputError: `layer_types` has another length than `num_layers`, or an unknown value; or a
            cap isn't positive.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        layer_types: Sequence[str],
        num_key_value_heads: int = 4,
        head_dim: int = 256,
        query_pre_attn_scalar: int = 256,
        attention_soft_cap: float | None = 50.0,
        logits_soft_cap: float | None = 30.0,
        sliding_window: int = 4096,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        attention_dropout: float | None = 0.0,
        attention_bias: bool = False,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-6,
        max_sequence_length: int = 8192,
        padding_id: int | None = 0,
        **kwargs: Any,
    ):
        check_layer_types(layer_types, num_layers, ("full", "sliding"))
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon, offset=1.0)
        attention = partial(
            MultiHeadAttention,
            num_heads,
            head_dim,
            dropout=attention_dropout or 0.0,
            use_bias=attention_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            position=RotaryEmbedding(rope_theta, scaling=rope_scaling),
            causal=True,
            scale=query_pre_attn_scalar**-0.5,
            soft_cap=attention_soft_cap,
        )
        mixing = {"full": attention(), "sliding": attention(window=sliding_window - 1)}
        feed_forward = GatedFeedForward(intermediate_dim, activation, init, use_bias=False)
        options = {"embeddings_initializer": init, "name": "token_embedding"}
        table = ScaledEmbedding(vocabulary_size, hidden_dim, sqrt(hidden_dim), **options)
        x = table(inputs["token_ids"])
        for i, layer_type in enumerate(layer_types):
            block = Block(
                mixing[layer_type], feed_forward, norm, order="sandwich", name=f"layer_{i}"
            )
            x = block(x, context={"padding_mask": inputs["padding_mask"]})
        x = RMSNorm(layer_norm_epsilon, offset=1.0, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
