"""ELECTRA's graph. Clark et al., 2020, arXiv:2003.10555; google-research/electra, modeling.py."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.layers import MaskedLMHead, TokenAndPositionEmbedding, TransformerEncoder
from inarch.models.backbone import Backbone, text_inputs


class ElectraBackbone(Backbone):
    """ELECTRA encoder (Clark et al., 2020, arXiv:2003.10555); discriminator or generator.

    Inputs are `token_ids`, `segment_ids` and `padding_mask`, int32 `[batch, length]`; the output
    is `[batch, length, hidden_dim]`. Embeddings of another width than the encoder's are projected
    to it.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        embedding_dim: width of the embeddings.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of positions.
        num_segments: number of segments.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        embedding_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        **kwargs: Any,
    ):
        inputs = text_inputs("segment_ids")
        mask = inputs["padding_mask"]
        normal = initializers.TruncatedNormal(stddev=0.02)

        tokens = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            embedding_dim,
            embeddings_initializer=normal,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)
        segments = Embedding(num_segments, embedding_dim, normal, name="segment_embedding")
        x = Add(name="embeddings_sum")([tokens, segments(inputs["segment_ids"])])
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        if embedding_dim != hidden_dim:
            x = Dense(hidden_dim, kernel_initializer=normal, name="embeddings_projection")(x)
        for i in range(num_layers):
            x = TransformerEncoder(
                intermediate_dim,
                num_heads,
                dropout,
                activation,
                layer_norm_epsilon,
                kernel_initializer=normal,
                attention_dropout=attention_dropout,
                name=f"layer_{i}",
            )(x, padding_mask=mask)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`; the head's GELU is always the exact one."""
        embedding = self.get_layer("embeddings").token_embedding
        return MaskedLMHead(
            vocabulary_size=self.arguments["vocabulary_size"],
            token_embedding=embedding if tie_word_embeddings else None,
            intermediate_activation="gelu",
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            intermediate_dim=self.arguments["embedding_dim"],
            name="masked_lm_head",
        )(outputs)

    def text_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        """Return logits `[batch, num_classes]` from the first token, by a layer of exact GELU."""
        rate = self.arguments["dropout"] if dropout is None else dropout
        x = Dropout(rate, name="pooled_dropout")(outputs[:, 0])
        x = Dense(self.arguments["hidden_dim"], "gelu", name="pooled_dense")(x)
        return Dense(num_classes, name="logits")(Dropout(rate, name="classifier_dropout")(x))
