"""GTE's graph. Zhang et al., 2024, arXiv:2407.19669; transformers, models/gte/modeling_gte.py.

The authors' own code is Alibaba-NLP/new-impl on the hub, modeling.py.
"""

from collections.abc import Mapping
from typing import Any

from keras import initializers
from keras.layers import Dense, Dropout, LayerNormalization

from inarch.layers import Block, GatedFeedForward, MaskedLMHead, MultiHeadAttention, RotaryEmbedding
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.bert.backbone import BertBackbone
from inarch.models.deberta_v3.backbone import sum_of_embeddings


class GteBackbone(Backbone):
    """GTE encoder (mGTE; Zhang et al., 2024, arXiv:2407.19669).

    BERT's blocks with rotary positions in place of a table, and gated feedforward layers. Inputs
    are `token_ids`, `padding_mask` and, for two segments or more, `segment_ids`, int32
    `[batch, length]`; outputs are `sequence_output` `[batch, length, hidden_dim]` and, with
    `pooler`, `pooled_output` `[batch, hidden_dim]`: the first token through a tanh layer.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the gated feedforward layers.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        dropout: rate after the embeddings, between the projections of the feedforward layers and
            in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the gates of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        max_sequence_length: the longest sequence that the model is meant for.
        num_segments: number of segments; 0 for no segment embedding.
        pooler: whether there is a pooled output, which a classifier reads.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        head_dim: int | None = None,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        rope_theta: float = 160000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        max_sequence_length: int = 8192,
        num_segments: int = 1,
        pooler: bool = False,
        **kwargs: Any,
    ):
        inputs = text_inputs(*(["segment_ids"] if num_segments > 1 else []))
        init = initializers.RandomNormal(stddev=0.02)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        x = sum_of_embeddings(inputs, vocabulary_size, hidden_dim, 0, num_segments, init)
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        attention = MultiHeadAttention(
            num_heads,
            head_dim,
            dropout=attention_dropout,
            kernel_initializer=init,
            position=RotaryEmbedding(rope_theta, scaling=rope_scaling),
        )
        feed_forward = GatedFeedForward(
            intermediate_dim,
            activation,
            init,
            use_bias=False,
            down_bias=True,
            activation_dropout=dropout,
            residual_dropout=True,
        )
        for i in range(num_layers):
            x = Block(attention, feed_forward, norm, dropout=dropout, name=f"layer_{i}")(
                x, context={"padding_mask": inputs["padding_mask"]}
            )
        outputs = {"sequence_output": x}
        if pooler:
            layer = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")
            outputs["pooled_output"] = layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def masked_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`; the head's GELU is always the exact one."""
        return MaskedLMHead(
            self.arguments["vocabulary_size"],
            self.get_layer("token_embedding") if tie_word_embeddings else None,
            "gelu",
            layer_norm_epsilon=self.arguments["layer_norm_epsilon"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    text_classifier = BertBackbone.text_classifier
