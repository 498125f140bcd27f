"""Nomic BERT's graph. Nussbaum et al., 2024, arXiv:2402.01613; transformers, models/nomic_bert."""

from typing import Any

from keras import initializers
from keras.layers import (
    Add,
    Dense,
    Dropout,
    Embedding,
    LayerNormalization,
    ReversibleEmbedding,
)

from inarch.errors import InputError
from inarch.layers import (
    Block,
    GatedFeedForward,
    MaskedLMHead,
    MultiHeadAttention,
    RotaryEmbedding,
)
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.bert.backbone import BertBackbone


class NomicBertBackbone(Backbone):
    """Nomic BERT encoder (Nussbaum et al., 2024, arXiv:2402.01613).

    BERT's blocks with rotary positions in place of a table, gated feedforward layers and no biases.
    Inputs are `token_ids`, `padding_mask` and `segment_ids`, int32 `[batch, length]`; the outputs
    are `sequence_output` `[batch, length, hidden_dim]` and, with a pooler, `pooled_output`
    `[batch, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the gated feedforward layers.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every layer normalization.
        rope_theta: base of the rotary wavelengths.
        max_sequence_length: the longest sequence that the model is meant for.
        num_segments: number of segments.
        pooler: whether the first token goes through a dense layer, which a classifier reads.

    Raises:
        InputError: `rope_theta` isn't positive.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-12,
        rope_theta: float = 1000.0,
        max_sequence_length: int = 2048,
        num_segments: int = 2,
        pooler: bool = False,
        **kwargs: Any,
    ):
        if rope_theta <= 0:
            raise InputError(f"rope_theta={rope_theta!r}. Pass a positive number.")
        inputs = text_inputs("segment_ids")
        init = initializers.TruncatedNormal(stddev=0.02)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        segments = Embedding(num_segments, hidden_dim, init, name="segment_embedding")
        terms = [table(inputs["token_ids"]), segments(inputs["segment_ids"])]
        x = Add(name="embeddings_sum")(terms)
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        for i in range(num_layers):
            x = Block(
                MultiHeadAttention(
                    num_heads,
                    dropout=attention_dropout,
                    use_bias=False,
                    kernel_initializer=init,
                    position=RotaryEmbedding(rope_theta),
                ),
                GatedFeedForward(
                    intermediate_dim,
                    activation,
                    kernel_initializer=init,
                    use_bias=False,
                    residual_dropout=True,
                ),
                LayerNormalization(epsilon=layer_norm_epsilon),
                dropout=dropout,
                name=f"layer_{i}",
            )(x, context={"padding_mask": inputs["padding_mask"]})
        outputs = {"sequence_output": x}
        if pooler:
            pooled = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")
            outputs["pooled_output"] = pooled(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def masked_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        return MaskedLMHead(
            self.arguments["vocabulary_size"],
            self.get_layer("token_embedding") if tie_word_embeddings else None,
            self.arguments["activation"],
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    text_classifier = BertBackbone.text_classifier
