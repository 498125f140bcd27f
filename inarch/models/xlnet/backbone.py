"""XLNet's graph. Yang et al., 2019, arXiv:1906.08237; zihangdai/xlnet, modeling.py."""

from typing import Any, ClassVar

from keras import initializers
from keras.layers import Dense, Dropout, LayerNormalization, ReversibleEmbedding

from inarch.layers import FeedForward, TransformerXLAttention, TransformerXLBlock
from inarch.layers.pooling import SequencePooling
from inarch.models.backbone import Backbone, text_inputs


class XLNetBackbone(Backbone):
    """XLNet encoder (Yang et al., 2019, arXiv:1906.08237).

    The content stream, which sees whole texts; the query stream of its pretraining and memories of
    earlier segments are left out. Positions are relative, so padding may be on either side; the
    reference's is on the left. Inputs are `token_ids`, `padding_mask` and `segment_ids`, int32
    `[batch, length]`; the output is `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate everywhere in the encoder.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        clamp_length: distance in tokens from which on all are alike; none where it isn't positive.
        num_segments: segments that tokens may be of; only whether two are of the same counts.
        max_sequence_length: the longest sequence that the model is meant for; there is no last
            position.
    """

    padding_side: ClassVar[str] = "left"

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        clamp_length: int = -1,
        num_segments: int = 5,
        max_sequence_length: int = 512,
        **kwargs: Any,
    ):
        inputs = text_inputs("segment_ids")
        context = {name: inputs[name] for name in ("padding_mask", "segment_ids")}
        init = initializers.RandomNormal(stddev=0.02)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = Dropout(dropout, name="embeddings_dropout")(table(inputs["token_ids"]))
        limit = clamp_length if clamp_length > 0 else None
        attention = TransformerXLAttention(num_heads, norm, dropout, limit, init)
        feed_forward = FeedForward(intermediate_dim, activation, init, activation_dropout=dropout)
        for i in range(num_layers):
            x = TransformerXLBlock(
                attention, feed_forward, norm, dropout=dropout, name=f"layer_{i}"
            )(x, context=context)
        x = Dropout(dropout, name="final_dropout")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    @property
    def max_length(self) -> None:
        return None

    def text_classifier(self, outputs: Any, num_classes: int, dropout: float = 0.1) -> Any:
        """Return logits `[batch, num_classes]` from the last token, through a tanh layer."""
        x = SequencePooling("lasttoken", name="pooling")(outputs, self.input["padding_mask"])
        x = Dense(self.hidden_dim, "tanh", name="pooled_dense")(x)
        x = Dropout(dropout, name="classifier_dropout")(x)
        return Dense(num_classes, name="logits")(x)

    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = 0.0) -> Any:
        """Return logits `[batch, length, num_classes]`, of each token."""
        return super().token_classifier(outputs, num_classes, dropout)
