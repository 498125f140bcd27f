"""OPT's graph. Zhang et al., 2022, arXiv:2205.01068; transformers, models/opt/modeling_opt.py."""

from typing import Any

from keras import initializers
from keras.layers import Dense, Layer, LayerNormalization, ReversibleEmbedding

from inarch.layers import (
    Block,
    FeedForward,
    InputEmbedding,
    MultiHeadAttention,
    PositionEmbedding,
    TokenAndPositionEmbedding,
)
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone


class OPTBackbone(CausalBackbone):
    """OPT decoder (Zhang et al., 2022, arXiv:2205.01068).

    GPT-2's blocks with positions that count tokens alone, so that left padding shifts none. Inputs
    are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, embedding_dim]`. A token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers.
        use_bias: whether projections have biases.
        max_sequence_length: the longest sequence.
        padding_id: id of the padding token, which a classifier doesn't read; `None` for none.
        embedding_dim: width of the token embeddings and of the output, where it isn't the
            decoder's: 512 in opt-350m; `None` is `hidden_dim`.
        normalize_first: whether norms come before each sublayer, and after the last layer; after
            each sublayer in opt-350m.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation: str = "relu",
        use_bias: bool = True,
        max_sequence_length: int = 2048,
        padding_id: int | None = 1,
        embedding_dim: int | None = None,
        normalize_first: bool = True,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        mask = inputs["padding_mask"]
        init = initial_weights()

        is_narrow = embedding_dim not in (None, hidden_dim)
        narrow = embedding_dim if is_narrow else None
        embeddings = _embeddings(vocabulary_size, max_sequence_length, hidden_dim, narrow)
        x = embeddings(inputs["token_ids"], padding_mask=mask)
        attention = MultiHeadAttention(
            num_heads,
            dropout=attention_dropout,
            use_bias=use_bias,
            kernel_initializer=init,
            causal=True,
        )
        feed_forward = FeedForward(intermediate_dim, activation, init, use_bias=use_bias)
        norm = LayerNormalization(epsilon=1e-5)
        order = "pre" if normalize_first else "post"
        for i in range(num_layers):
            block = Block(
                attention, feed_forward, norm, order=order, dropout=dropout, name=f"layer_{i}"
            )
            x = block(x, context={"padding_mask": mask})
        if normalize_first:
            x = LayerNormalization(epsilon=1e-5, name="final_norm")(x)
        if is_narrow:
            x = Dense(embedding_dim, use_bias=False, kernel_initializer=init, name="projection")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)


def initial_weights() -> initializers.Initializer:
    """Return the initializer of tables and kernels."""
    return initializers.RandomNormal(stddev=0.02)


def _embeddings(vocabulary_size: int, max_length: int, dim: int, narrow: int | None) -> Layer:
    """Return the layer of tokens and positions; of tokens of a width of their own, or `None`."""
    init = initial_weights()
    if narrow is None:
        return TokenAndPositionEmbedding(
            vocabulary_size,
            max_length,
            dim,
            embeddings_initializer=init,
            position_offset=2,
            skips_padding=True,
            name="embeddings",
        )
    return InputEmbedding(
        ReversibleEmbedding(
            vocabulary_size, narrow, embeddings_initializer=init, name="token_embedding"
        ),
        PositionEmbedding(max_length, init, offset=2, name="position_embedding"),
        projection=Dense(dim, use_bias=False, kernel_initializer=init),
        skips_padding=True,
        name="embeddings",
    )
