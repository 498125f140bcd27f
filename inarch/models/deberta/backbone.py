"""DeBERTa's graph. He et al., 2021, arXiv:2006.03654; microsoft/DeBERTa, DeBERTa/deberta."""

from typing import Any

from keras import initializers
from keras.layers import Dense, Dropout, LayerNormalization

import inarch.layers as layers
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.deberta_v3.backbone import DebertaV3Backbone, sum_of_embeddings


class DebertaBackbone(Backbone):
    """DeBERTa encoder, the first version (He et al., 2021, arXiv:2006.03654).

    Each attention projects the table of relative positions, which has a row for each distance, by
    layers of its own; keys have no bias. Inputs are `token_ids` and `padding_mask`, int32
    `[batch, length]`, and `segment_ids` where there is more than one segment. The output is
    `sequence_output` `[batch, length, hidden_dim]`. Without `absolute_positions` sequences may be
    longer than `max_sequence_length`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the embeddings, on relative embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of absolute positions.
        num_segments: number of segments; 0 for no segment embedding.
        embedding_dim: width of the embeddings where it isn't `hidden_dim`.
        absolute_positions: whether positions are added to the embeddings.
        relative_attention: whether attention has a table of relative positions.
        max_relative_positions: the longest distance; below 1, `max_sequence_length`.
        position_terms: of attention: `"c2p|p2c"`, `"c2p"`, `"p2c"` or `"none"`.
        pooler_activation: of the layer that a classifier has above the first token.
        pooler_dropout: rate before that layer.
        legacy_head: whether a masked-LM head is stored as transformers' older one is.
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
        layer_norm_epsilon: float = 1e-7,
        max_sequence_length: int = 512,
        num_segments: int = 0,
        embedding_dim: int | None = None,
        absolute_positions: bool = False,
        relative_attention: bool = True,
        max_relative_positions: int = -1,
        position_terms: str = "c2p|p2c",
        pooler_activation: str = "gelu",
        pooler_dropout: float = 0.0,
        legacy_head: bool = True,
        **kwargs: Any,
    ):
        inputs = text_inputs(*(["segment_ids"] if num_segments > 1 else []))
        mask = inputs["padding_mask"]
        init = initializers.TruncatedNormal(stddev=0.02)
        width = embedding_dim or hidden_dim
        reach = max_relative_positions if max_relative_positions > 0 else max_sequence_length

        positions = max_sequence_length * absolute_positions
        x = sum_of_embeddings(inputs, vocabulary_size, width, positions, num_segments, init)
        if width != hidden_dim:
            x = Dense(hidden_dim, use_bias=False, name="embeddings_projection")(x)
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        x = Dropout(dropout, name="embeddings_dropout")(x)
        distances = layers.RelativeEmbedding(reach, 0, init, name="relative_embedding")
        relative = distances(x) if relative_attention else None
        for i in range(num_layers):
            x = layers.DisentangledAttentionEncoder(
                intermediate_dim, num_heads, dropout, activation, layer_norm_epsilon, init,
                attention_dropout=attention_dropout, bucket_size=0, max_relative_positions=reach,
                position_terms=position_terms, share_keys=False, key_bias=False,
                name=f"layer_{i}",
            )(x, relative, padding_mask=mask)  # fmt: skip
        super().__init__(inputs=inputs, outputs={"sequence_output": x}, **kwargs)

    masked_lm = DebertaV3Backbone.masked_lm
    text_classifier = DebertaV3Backbone.text_classifier
