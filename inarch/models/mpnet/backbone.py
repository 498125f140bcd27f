"""MPNet's graph. Song et al., 2020, arXiv:2004.09297; microsoft/MPNet, pretraining/mpnet."""

from typing import Any

from keras import initializers
from keras.layers import Dense, Dropout, LayerNormalization

from inarch.layers import (
    Block,
    FeedForward,
    MultiHeadAttention,
    RelativePositionBias,
    TokenAndPositionEmbedding,
)
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.roberta.backbone import RobertaBackbone


class MPNetBackbone(Backbone):
    """MPNet encoder (Song et al., 2020, arXiv:2004.09297).

    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`. Outputs are
    `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output`
    `[batch, hidden_dim]`: the first token through a tanh layer.

    Positions count the tokens whose id isn't `padding_id`, from `padding_id + 1` on. One bias for
    each head and bucket of distances, of which there are 32 that end at 128 tokens, is added to
    the attention scores of every layer.

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
        max_sequence_length: the longest sequence.
        padding_id: id of the padding token; 1 in every published checkpoint.
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
        max_sequence_length: int = 510,
        padding_id: int = 1,
        pooler: bool = False,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        mask = inputs["padding_mask"]
        normal = initializers.TruncatedNormal(stddev=0.02)

        x = TokenAndPositionEmbedding(
            vocabulary_size, max_sequence_length + padding_id + 1, hidden_dim,
            embeddings_initializer=normal, padding_id=padding_id, name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)  # fmt: skip
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)

        bias = RelativePositionBias(num_heads, 32, 128, normal, name="relative_bias")(x)
        attention = MultiHeadAttention(
            num_heads, dropout=attention_dropout, kernel_initializer=normal
        )
        feed_forward = FeedForward(intermediate_dim, activation, normal)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        for i in range(num_layers):
            block = Block(attention, feed_forward, norm, dropout=dropout, name=f"layer_{i}")
            x = block(x, context={"padding_mask": mask, "attention_bias": bias})
        outputs = {"sequence_output": x}
        if pooler:
            pooler_layer = Dense(hidden_dim, "tanh", kernel_initializer=normal, name="pooler")
            outputs["pooled_output"] = pooler_layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    # The heads are RoBERTa's.
    masked_lm = RobertaBackbone.masked_lm
    text_classifier = RobertaBackbone.text_classifier
