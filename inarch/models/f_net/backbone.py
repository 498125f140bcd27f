"""FNet's graph. Lee-Thorp et al., 2021, arXiv:2105.03824; google-research/f_net, models.py."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.layers import FNetEncoder, TokenAndPositionEmbedding
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.bert.backbone import BertBackbone


class FNetBackbone(Backbone):
    """FNet encoder (Lee-Thorp et al., 2021, arXiv:2105.03824).

    Inputs are `token_ids`, `segment_ids` and `padding_mask`, int32 `[batch, length]`. Outputs
    are `sequence_output` `[batch, length, hidden_dim]` and `pooled_output` `[batch, hidden_dim]`:
    the first token through a tanh layer.

    As in the reference the padding mask has no part in the numbers: tokens are mixed by Fourier
    transforms over the whole row, padding included, so a row holds one sequence, and a sequence
    padded to another length has other numbers. The tasks give it none (see
    `padding_affects_output`).

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the embeddings and the feedforward layers.
        max_sequence_length: number of positions.
        num_segments: number of segments.
        activation: of the feedforward layers; `"gelu_approximate"` is GELU through tanh.
        layer_norm_epsilon: of every layer normalization.
    """

    padding_affects_output = True

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_segments: int = 4,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-12,
        **kwargs: Any,
    ):
        inputs = text_inputs("segment_ids")
        normal = initializers.RandomNormal(stddev=0.02)

        tokens = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            hidden_dim,
            embeddings_initializer=normal,
            name="embeddings",
        )(inputs["token_ids"])
        segments = Embedding(num_segments, hidden_dim, normal, name="segment_embedding")
        x = Add(name="embeddings_sum")([tokens, segments(inputs["segment_ids"])])
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dense(hidden_dim, kernel_initializer=normal, name="embeddings_projection")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        for i in range(num_layers):
            x = FNetEncoder(
                intermediate_dim,
                dropout,
                activation,
                layer_norm_epsilon,
                kernel_initializer=normal,
                name=f"layer_{i}",
            )(x)
        pooler = Dense(hidden_dim, "tanh", kernel_initializer=normal, name="pooler")
        outputs = {"sequence_output": x, "pooled_output": pooler(x[:, 0])}
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    # The heads are BERT's.
    masked_lm = BertBackbone.masked_lm
    text_classifier = BertBackbone.text_classifier
