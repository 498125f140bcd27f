"""DeBERTaV3's graph. He et al., 2021, arXiv:2111.09543; microsoft/DeBERTa, DeBERTa/deberta."""

from typing import Any

from keras import initializers
from keras.layers import Add, Dense, Dropout, Embedding, LayerNormalization, ReversibleEmbedding

import inarch.layers as layers
from inarch.models.backbone import Backbone, text_inputs


class DebertaV3Backbone(Backbone):
    """DeBERTaV3 encoder (He et al., 2021, arXiv:2111.09543), and DeBERTa-v2 (arXiv:2006.03654).

    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`, and `segment_ids` where
    there is more than one segment. The output is `sequence_output` `[batch, length, hidden_dim]`.
    Without `absolute_positions` sequences may be longer than `max_sequence_length`.

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
        bucket_size: buckets of relative positions of either sign; below 1 for none.
        max_relative_positions: the longest distance; below 1, `max_sequence_length`.
        position_terms: of attention: `"c2p|p2c"`, `"c2p"`, `"p2c"` or `"none"`.
        share_keys: whether positions are projected by the layers that contents are.
        norm_relative: whether the table of relative positions is normalised.
        conv_kernel_size: kernel size in tokens of the convolution of the first layer; 0 for none.
        conv_activation: of the convolution.
        conv_groups: parts of the width that are convolved each by itself.
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
        bucket_size: int = 256,
        max_relative_positions: int = -1,
        position_terms: str = "c2p|p2c",
        share_keys: bool = True,
        norm_relative: bool = True,
        conv_kernel_size: int = 0,
        conv_activation: str = "tanh",
        conv_groups: int = 1,
        pooler_activation: str = "gelu",
        pooler_dropout: float = 0.0,
        legacy_head: bool = True,
        **kwargs: Any,
    ):
        inputs = text_inputs(*(["segment_ids"] if num_segments > 1 else []))
        mask = inputs["padding_mask"]
        epsilon, normal = layer_norm_epsilon, initializers.TruncatedNormal(stddev=0.02)
        width, positions = embedding_dim or hidden_dim, max_sequence_length * absolute_positions
        reach = max_relative_positions if max_relative_positions > 0 else max_sequence_length
        x = sum_of_embeddings(inputs, vocabulary_size, width, positions, num_segments, normal)
        if width != hidden_dim:
            x = Dense(hidden_dim, use_bias=False, name="embeddings_projection")(x)
        x = LayerNormalization(epsilon=epsilon, name="embeddings_norm")(x)
        x = embeddings = Dropout(dropout, name="embeddings_dropout")(x)
        table = layers.RelativeEmbedding(reach, bucket_size, normal, name="relative_embedding")
        relative = table(x) if relative_attention else None
        if relative_attention and norm_relative:
            relative = LayerNormalization(epsilon=epsilon, name="relative_norm")(relative)
        sizes = (intermediate_dim, num_heads, dropout, activation, epsilon, normal)
        for i in range(num_layers):
            x = layers.DisentangledAttentionEncoder(
                *sizes,
                attention_dropout=attention_dropout,
                bucket_size=bucket_size,
                share_keys=share_keys,
                max_relative_positions=reach,
                position_terms=position_terms,
                name=f"layer_{i}",
            )(x, relative, padding_mask=mask)
            if i == 0 and conv_kernel_size > 0:
                options = (conv_kernel_size, conv_activation, conv_groups, dropout, epsilon, normal)
                layer = layers.ConvResidual(*options, name="convolution")
                x = layer(embeddings, x, padding_mask=mask)
        super().__init__(inputs=inputs, outputs={"sequence_output": x}, **kwargs)

    def masked_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings.

        The newer head is always tied, and of the encoder's width.
        """
        config, legacy = self.arguments, self.arguments["legacy_head"]
        table = self.get_layer("token_embedding") if tie_word_embeddings or not legacy else None
        width = (legacy and config["embedding_dim"]) or config["hidden_dim"]
        return layers.MaskedLMHead(
            config["vocabulary_size"],
            table,
            config["activation"],
            intermediate_dim=width,
            layer_norm_epsilon=config["layer_norm_epsilon"],
            name="masked_lm_head",
        )(outputs["sequence_output"])

    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float | None = None
    ) -> Any:
        """Return logits `[batch, num_classes]` from the first token, through a dense layer."""
        config = self.arguments
        x = outputs["sequence_output"][:, 0]
        x = Dropout(config["pooler_dropout"], name="pooler_dropout")(x)
        activation = layers.get_activation(config["pooler_activation"])
        x = Dense(config["hidden_dim"], activation, name="pooled_dense")(x)
        rate = config["dropout"] if dropout is None else dropout
        return Dense(num_classes, name="logits")(Dropout(rate, name="classifier_dropout")(x))


def sum_of_embeddings(
    inputs: dict[str, Any],
    vocabulary_size: int,
    width: int,
    positions: int,
    num_segments: int,
    initializer: Any,
) -> Any:
    """Return the embeddings of tokens plus those of positions and segments, where there are any."""
    tokens, mask = inputs["token_ids"], inputs["padding_mask"]
    table = ReversibleEmbedding(vocabulary_size, width, True, initializer, name="token_embedding")
    terms = [table(tokens)]
    if positions > 0:
        table = layers.PositionEmbedding(positions, initializer, name="position_embedding")
        terms.append(table(terms[0], padding_mask=mask))
    if num_segments > 0:
        table = Embedding(num_segments, width, initializer, name="segment_embedding")
        terms.append(table(inputs.get("segment_ids", tokens * 0)))
    return Add(name="embeddings_sum")(terms) if len(terms) > 1 else terms[0]
