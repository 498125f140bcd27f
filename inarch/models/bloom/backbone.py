"""BLOOM's graph. BigScience Workshop, 2022, arXiv:2211.05100; transformers, models/bloom."""

from typing import Any

from keras import initializers
from keras.layers import LayerNormalization, ReversibleEmbedding

from inarch.layers import AlibiBias, Block, FeedForward, MultiHeadAttention
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.causal_backbone import CausalBackbone


class BloomBackbone(CausalBackbone):
    """BLOOM decoder (BigScience Workshop, 2022, arXiv:2211.05100), and BLOOMZ's.

    There are no embeddings of positions: the scores of attention have a linear bias by distance
    (`AlibiBias`). The embeddings of tokens are normalized. Inputs are `token_ids` and
    `padding_mask`, int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`. A token
    attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the decoder; that of the feedforward layers is four times as much.
        dropout: rate on what sublayers add; that of a token classifier's head too, by default.
        attention_dropout: rate on the attention weights.
        layer_norm_epsilon: of every normalization.
        max_sequence_length: the longest sequence that the model is meant for. Its positions have no
            last one, so that longer ones than those of training can be allowed.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-5,
        max_sequence_length: int = 2048,
        padding_id: int | None = None,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            dropout=attention_dropout,
            kernel_initializer=init,
            score_bias=AlibiBias(num_heads),
            causal=True,
        )
        feed_forward = FeedForward(4 * hidden_dim, "gelu_approximate", init)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="embeddings_norm")(x)
        for i in range(num_layers):
            block = Block(
                attention, feed_forward, norm, order="pre", dropout=dropout, name=f"layer_{i}"
            )
            x = block(x, context={"padding_mask": inputs["padding_mask"]})
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    token_classifier = Backbone.token_classifier
