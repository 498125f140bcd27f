"""ModernBERT's graph. Warner et al., 2024, arXiv:2412.13663; transformers, models/modernbert."""

from collections.abc import Sequence
from typing import Any

from keras import initializers
from keras.layers import Dense, Dropout, Identity, LayerNormalization, ReversibleEmbedding

from inarch.errors import InputError
from inarch.layers import (
    Block,
    GatedFeedForward,
    MaskedLMHead,
    MultiHeadAttention,
    RotaryEmbedding,
    get_activation,
)
from inarch.layers.pooling import SequencePooling
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.input_checks import check_layer_types

POOLINGS = ("cls", "mean")


class ModernBertBackbone(Backbone):
    """ModernBERT encoder (Warner et al., 2024, arXiv:2412.13663).

    Blocks normalize before each sublayer, but for the attention of the first, which follows the
    norm of the embeddings. Tokens attend to all others in global layers and to those near them in
    local ones; positions are rotary, with a base for each of the two. Inputs are `token_ids` and
    `padding_mask`, int32 `[batch, length]`; the output is `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the gated feedforward layers.
        layer_types: `"global"` or `"local"` for each layer; published models have a global layer
            and two local ones in turn.
        local_attention: tokens that the window of a local layer spans: half of them on either side.
        global_rope_theta: base of the rotary wavelengths in global layers.
        local_rope_theta: base of the rotary wavelengths in local layers.
        embedding_dropout: rate after the embeddings.
        attention_dropout: rate on the attention weights and on the output of attention.
        feed_forward_dropout: rate between the projections of the feedforward layers.
        activation: of the gates of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        norm_bias: whether layer normalizations have an offset.
        attention_bias: whether the projections of attention have biases.
        feed_forward_bias: whether the projections of the feedforward layers have biases.
        decoder_bias: whether the masked-LM head has a bias for each token.
        classifier_bias: whether the dense layer of heads has a bias.
        classifier_activation: of the dense layer of heads.
        classifier_pooling: vector that texts are classified by, `"mean"` of all tokens or `"cls"`.
        max_sequence_length: the longest sequence that the model is meant for.

    Raises:
        InputError: `layer_types` has another length than `num_layers`, or an argument has a value
            that isn't computed, such as a window or a base of 0.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        layer_types: Sequence[str],
        local_attention: int = 128,
        global_rope_theta: float = 160000.0,
        local_rope_theta: float = 10000.0,
        embedding_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        feed_forward_dropout: float = 0.0,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        norm_bias: bool = False,
        attention_bias: bool = False,
        feed_forward_bias: bool = False,
        decoder_bias: bool = True,
        classifier_bias: bool = False,
        classifier_activation: str = "gelu",
        classifier_pooling: str = "mean",
        max_sequence_length: int = 8192,
        **kwargs: Any,
    ):
        _check_choices(layer_types, num_layers, classifier_pooling)
        _check_positions(local_attention, global_rope_theta, local_rope_theta)
        inputs = text_inputs()
        init = initializers.TruncatedNormal(stddev=0.02)
        norm = {"epsilon": layer_norm_epsilon, "center": norm_bias}
        table = ReversibleEmbedding(vocabulary_size, hidden_dim, True, init, name="token_embedding")
        x = LayerNormalization(**norm, name="embeddings_norm")(table(inputs["token_ids"]))
        x = Dropout(embedding_dropout, name="embeddings_dropout")(x)
        for i, layer_type in enumerate(layer_types):
            is_global = layer_type == "global"
            x = Block(
                MultiHeadAttention(
                    num_heads,
                    dropout=attention_dropout,
                    use_bias=attention_bias,
                    kernel_initializer=init,
                    window=None if is_global else local_attention // 2,
                    position=RotaryEmbedding(global_rope_theta if is_global else local_rope_theta),
                ),
                GatedFeedForward(
                    intermediate_dim,
                    activation,
                    kernel_initializer=init,
                    use_bias=feed_forward_bias,
                    activation_dropout=feed_forward_dropout,
                ),
                LayerNormalization(**norm),
                order="pre",
                dropout=attention_dropout,
                first_norm=None if i else Identity(),
                name=f"layer_{i}",
            )(x, context={"padding_mask": inputs["padding_mask"]})
        x = LayerNormalization(**norm, name="final_norm")(x)
        super().__init__(inputs=inputs, outputs=x, **kwargs)

    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        config = self.arguments
        return MaskedLMHead(
            config["vocabulary_size"],
            self.get_layer("token_embedding") if tie_word_embeddings else None,
            config["classifier_activation"],
            layer_norm_epsilon=config["layer_norm_epsilon"],
            use_bias=config["classifier_bias"],
            center=config["norm_bias"],
            use_output_bias=config["decoder_bias"],
            name="masked_lm_head",
        )(outputs)

    def text_classifier(self, outputs: Any, num_classes: int, dropout: float = 0.0) -> Any:
        """Return logits `[batch, num_classes]` from pooled tokens, by a dense layer and a norm."""
        if self.arguments["classifier_pooling"] == "cls":
            x = outputs[:, 0]
        else:
            x = SequencePooling("mean", name="pooling")(outputs, self.input["padding_mask"])
        x = Dropout(dropout, name="classifier_dropout")(self.token_features(x))
        return Dense(num_classes, name="logits")(x)

    def token_features(self, outputs: Any) -> Any:
        """Return vectors through the dense layer and the norm that every classifier begins with."""
        config = self.arguments
        activation = get_activation(config["classifier_activation"])
        bias, epsilon = config["classifier_bias"], config["layer_norm_epsilon"]
        x = Dense(config["hidden_dim"], activation, use_bias=bias, name="pooled_dense")(outputs)
        norm = LayerNormalization(epsilon=epsilon, center=config["norm_bias"], name="pooled_norm")
        return norm(x)


def _check_choices(layer_types: Sequence[str], num_layers: int, pooling: str) -> None:
    check_layer_types(layer_types, num_layers, ("global", "local"))
    if pooling not in POOLINGS:
        raise InputError(f"classifier_pooling={pooling!r}; pass one of {POOLINGS}.")


def _check_positions(local_attention: int, *bases: float) -> None:
    if local_attention < 2:
        raise InputError(
            f"local_attention={local_attention} spans no other token. Pass the number of tokens of "
            "the window, 2 or more."
        )
    for name, base in zip(("global_rope_theta", "local_rope_theta"), bases, strict=True):
        if base <= 0:
            raise InputError(f"{name}={base!r}. Pass a positive number.")
