"""RoBERTa's graph. Liu et al., 2019, arXiv:1907.11692; facebookresearch/fairseq, models/roberta."""

from typing import Any

from keras import initializers, ops
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization

from inarch.layers import MaskedLMHead, TokenAndPositionEmbedding, TransformerEncoder
from inarch.models.backbone import Backbone, text_inputs


class RobertaBackbone(Backbone):
    """RoBERTa encoder (Liu et al., 2019, arXiv:1907.11692).

    XLM-RoBERTa (Conneau et al., 2019, arXiv:1911.02116) and CamemBERT (Martin et al., 2019,
    arXiv:1911.03894) are the same graph. Inputs are `token_ids` and `padding_mask`, int32
    `[batch, length]`, and `segment_ids` where there is more than one segment. Outputs are
    `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output`
    `[batch, hidden_dim]`.

    Positions count the tokens whose id isn't `padding_id`, from `padding_id + 1` on.

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
        padding_id: id of the padding token.
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
        max_sequence_length: int = 510,
        padding_id: int = 1,
        num_segments: int = 2,
        pooler: bool = False,
        **kwargs: Any,
    ):
        inputs = text_inputs(*(["segment_ids"] if num_segments > 1 else []))
        mask = inputs["padding_mask"]
        normal = initializers.TruncatedNormal(stddev=0.02)

        x = embed(
            inputs, vocabulary_size, max_sequence_length, hidden_dim, padding_id, num_segments,
            layer_norm_epsilon, dropout, normal,
        )  # fmt: skip
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
        """Return logits `[batch, length, vocabulary]`; the head's GELU is always the exact one."""
        embedding = self.get_layer("embeddings").token_embedding
        return MaskedLMHead(
            vocabulary_size=self.arguments["vocabulary_size"],
            token_embedding=embedding if tie_word_embeddings else None,
            intermediate_activation="gelu",
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float | None = None
    ) -> Any:
        """Return logits `[batch, num_classes]` from the first token, through a tanh layer."""
        return self.tanh_classifier(outputs["sequence_output"][:, 0], num_classes, dropout)


def embed(
    inputs: dict[str, Any], vocabulary_size: int, max_sequence_length: int, hidden_dim: int,
    padding_id: int, num_segments: int, epsilon: float, dropout: float, initializer: Any,
) -> Any:  # fmt: skip
    """Return the normalized sum of tokens, positions after the padding id, and segments.

    Args:
        inputs: those of `text_inputs`, with `segment_ids` where there is more than one segment.

    Returns:
        float `[batch, length, hidden_dim]`.
    """
    tokens = inputs["token_ids"]
    embeddings = TokenAndPositionEmbedding(
        vocabulary_size,
        max_sequence_length + padding_id + 1,
        hidden_dim,
        embeddings_initializer=initializer,
        padding_id=padding_id,
        name="embeddings",
    )(tokens, padding_mask=inputs["padding_mask"])
    segment_ids = inputs.get("segment_ids", ops.zeros_like(tokens))
    segments = Embedding(num_segments, hidden_dim, initializer, name="segment_embedding")
    x = Add(name="embeddings_sum")([embeddings, segments(segment_ids)])
    x = LayerNormalization(epsilon=epsilon, name="embeddings_norm")(x)
    return Dropout(dropout, name="embeddings_dropout")(x)
