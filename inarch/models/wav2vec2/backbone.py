"""wav2vec 2.0's graph, and HuBERT's. Baevski et al., 2020, arXiv:2006.11477; Hsu et al., 2021,
arXiv:2106.07447; transformers, modeling_wav2vec2.py and modeling_hubert.py.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.layers import Add, Dense, Dropout, LayerNormalization

from inarch.layers import (
    Adapter,
    ConvolutionalPositions,
    ConvolutionStem,
    FrameMask,
    TransformerEncoder,
    WeightedLayerSum,
)
from inarch.layers.pooling import SequencePooling
from inarch.models.backbone import Backbone


class Wav2Vec2Backbone(Backbone):
    """Encoder of sound of wav2vec 2.0 and HuBERT (Baevski et al., 2020, arXiv:2006.11477).

    Inputs are `input_values`, float `[batch, samples]` at 16 kHz, and `padding_mask`, int32 of the
    same shape, 0 for padding, which is at the end of a row. Outputs are `sequence_output`
    `[batch, frames, hidden_dim]` and `frame_mask`, int32 `[batch, frames]`; with `layer_outputs`
    also what every layer gives, its input first, as `layer_outputs`
    `[batch, 1 + num_layers, frames, hidden_dim]`.

    Padding has no part in the numbers of frames. Where `conv_norm` is "group" that is so by
    `TimeNormalization`; the reference's group norm counts padding, so that its numbers are these
    where a row has none.

    Args:
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        dropout: rate after the positions and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate within the feedforward layers.
        projection_dropout: rate after the projection of the convolutions' features.
        activation: of the feedforward layers.
        layer_norm_epsilon: of the layer norms, but for those of convolutions.
        normalize_first: whether norms are before the sublayers ("stable layer norm").
        conv_dims: widths of the convolutions.
        conv_kernels: lengths of their windows.
        conv_strides: steps between their windows.
        conv_bias: whether they have biases.
        conv_norm: "group" for a norm over time after the first, "layer" for layer norms after all.
        conv_activation: of the convolutions, those of the positions included.
        projection_norm: whether there is a layer norm before the projection.
        position_kernel: length of the window of the convolution that gives positions.
        position_groups: its groups; must divide `hidden_dim`.
        layer_outputs: whether what every layer gives is an output.
        adapter_dim: inner width of the adapter after each layer, where `normalize_first`; MMS has
            them for each language (Pratap et al., 2023, arXiv:2305.13516). `None` for none.

    Raises:
        InputError: `conv_norm` is unknown, or the convolutions' lists have different lengths.
    """

    packs_sequences = False

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.1,
        projection_dropout: float = 0.0,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        normalize_first: bool = False,
        conv_dims: Sequence[int] = (512,) * 7,
        conv_kernels: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        conv_strides: Sequence[int] = (5, 2, 2, 2, 2, 2, 2),
        conv_bias: bool = False,
        conv_norm: str = "group",
        conv_activation: str = "gelu",
        projection_norm: bool = True,
        position_kernel: int = 128,
        position_groups: int = 16,
        layer_outputs: bool = False,
        adapter_dim: int | None = None,
        **kwargs: Any,
    ):
        samples = keras.Input((None,), dtype="float32", name="input_values")
        mask = keras.Input((None,), dtype="int32", name="padding_mask")
        normal = keras.initializers.RandomNormal(stddev=0.02)
        norm = {"epsilon": layer_norm_epsilon}

        x = ConvolutionStem(conv_dims, conv_kernels, conv_strides, conv_bias, conv_norm,
            conv_activation, name="stem")(samples, padding_mask=mask)  # fmt: skip
        x = LayerNormalization(**norm, name="projection_norm")(x) if projection_norm else x
        x = Dense(hidden_dim, kernel_initializer=normal, name="projection")(x)
        x = Dropout(projection_dropout, name="projection_dropout")(x)

        frames = FrameMask(conv_kernels, conv_strides, name="frame_mask")(mask)
        x = x * ops.expand_dims(ops.cast(frames, x.dtype), -1)
        positions = ConvolutionalPositions(
            position_kernel, position_groups, conv_activation, name="position_embedding"
        )
        x = Add(name="embeddings")([x, positions(x)])
        x = x if normalize_first else LayerNormalization(**norm, name="encoder_norm")(x)
        given = [x := Dropout(dropout, name="encoder_dropout")(x)]
        for i in range(num_layers):
            x = TransformerEncoder(
                intermediate_dim, num_heads, dropout, activation, layer_norm_epsilon, normal,
                normalize_first=normalize_first, attention_dropout=attention_dropout,
                activation_dropout=activation_dropout, name=f"layer_{i}",
            )(x, attention_mask=ops.expand_dims(frames, 1))  # fmt: skip
            if adapter_dim and normalize_first:
                adapter = Adapter(adapter_dim, kernel_initializer=normal, name=f"adapter_{i}")
                x = Add(name=f"adapted_{i}")([x, adapter(x)])
            given.append(x)
        x = LayerNormalization(**norm, name="encoder_norm")(x) if normalize_first else x
        outputs = {"sequence_output": x, "frame_mask": frames}
        if layer_outputs:
            outputs["layer_outputs"] = ops.stack(given, axis=1)
        super().__init__({"input_values": samples, "padding_mask": mask}, outputs, **kwargs)

    @property
    def reference_reads_padding(self) -> bool:
        return self.arguments["conv_norm"] == "group"

    @property
    def windows(self) -> tuple[Sequence[int], Sequence[int]]:
        return self.arguments["conv_kernels"], self.arguments["conv_strides"]

    def audio_classifier(self, outputs: Any, num_classes: int, projection_dim: int = 256) -> Any:
        """Return logits `[batch, num_classes]` of each row of sound."""
        x = outputs["sequence_output"]
        if self.arguments["layer_outputs"]:
            x = WeightedLayerSum(name="layer_weights")(outputs["layer_outputs"])
        x = Dense(projection_dim, name="projector")(x)
        x = SequencePooling("mean", name="pooling")(x, outputs["frame_mask"])
        return Dense(num_classes, name="logits")(x)

    def ctc(self, outputs: Any, vocabulary_size: int = 32, dropout: float = 0.1) -> Any:
        """Return logits `[batch, frames, vocabulary_size]` of each frame, the blank's included."""
        x = Dropout(dropout, name="ctc_dropout")(outputs["sequence_output"])
        return Dense(vocabulary_size, name="logits")(x)
