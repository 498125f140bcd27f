"""MegatronBERT's graph. Shoeybi et al., 2019, arXiv:1909.08053; models/megatron_bert."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.layers import Block, FeedForward, MultiHeadAttention, TokenAndPositionEmbedding
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.bert.backbone import BertBackbone


class MegatronBertBackbone(Backbone):
    """MegatronBERT encoder (Shoeybi et al., 2019, arXiv:1909.08053).

    BERT with norms before each sublayer and after the last layer, and none after the embeddings.
    Inputs are `token_ids`, `segment_ids` and `padding_mask`, int32 `[batch, length]`; outputs are
    `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output` `[batch,
    hidden_dim]`: the first token through a tanh layer.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of positions.
        num_segments: number of segments.
        pooler: whether there is a pooled output.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        pooler: bool = True,
        **kwargs: Any,
    ):
        inputs = text_inputs("segment_ids")
        mask = inputs["padding_mask"]
        init = initializers.RandomNormal(stddev=0.02)

        x = TokenAndPositionEmbedding(
            vocabulary_size, max_sequence_length, hidden_dim,
            embeddings_initializer=init, name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)  # fmt: skip
        segments = Embedding(num_segments, hidden_dim, init, name="segment_embedding")
        x = Add(name="embeddings_sum")([x, segments(inputs["segment_ids"])])
        x = Dropout(dropout, name="embeddings_dropout")(x)

        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            dropout=attention_dropout,
            kernel_initializer=init,
        )
        feed_forward = FeedForward(intermediate_dim, activation, init)
        for i in range(num_layers):
            x = Block(
                attention, feed_forward, norm, order="pre", dropout=dropout, name=f"layer_{i}"
            )(x, context={"padding_mask": mask})
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
        outputs = {"sequence_output": x}
        if pooler:
            layer = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")
            outputs["pooled_output"] = layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    masked_lm = BertBackbone.masked_lm
    text_classifier = BertBackbone.text_classifier
