"""ALBERT's graph. Lan et al., 2019, arXiv:1909.11942; google-research/albert, modeling.py."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.errors import InputError
from inarch.layers import MaskedLMHead, TokenAndPositionEmbedding, TransformerEncoder
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.bert.backbone import BertBackbone


class AlbertBackbone(Backbone):
    """ALBERT encoder (Lan et al., 2019, arXiv:1909.11942), whose layers share their weights.

    Inputs are `token_ids`, `segment_ids` and `padding_mask`, int32 `[batch, length]`. Outputs
    are `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output`
    `[batch, hidden_dim]`: the first token through a tanh layer. The embeddings are projected to
    the encoder's width. The layers of a group are one Keras layer, called several times.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        embedding_dim: width of the embeddings.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        num_groups: number of groups of consecutive layers that share weights; from 1 to
            `num_layers`.
        dropout: rate after the embeddings and in the residual branches, as in google-research's
            code; transformers' has none after the feedforward layers.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu_approximate"` is the one through tanh.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of positions.
        num_segments: number of segments.
        pooler: whether there is a pooled output.

    Raises:
        InputError: `num_groups` is out of range.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        embedding_dim: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_groups: int = 1,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-12,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        pooler: bool = True,
        **kwargs: Any,
    ):
        if not 1 <= num_groups <= num_layers:
            raise InputError(
                f"num_groups={num_groups} isn't from 1 to num_layers={num_layers}. "
                "Each group needs a layer."
            )
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
        x = Dense(hidden_dim, kernel_initializer=normal, name="embeddings_projection")(x)
        groups = [
            TransformerEncoder(
                intermediate_dim,
                num_heads,
                dropout,
                activation,
                layer_norm_epsilon,
                kernel_initializer=normal,
                attention_dropout=attention_dropout,
                name=f"layer_{group}",
            )
            for group in range(num_groups)
        ]
        for i in range(num_layers):
            # In floating point, as in the reference, which decides where groups are of two sizes.
            x = groups[int(i / (num_layers / num_groups))](x, padding_mask=mask)
        outputs = {"sequence_output": x}
        if pooler:
            pooler_layer = Dense(hidden_dim, "tanh", kernel_initializer=normal, name="pooler")
            outputs["pooled_output"] = pooler_layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def masked_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`, transformed to the embeddings' width."""
        embedding = self.get_layer("embeddings").token_embedding
        return MaskedLMHead(
            vocabulary_size=self.arguments["vocabulary_size"],
            token_embedding=embedding if tie_word_embeddings else None,
            intermediate_activation=self.arguments["activation"],
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            intermediate_dim=self.arguments["embedding_dim"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float = 0.1
    ) -> Any:
        return BertBackbone.text_classifier(self, outputs, num_classes, dropout)

    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = 0.1) -> Any:
        return super().token_classifier(outputs, num_classes, dropout)
