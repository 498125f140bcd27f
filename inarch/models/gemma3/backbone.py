"""Gemma 3's graph. Gemma Team, 2025, arXiv:2503.19786; transformers, models/gemma3."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

import keras
from keras import initializers

from inarch.errors import InputError
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
from inarch.models.decoder_stack import DecoderStack
from inarch.models.input_checks import check_layer_types


class Gemma3Backbone(CausalBackbone):
    """Gemma 3's decoder of texts (Gemma Team, 2025, arXiv:2503.19786).

    Token vectors are scaled by the root of their width. Blocks normalize what each sublayer is
    given and what it gives; queries and keys are normalized head by head; feedforward layers are
    gated. Full layers attend to all tokens before them, sliding ones to those near them, and each
    of the two kinds has a base of its rotary positions. EmbeddingGemma (Vera et al., 2025,
    arXiv:2509.20354) has the same graph with attention in both directions. Inputs are `token_ids`
    and `padding_mask`, int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the gated feedforward layers.
        layer_types: `"full"` or `"sliding"` for each layer; published models have five sliding
            layers and a full one in turn.
        num_key_value_heads: heads of keys and values, which several heads of queries share.
        head_dim: width of a head.
        query_pre_attn_scalar: scores of attention are divided by the root of it.
        sliding_window: tokens that a token of a sliding layer attends to, itself among them; with
            `bidirectional`, twice the most tokens that lie between it and those on either side.
        bidirectional: whether tokens attend to those after them too.
        global_rope_theta: base of the rotary wavelengths in full layers.
        local_rope_theta: base of the rotary wavelengths in sliding layers.
        rope_scaling: scaling of the rotary frequencies in full layers, as of `RotaryEmbedding`;
            `None` for none.
        attention_dropout: rate on the attention weights; `None` is 0.
        attention_bias: whether the four projections of attention have biases.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        max_sequence_length: the longest sequence that the model is meant for.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.

    Raises:
        InputError: `layer_types` has another length than `num_layers`, or an unknown value.
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
        sliding_window: int = 4096,
        bidirectional: bool = False,
        global_rope_theta: float = 1e6,
        local_rope_theta: float = 1e4,
        rope_scaling: Mapping[str, Any] | None = None,
        attention_dropout: float | None = 0.0,
        attention_bias: bool = False,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-6,
        max_sequence_length: int = 131072,
        padding_id: int | None = 0,
        **kwargs: Any,
    ):
        check_layer_types(layer_types, num_layers, ("full", "sliding"))
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = RMSNorm(layer_norm_epsilon, offset=1.0)
        window = sliding_window // 2 if bidirectional else sliding_window - 1
        attention = partial(
            MultiHeadAttention,
            num_heads,
            head_dim,
            dropout=attention_dropout or 0.0,
            use_bias=attention_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            query_key_norm=norm,
            causal=not bidirectional,
            scale=query_pre_attn_scalar**-0.5,
        )
        mixing = {
            "full": attention(position=RotaryEmbedding(global_rope_theta, scaling=rope_scaling)),
            "sliding": attention(position=RotaryEmbedding(local_rope_theta), window=window),
        }
        feed_forward = GatedFeedForward(
            intermediate_dim, activation, kernel_initializer=init, use_bias=False
        )
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

    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.

        Raises:
            InputError: attention is in both directions, or the checkpoint's output embeddings
                aren't its token embeddings, and `head` isn't given.
        """
        if self.arguments["bidirectional"]:
            raise InputError(
                "bidirectional=True: tokens attend to those after them, so that none can be "
                "generated after another. Embed texts with TextEmbedder."
            )
        return super().decoder_stack(head)
