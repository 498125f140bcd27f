"""GPT-2's graph. Radford et al., 2019; openai/gpt-2, src/model.py; figure 1 of GPT, norms first.

The figure is in Radford et al., 2018, "Improving Language Understanding by Generative
Pre-Training"; section 2.3 of the paper on GPT-2 moves its norms and adds the last one.
"""

from typing import Any

from keras import initializers
from keras.layers import Dropout, LayerNormalization

from inarch.layers import TokenAndPositionEmbedding, TransformerDecoder
from inarch.models.backbone import text_inputs
from inarch.models.causal_backbone import CausalBackbone


class GPT2Backbone(CausalBackbone):
    """GPT-2 decoder (Radford et al., 2019).

    Inputs are `token_ids` and `padding_mask`, int32 `[batch, length]`; the output is
    `[batch, length, hidden_dim]`. A token attends to those before it and to itself.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of decoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the decoder.
        intermediate_dim: width of the feedforward layers; `None` is `4 * hidden_dim`.
        dropout: rate in the residual branches.
        embedding_dropout: rate after the embeddings.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu_approximate"` is the published one.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of positions.
        padding_id: id of the token that pads, which a classifier passes over even where the mask
            has it; `None` goes by the mask alone.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int | None = None,
        dropout: float = 0.1,
        embedding_dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-5,
        max_sequence_length: int = 1024,
        padding_id: int | None = None,
        **kwargs: Any,
    ):
        inputs = text_inputs()
        mask = inputs["padding_mask"]
        normal = initializers.RandomNormal(stddev=0.02)

        x = TokenAndPositionEmbedding(
            vocabulary_size,
            max_sequence_length,
            hidden_dim,
            embeddings_initializer=normal,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=mask)
        x = Dropout(embedding_dropout, name="embeddings_dropout")(x)
        for i in range(num_layers):
            x = TransformerDecoder(
                4 * hidden_dim if intermediate_dim is None else intermediate_dim,
                num_heads,
                dropout,
                activation,
                layer_norm_epsilon,
                kernel_initializer=normal,
                normalize_first=True,
                attention_dropout=attention_dropout,
                name=f"layer_{i}",
            )(x, decoder_padding_mask=mask)
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)
