"""GPT-NeoX's graph. Black et al., 2022, arXiv:2204.06745; transformers, models/gpt_neox."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from keras import initializers
from keras.layers import Dropout, LayerNormalization, ReversibleEmbedding

from inarch.layers import Block, FeedForward, MultiHeadAttention, ParallelBlock, RotaryEmbedding
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone


class GPTNeoXBackbone(CausalBackbone):
    """GPT-NeoX decoder (Black et al., 2022, arXiv:2204.06745), and Pythia's.

    Positions are rotary, in a share of the features of each head. The two sublayers of a block read
    the same input, each through a norm of its own, or one after the other. Inputs are `token_ids`
    and `padding_mask`, int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`. A
    token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the feedforward layers.
        parallel_residual: whether attention and feedforward layers of a block read the same input;
            otherwise the latter read what the former add to it.
        dropout: rate on embeddings and on what sublayers add.
        attention_dropout: rate on the attention weights.
        attention_bias: whether the four projections of attention have biases.
        activation: of the feedforward layers.
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
        parallel_residual: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        attention_bias: bool = True,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        partial_rotary_factor: float = 0.25,
        max_sequence_length: int = 2048,
        padding_id: int | None = None,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            dropout=attention_dropout,
            use_bias=attention_bias,
            kernel_initializer=init,
            position=RotaryEmbedding(
                rope_theta, scaling=rope_scaling, partial_rotary_factor=partial_rotary_factor
            ),
            causal=True,
        )
        feed_forward = FeedForward(intermediate_dim, activation, init)
        make_block = ParallelBlock if parallel_residual else partial(Block, order="pre")
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = Dropout(dropout, name="embeddings_dropout")(table(inputs["token_ids"]))
        for i in range(num_layers):
            block = make_block(attention, feed_forward, norm, dropout=dropout, name=f"layer_{i}")
            x = block(x, context={"padding_mask": inputs["padding_mask"]})
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
