"""Whisper's graph. Radford et al., 2022, arXiv:2212.04356; openai/whisper, whisper/model.py."""

from typing import Any

import keras
from keras.layers import Activation, Add, Dense, Dropout, LayerNormalization

from inarch.layers import (
    PositionEmbedding,
    SymmetricConv1D,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
)
from inarch.layers.initializer import SinePositions
from inarch.models.backbone import Backbone
from inarch.models.decoder_stack import DecoderStack


class WhisperBackbone(Backbone):
    """Whisper encoder and decoder (Radford et al., 2022, arXiv:2212.04356).

    Inputs are `encoder_features`, float `[batch, frames, num_mels]`, a log-mel spectrogram of two
    frames for each position of the encoder, and `decoder_token_ids` and `decoder_padding_mask`,
    int32 `[batch, length]`. Outputs are `encoder_sequence_output` `[batch, frames / 2, hidden_dim]`
    and `decoder_sequence_output` `[batch, length, hidden_dim]`.

    The encoder reads no mask: silence is part of the input.

    Args:
        vocabulary_size: number of tokens.
        num_encoder_layers: number of encoder layers.
        num_decoder_layers: number of decoder layers.
        num_encoder_heads: attention heads of each encoder layer; must divide `hidden_dim`.
        num_decoder_heads: attention heads of each decoder layer; must divide `hidden_dim`.
        hidden_dim: width of encoder and decoder.
        encoder_intermediate_dim: width of the encoder's feedforward layers.
        decoder_intermediate_dim: width of the decoder's feedforward layers.
        num_mels: mel bands of the spectrogram.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate within the feedforward layers.
        activation: of the feedforward layers; the convolutions' is the exact GELU in any case.
        max_encoder_sequence_length: positions of the encoder, 20 ms each.
        max_decoder_sequence_length: the longest sequence of tokens.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        num_encoder_heads: int,
        num_decoder_heads: int,
        hidden_dim: int,
        encoder_intermediate_dim: int,
        decoder_intermediate_dim: int,
        num_mels: int = 80,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: str = "gelu",
        max_encoder_sequence_length: int = 1500,
        max_decoder_sequence_length: int = 448,
        **kwargs: Any,
    ):
        features = keras.Input((None, num_mels), dtype="float32", name="encoder_features")
        tokens = keras.Input((None,), dtype="int32", name="decoder_token_ids")
        mask = keras.Input((None,), dtype="int32", name="decoder_padding_mask")
        normal = keras.initializers.RandomNormal(stddev=0.02)
        block = {
            "dropout": dropout,
            "activation": activation,
            "kernel_initializer": normal,
            "normalize_first": True,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "key_bias": False,
        }

        x = encoder_stem(features, hidden_dim, max_encoder_sequence_length)
        x = Dropout(dropout, name="encoder_dropout")(x)
        for i in range(num_encoder_layers):
            x = TransformerEncoder(
                encoder_intermediate_dim, num_encoder_heads, **block, name=f"encoder_layer_{i}"
            )(x)
        encoded = LayerNormalization(epsilon=1e-5, name="encoder_norm")(x)

        x = TokenAndPositionEmbedding(
            vocabulary_size,
            max_decoder_sequence_length,
            hidden_dim,
            embeddings_initializer=normal,
            name="decoder_embedding",
        )(tokens, padding_mask=mask)
        x = Dropout(dropout, name="decoder_dropout")(x)
        for i in range(num_decoder_layers):
            x = TransformerDecoder(
                decoder_intermediate_dim, num_decoder_heads, **block, name=f"decoder_layer_{i}"
            )(x, encoded, decoder_padding_mask=mask)
        decoded = LayerNormalization(epsilon=1e-5, name="decoder_norm")(x)
        super().__init__(
            inputs={t.name: t for t in (features, tokens, mask)},
            outputs={"encoder_sequence_output": encoded, "decoder_sequence_output": decoded},
            **kwargs,
        )

    @property
    def max_length(self) -> int | None:
        return self.arguments["max_decoder_sequence_length"]

    @property
    def axis_limits(self) -> dict[str, int]:
        frames = 2 * self.arguments["max_encoder_sequence_length"]
        return {**super().axis_limits, "encoder_features_1": frames}

    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for generation; logits are tied to the embeddings without `head`."""
        return DecoderStack(
            self.get_layer("decoder_embedding"),
            [
                self.get_layer(f"decoder_layer_{i}")
                for i in range(self.arguments["num_decoder_layers"])
            ],
            self.get_layer("decoder_norm"),
            max_length=self.arguments["max_decoder_sequence_length"],
            head=head,
        )

    def speech_to_text(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each."""
        x = outputs["decoder_sequence_output"]
        if tie_word_embeddings:
            return self.get_layer("decoder_embedding").token_embedding(x, reverse=True)
        return Dense(self.arguments["vocabulary_size"], use_bias=False, name="logits")(x)


def encoder_stem(features: Any, hidden_dim: int, max_length: int) -> Any:
    """Return embeddings `[batch, frames / 2, hidden_dim]` of a spectrogram: two convolutions."""
    x = features
    for number, stride in ((1, 1), (2, 2)):
        convolution = SymmetricConv1D(hidden_dim, 3, stride, name=f"encoder_conv_{number}")
        x = Activation("gelu", name=f"encoder_gelu_{number}")(convolution(x))
    # Stored rather than computed: a checkpoint in 16 bits has the sines as it rounded them.
    positions = PositionEmbedding(
        max_length,
        SinePositions(interleaved=False),
        trainable=False,
        name="encoder_position_embedding",
    )
    return Add(name="encoder_embeddings")([x, positions(x)])
