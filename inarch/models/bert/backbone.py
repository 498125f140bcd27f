"""BERT's graph. Devlin et al., 2018, arXiv:1810.04805; google-research/bert, modeling.py."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.errors import InputError
from inarch.layers import MaskedLMHead, TokenAndPositionEmbedding, TransformerEncoder
from inarch.models.backbone import Backbone, text_inputs


class BertBackbone(Backbone):
    """BERT encoder (Devlin et al., 2018, arXiv:1810.04805).

    Inputs are `token_ids`, `segment_ids` and `padding_mask`, int32 `[batch, length]`. Outputs
    are `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output`
    `[batch, hidden_dim]`: the first token through a tanh layer.

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
        normal = initializers.TruncatedNormal(stddev=0.02)

        tokens = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            hidden_dim,
            embeddings_initializer=normal,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)
        segments = Embedding(num_segments, hidden_dim, normal, name="segment_embedding")
        x = Add(name="embeddings_sum")([tokens, segments(inputs["segment_ids"])])
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
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
        outputs = {"sequence_output": x}
        if pooler:
            pooler_layer = Dense(hidden_dim, "tanh", kernel_initializer=normal, name="pooler")
            outputs["pooled_output"] = pooler_layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def masked_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        embedding = self.get_layer("embeddings").token_embedding
        return MaskedLMHead(
            vocabulary_size=self.arguments["vocabulary_size"],
            token_embedding=embedding if tie_word_embeddings else None,
            intermediate_activation=self.arguments["activation"],
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float | None = None
    ) -> Any:
        """Return logits `[batch, num_classes]` from the pooled output."""
        if "pooled_output" not in outputs:
            raise InputError(f"{self.name} was built with pooler=False; classifying needs it")
        rate = self.arguments["dropout"] if dropout is None else dropout
        x = Dropout(rate, name="classifier_dropout")(outputs["pooled_output"])
        return Dense(num_classes, name="logits")(x)
