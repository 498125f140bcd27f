"""ESM's graph. Lin et al., 2023, doi:10.1126/science.ade2574; facebookresearch/esm, esm2.py."""

from typing import Any

from keras import initializers
from keras.layers import Dense, LayerNormalization

from inarch.errors import InputError
from inarch.layers import (
    AngleRotation,
    Block,
    FeedForward,
    MultiHeadAttention,
    PositionEmbedding,
    RotaryAngles,
    TokenDropoutEmbedding,
)
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.roberta.backbone import RobertaBackbone

POSITIONS = ("rotary", "absolute")


class EsmBackbone(Backbone):
    """ESM encoder of proteins (Lin et al., 2023, doi:10.1126/science.ade2574).

    ESM-2 has rotary positions, whose frequencies are stored with the weights; ESM-1b (Rives et al.,
    2021, doi:10.1073/pnas.2016239118) and Nucleotide Transformer (Dalla-Torre et al., 2023,
    doi:10.1101/2023.01.11.523679) have a table of positions. Inputs are `token_ids` and
    `padding_mask`, int32 `[batch, length]`; outputs are `sequence_output`
    `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output` `[batch, hidden_dim]`.

    With `zero_mask_tokens` the vectors of mask tokens are 0, and a sequence's other vectors are
    scaled by how many tokens it has masked.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate in the residual branches.
        attention_dropout: rate on the attention weights.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: number of absolute positions; of rotary ones, the longest sequence that
            the model is meant for.
        positions: `"rotary"` or `"absolute"`.
        rope_theta: base of the rotary frequencies that a new model begins with.
        embeddings_norm: whether the embeddings are normalized before the first layer.
        zero_mask_tokens: whether mask tokens count as dropped (token dropout).
        mask_id: id of the mask token, which `zero_mask_tokens` needs.
        padding_id: id of the padding token, which absolute positions are counted from.
        pooler: whether there is a pooled output.

    Raises:
        InputError: `positions` is unknown, or `zero_mask_tokens` is given without a `mask_id`.
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
        layer_norm_epsilon: float = 1e-12,
        max_sequence_length: int = 1024,
        positions: str = "rotary",
        rope_theta: float = 10000.0,
        embeddings_norm: bool = False,
        zero_mask_tokens: bool = False,
        mask_id: int | None = None,
        padding_id: int = 1,
        pooler: bool = False,
        **kwargs: Any,
    ):
        if positions not in POSITIONS:
            raise InputError(f"positions={positions!r}; pass one of {POSITIONS}.")
        if zero_mask_tokens and mask_id is None:
            raise InputError("zero_mask_tokens=True and mask_id=None. Pass the mask token's id.")
        inputs = text_inputs()
        context = {"padding_mask": inputs["padding_mask"]}
        init = initializers.RandomNormal(stddev=0.02)
        norm = LayerNormalization(epsilon=layer_norm_epsilon)
        table = PositionEmbedding(max_sequence_length + padding_id + 1, init)
        x = TokenDropoutEmbedding(
            vocabulary_size,
            hidden_dim,
            mask_id if zero_mask_tokens else None,
            table if positions == "absolute" else None,
            padding_id,
            norm if embeddings_norm else None,
            embeddings_initializer=init,
            name="embeddings",
        )(inputs["token_ids"], padding_mask=inputs["padding_mask"])
        rotation = None
        if positions == "rotary":
            rotation = AngleRotation()
            context["positions"] = RotaryAngles(hidden_dim // num_heads, rope_theta, name="rotary")(
                x
            )
        attention = MultiHeadAttention(
            num_heads, dropout=attention_dropout, kernel_initializer=init, position=rotation
        )
        feed_forward = FeedForward(intermediate_dim, "gelu", init)
        for i in range(num_layers):
            x = Block(
                attention, feed_forward, norm, order="pre", dropout=dropout, name=f"layer_{i}"
            )(x, context=context)
        x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
        outputs = {"sequence_output": x}
        if pooler:
            layer = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")
            outputs["pooled_output"] = layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    # The heads are RoBERTa's.
    masked_lm = RobertaBackbone.masked_lm
    text_classifier = RobertaBackbone.text_classifier
