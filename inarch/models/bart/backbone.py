"""BART's graph. Lewis et al., 2019, arXiv:1910.13461; transformers, models/bart."""

from functools import partial
from math import sqrt
from typing import Any

import keras
from keras.initializers import RandomNormal
from keras.layers import Dropout, LayerNormalization

from inarch.errors import InputError
from inarch.layers import (
    FixedPositionEmbedding,
    InputEmbedding,
    LastTokenOf,
    LogitsBias,
    PositionEmbedding,
    ScaledEmbedding,
    ShiftRight,
    SinePositions,
    TransformerDecoder,
    TransformerEncoder,
)
from inarch.models.backbone import Backbone, encoder_decoder_inputs, text_inputs
from inarch.models.decoder_stack import DecoderStack

# Positions of PEGASUS and Marian, sines before cosines.
SINUSOIDS = SinePositions(interleaved=False, reaches_maximum=False)


class BartBackbone(Backbone):
    """BART encoder and decoder (Lewis et al., 2019, arXiv:1910.13461), and those with its graph.

    mBART (Liu et al., 2020, arXiv:2001.08210) normalizes before each sublayer and after each stack.
    So does PEGASUS (Zhang et al., 2019, arXiv:1912.08777), whose positions are sinusoids, as
    M2M100's and NLLB's (Fan et al., 2020, arXiv:2010.11125; arXiv:2207.04672), which count as
    fairseq does. Marian (Junczys-Dowmunt et al., 2018, arXiv:1804.00344) normalizes after each
    sublayer, and no embeddings.

    Inputs are `encoder_token_ids` and `encoder_padding_mask`, int32 `[batch, source length]`,
    `decoder_token_ids` and `decoder_padding_mask`, int32 `[batch, target length]`. Outputs are
    `encoder_sequence_output` `[batch, source length, hidden_dim]` and `decoder_sequence_output`
    `[batch, target length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_encoder_layers: number of encoder layers.
        num_decoder_layers: number of decoder layers.
        num_encoder_heads: attention heads of each encoder layer; must divide `hidden_dim`.
        num_decoder_heads: attention heads of each decoder layer; must divide `hidden_dim`.
        hidden_dim: width of encoder and decoder.
        encoder_intermediate_dim: width of the encoder's feedforward layers.
        decoder_intermediate_dim: width of the decoder's feedforward layers.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate within the feedforward layers.
        activation: of the feedforward layers.
        max_sequence_length: the longest sequence, of either stack.
        positions: `"learned"`; `"sinusoidal"`, from 0 on; or `"sinusoidal_after_padding"`, over the
            tokens that aren't padding, from `padding_id + 1` on.
        normalize_first: whether to normalize the input of each sublayer, and the output of each
            stack, rather than the output of each sublayer.
        embedding_norm: whether the embeddings are normalized.
        scale_embedding: whether the tokens' vectors are multiplied by the root of `hidden_dim`.
        shared_embeddings: whether the stacks share the table of tokens.
        decoder_vocabulary_size: number of the decoder's tokens, where it has a table of its own;
            `None` is `vocabulary_size`.
        logits_bias: whether the language model's logits have a bias.
        padding_id: id of the padding token.
        start_id: id of the token that the decoder begins with, where it reads a `single_text`;
            `None` is that of the text's last token, as mBART has it.
        end_id: id of the token at the end of a text, whose vector classifiers read.
        single_text: whether one text is source and target, as classifiers read it: the inputs are
            `token_ids` and `padding_mask`, and the decoder reads the text after its start token.

    Raises:
        InputError: `positions` is unknown.
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
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: str = "gelu",
        max_sequence_length: int = 1024,
        positions: str = "learned",
        normalize_first: bool = False,
        embedding_norm: bool = True,
        scale_embedding: bool = False,
        shared_embeddings: bool = True,
        decoder_vocabulary_size: int | None = None,
        logits_bias: bool = True,
        padding_id: int = 1,
        start_id: int | None = 2,
        end_id: int | None = 2,
        single_text: bool = False,
        **kwargs: Any,
    ):
        inputs = text_inputs() if single_text else encoder_decoder_inputs()
        source, source_mask, *others = inputs.values()
        target, target_mask = others or (
            ShiftRight(start_id)(source, padding_mask=source_mask), source_mask
        )  # fmt: skip
        table, embed = _embeddings(
            hidden_dim, max_sequence_length, positions, embedding_norm, scale_embedding, padding_id
        )
        block = {
            "dropout": dropout, "attention_dropout": attention_dropout, "activation": activation,
            "activation_dropout": activation_dropout, "normalize_first": normalize_first,
            "kernel_initializer": RandomNormal(stddev=0.02),
        }  # fmt: skip
        words = table(vocabulary_size)
        x = embed(words, name="encoder_embedding")(source, padding_mask=source_mask)
        x = Dropout(dropout, name="encoder_dropout")(x)
        layer = partial(TransformerEncoder, encoder_intermediate_dim, num_encoder_heads, **block)
        for i in range(num_encoder_layers):
            x = layer(name=f"encoder_layer_{i}")(x, padding_mask=source_mask)
        encoded = LayerNormalization(epsilon=1e-5, name="encoder_norm")(x) if normalize_first else x
        words = words if shared_embeddings else table(decoder_vocabulary_size or vocabulary_size)
        x = embed(words, name="decoder_embedding")(target, padding_mask=target_mask)
        x = Dropout(dropout, name="decoder_dropout")(x)
        layer = partial(TransformerDecoder, decoder_intermediate_dim, num_decoder_heads, **block)
        for i in range(num_decoder_layers):
            x = layer(name=f"decoder_layer_{i}")(
                x, encoded, decoder_padding_mask=target_mask, encoder_padding_mask=source_mask
            )
        decoded = LayerNormalization(epsilon=1e-5, name="decoder_norm")(x) if normalize_first else x
        outputs = {"encoder_sequence_output": encoded, "decoder_sequence_output": decoded}
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def decoder_stack(
        self,
        head: keras.layers.Layer | None = None,
        logits_bias: keras.layers.Layer | None = None,
    ) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the decoder's token embeddings.
            logits_bias: layer that adds the bias of the logits; `None` for none.
        """
        return DecoderStack(
            self.get_layer("decoder_embedding"),
            [
                self.get_layer(f"decoder_layer_{i}")
                for i in range(self.arguments["num_decoder_layers"])
            ],
            self.get_layer("decoder_norm") if self.arguments["normalize_first"] else None,
            max_length=self.arguments["max_sequence_length"],
            head=head,
            logits_layer=logits_bias,
        )

    def seq2seq_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each of the decoder's.

        Raises:
            InputError: `tie_word_embeddings` is false, which no model of these has.
        """
        if not tie_word_embeddings:
            raise InputError(
                "tie_word_embeddings=False. The logits of BART and its relatives are products with "
                "the embeddings of the decoder's tokens: leave it True."
            )
        x = self.get_layer("decoder_embedding").token_embedding(
            outputs["decoder_sequence_output"], reverse=True
        )
        return LogitsBias(name="logits_bias")(x) if self.arguments["logits_bias"] else x

    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float = 0.0
    ) -> Any:
        """Return logits `[batch, num_classes]` from the last end token, through a tanh layer."""
        x = LastTokenOf(self.arguments["end_id"], name="last_end_token")(
            self.sequence_output(outputs), **self.input
        )
        return self.tanh_classifier(x, num_classes, dropout)


def _embeddings(
    width: int, length: int, positions: str, has_norm: bool, is_scaled: bool, padding_id: int
) -> tuple[Any, Any]:
    """Return makers of a table of so many tokens, and of the input of a stack by a table."""
    normal = RandomNormal(stddev=0.02)
    known = {
        "learned": PositionEmbedding(length, normal, offset=2),
        "sinusoidal": FixedPositionEmbedding(length, SINUSOIDS),
        "sinusoidal_after_padding": FixedPositionEmbedding(
            length,
            SinePositions(interleaved=False, single_precision=True),  # fairseq's arithmetic
            offset=padding_id + 1,
        ),
    }
    if positions not in known:
        raise InputError(f"positions={positions!r} is unknown. Pass one of {', '.join(known)}.")
    factor = sqrt(width) if is_scaled else 1.0
    # PEGASUS and Marian scale what is looked up; the others' tables give it scaled.
    of_table, of_input = (1.0, factor) if positions == "sinusoidal" else (factor, 1.0)
    return partial(
        ScaledEmbedding,
        output_dim=width,
        scale=of_table,
        embeddings_initializer=normal,
        name="token_embedding",
    ), partial(
        InputEmbedding,
        position_embedding=known[positions],
        norm=LayerNormalization(epsilon=1e-5) if has_norm else None,
        scale=of_input,
        padding_id=padding_id if positions == "sinusoidal_after_padding" else None,
    )
