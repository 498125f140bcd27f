"""OPT's graph. Zhang et al., 2022, arXiv:2205.01068; transformers, models/opt/modeling_opt.py."""

from typing import Any

from keras import initializers
from keras.layers import LayerNormalization

from inarch.layers import Block, FeedForward, MultiHeadAttention, TokenAndPositionEmbedding
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.gpt2.backbone import GPT2Backbone


class OPTBackbone(Backbone):
    """OPT decoder (Zhang et al., 2022, arXiv:2205.01068).

    GPT-2's blocks with positions that count tokens alone, so that left padding shifts none. Inputs
    are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, hidden_dim]`. A token attends to those before it and to itself.

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
        **kwargs: Any,
    ):
        inputs = text_inputs()
        mask = inputs["padding_mask"]
        init = initializers.RandomNormal(stddev=0.02)

        x = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            hidden_dim,
            embeddings_initializer=init,
            position_offset=2,
            skips_padding=True,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)
        attention = MultiHeadAttention(
            num_heads,
            dropout=attention_dropout,
            use_bias=use_bias,
            kernel_initializer=init,
            causal=True,
        )
        feed_forward = FeedForward(intermediate_dim, activation, init, use_bias=use_bias)
        norm = LayerNormalization(epsilon=1e-5)
        for i in range(num_layers):
            block = Block(
                attention, feed_forward, norm, order="pre", dropout=dropout, name=f"layer_{i}"
            )
            x = block(x, context={"padding_mask": mask})
        x = LayerNormalization(epsilon=1e-5, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    decoder_stack = GPT2Backbone.decoder_stack
    causal_lm = GPT2Backbone.causal_lm
    text_classifier = GPT2Backbone.text_classifier
