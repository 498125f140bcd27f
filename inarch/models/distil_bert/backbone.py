"""DistilBERT's graph. Sanh et al., 2019, arXiv:1910.01108; transformers, modeling_distilbert.py."""

from typing import Any

from keras import initializers
from keras.layers import Dense, Dropout, LayerNormalization

from inarch.layers import (
    MaskedLMHead,
    SinePositions,
    TokenAndPositionEmbedding,
    TransformerEncoder,
)
from inarch.models.backbone import Backbone, text_inputs


class DistilBertBackbone(Backbone):
    """DistilBERT encoder (Sanh et al., 2019, arXiv:1910.01108).

    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the embeddings and the feedforward layers.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        max_sequence_length: number of positions.
        sinusoidal_positions: whether the positions are fixed sinusoids, not trained.
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
        max_sequence_length: int = 512,
        sinusoidal_positions: bool = False,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        mask = inputs["padding_mask"]
        normal = initializers.RandomNormal(stddev=0.02)

        x = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            hidden_dim,
            embeddings_initializer=normal,
            position_initializer=SinePositions() if sinusoidal_positions else None,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)
        x = LayerNormalization(epsilon=1e-12, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        for i in range(num_layers):
            x = TransformerEncoder(
                intermediate_dim,
                num_heads,
                dropout,
                activation,
                layer_norm_epsilon=1e-12,
                kernel_initializer=normal,
                attention_dropout=attention_dropout,
                name=f"layer_{i}",
            )(x, padding_mask=mask)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
        self.get_layer("embeddings").position_embedding.trainable = not sinusoidal_positions

    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        embedding = self.get_layer("embeddings").token_embedding
        return MaskedLMHead(
            vocabulary_size=self.arguments["vocabulary_size"],
            token_embedding=embedding if tie_word_embeddings else None,
            intermediate_activation=self.arguments["activation"],
            layer_norm_epsilon=1e-12,
            name="masked_lm_head",
        )(outputs)

    def text_classifier(self, outputs: Any, num_classes: int, dropout: float = 0.2) -> Any:
        """Return logits `[batch, num_classes]`: the first token, a ReLU layer, a linear one."""
        hidden_dim = self.arguments["hidden_dim"]
        x = Dense(hidden_dim, "relu", name="pre_classifier")(outputs[:, 0])
        x = Dropout(dropout, name="classifier_dropout")(x)
        return Dense(num_classes, name="logits")(x)

    def question_answering(self, outputs: Any, dropout: float = 0.1) -> Any:
        return super().question_answering(outputs, dropout)
