"""EuroBERT's graph. Boizard et al., 2025, arXiv:2503.05500; transformers, models/eurobert."""

from collections.abc import Mapping
from typing import Any

from keras import initializers
from keras.layers import Dense, ReversibleEmbedding

from inarch.errors import InputError
from inarch.layers import (
    Block,
    GatedFeedForward,
    MultiHeadAttention,
    RMSNorm,
    RotaryEmbedding,
    VocabularyHead,
)
from inarch.layers.pooling import SequencePooling
from inarch.models.backbone import Backbone, text_inputs

POOLINGS = ("bos", "mean", "late")


class EuroBertBackbone(Backbone):
    """EuroBERT encoder (Boizard et al., 2025, arXiv:2503.05500).

    Llama's blocks, whose tokens attend to all others. Inputs are `token_ids` and `padding_mask`,
    int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the gated feedforward layers.
        num_key_value_heads: heads of keys and values, which several heads of queries share; `None`
            is `num_heads`.
        head_dim: width of a head; `None` is `hidden_dim / num_heads`.
        attention_dropout: rate on the attention weights.
        activation: of the gates of the feedforward layers.
        layer_norm_epsilon: of every normalization.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none.
        attention_bias: whether the projections of attention have biases.
        feed_forward_bias: whether the projections of the feedforward layers have biases, and the
            logits of a masked language model.
        classifier_pooling: what texts are classified by: `"bos"`, the first token; `"mean"`, the
            mean of all; or `"late"`, the mean of the logits of each.
        max_sequence_length: the longest sequence that the model is meant for.

    Raises:
        InputError: `classifier_pooling` is none of the three.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        attention_dropout: float = 0.0,
        activation: str = "silu",
        layer_norm_epsilon: float = 1e-5,
        rope_theta: float = 10000.0,
        rope_scaling: Mapping[str, Any] | None = None,
        attention_bias: bool = False,
        feed_forward_bias: bool = False,
        classifier_pooling: str = "late",
        max_sequence_length: int = 8192,
        **kwargs: Any,
    ):
        if classifier_pooling not in POOLINGS:
            raise InputError(f"classifier_pooling={classifier_pooling!r}; pass one of {POOLINGS}.")
        inputs = text_inputs()
        init = initializers.RandomNormal(stddev=0.02)
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = table(inputs["token_ids"])
        norm = RMSNorm(layer_norm_epsilon)
        attention = MultiHeadAttention(
            num_heads,
            head_dim,
            dropout=attention_dropout,
            use_bias=attention_bias,
            kernel_initializer=init,
            num_key_value_heads=num_key_value_heads,
            position=RotaryEmbedding(rope_theta, scaling=rope_scaling),
        )
        feed_forward = GatedFeedForward(
            intermediate_dim, activation, init, use_bias=feed_forward_bias
        )
        for i in range(num_layers):
            x = Block(attention, feed_forward, norm, order="pre", name=f"layer_{i}")(
                x, context={"padding_mask": inputs["padding_mask"]}
            )
        x = RMSNorm(layer_norm_epsilon, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`, of tokens as they are."""
        return VocabularyHead(
            self.arguments["vocabulary_size"],
            self.get_layer("token_embedding") if tie_word_embeddings else None,
            use_output_bias=self.arguments["feed_forward_bias"],
            name="masked_lm_head",
        )(outputs)

    def text_classifier(self, outputs: Any, num_classes: int) -> Any:
        """Return logits `[batch, num_classes]`, by a dense layer and a linear one."""
        pooling, mask = self.arguments["classifier_pooling"], self.input["padding_mask"]
        x = outputs[:, 0] if pooling == "bos" else outputs
        if pooling == "mean":
            x = SequencePooling("mean", name="pooling")(x, mask)
        x = Dense(self.arguments["hidden_dim"], "gelu", name="pooled_dense")(x)
        x = Dense(num_classes, name="logits")(x)
        return SequencePooling("mean", name="pooling")(x, mask) if pooling == "late" else x
