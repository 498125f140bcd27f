"""T5's graph. Raffel et al., 2020, arXiv:1910.10683; transformers, models/t5/modeling_t5.py.

The figure is Vaswani et al.'s, 2017; section 2.1 of the paper on T5 says what differs: norms first
and without an offset, no biases, and positions that are a bias on the scores of all layers. That
the scores aren't scaled only the code says (mesh_tensorflow/transformer/attention.py).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import initializers
from keras.layers import Dense, Dropout, ReversibleEmbedding

from inarch.layers import (
    Block,
    MultiHeadAttention,
    RelativePositionBias,
    RMSNorm,
)
from inarch.layers.feed_forward import make_feed_forward
from inarch.models.backbone import Backbone, encoder_decoder_inputs, text_inputs
from inarch.models.decoder_stack import DecoderStack, check_output_embeddings


class T5Backbone(Backbone):
    """T5 encoder and decoder (Raffel et al., 2020, arXiv:1910.10683), or the encoder alone.

    mT5 (Xue et al., 2021, arXiv:2010.11934) and FLAN-T5 (Chung et al., 2022, arXiv:2210.11416)
    have gated feedforward layers and output embeddings of their own. For inputs and outputs see
    `Backbone`. The encoder alone has the inputs `token_ids` and `padding_mask`, int32
    `[batch, length]`, and the output `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_encoder_layers: number of encoder layers.
        num_decoder_layers: number of decoder layers.
        num_heads: attention heads of each layer.
        hidden_dim: width of encoder and decoder.
        intermediate_dim: width of the feedforward layers.
        key_value_dim: width of an attention head.
        dropout: rate after the embeddings, the last norms and within feedforward layers, in the
            residual branches and on the attention weights.
        feed_forward: activation of the feedforward layers; with `gated_` before its name they are
            gated, and it is the gates': `"gated_gelu_approximate"` in FLAN-T5 and mT5.
        layer_norm_epsilon: of every normalization.
        num_buckets: buckets of distances, each with a bias for each head.
        max_distance: distance in tokens from where on all share a bucket.
        max_sequence_length: the longest sequence that the model is meant for; there is no last
            position.
        decoder: whether there is a decoder.
        scale_logits: whether logits of the token embeddings are of vectors divided by the root of
            their width; those of output embeddings of their own never are.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        key_value_dim: int = 64,
        dropout: float = 0.1,
        feed_forward: str = "relu",
        layer_norm_epsilon: float = 1e-6,
        num_buckets: int = 32,
        max_distance: int = 128,
        max_sequence_length: int = 512,
        decoder: bool = True,
        scale_logits: bool = True,
        **kwargs: Any,
    ):
        inputs = encoder_decoder_inputs() if decoder else text_inputs()
        tokens, mask, *of_decoder = inputs.values()
        init = initializers.RandomNormal(stddev=hidden_dim**-0.5)
        norm = RMSNorm(layer_norm_epsilon)
        attention = partial(
            MultiHeadAttention, num_heads, key_value_dim, dropout=dropout, use_bias=False,
            kernel_initializer=init, scale=1.0,
        )  # fmt: skip
        network = make_feed_forward(feed_forward, intermediate_dim, init, dropout)
        block = partial(Block, feed_forward=network, norm=norm, order="pre", dropout=dropout)
        bias = partial(RelativePositionBias, num_heads, num_buckets, max_distance, init)
        table = ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            True,
            initializers.RandomNormal(1.0),
            name="token_embedding",
        )
        encoded = outputs = apply_stack(
            "encoder", table(tokens), num_encoder_layers, partial(block, attention()), bias, norm,
            dropout, {"padding_mask": mask},
        )  # fmt: skip
        if decoder:
            tokens, own = of_decoder
            blocks = partial(block, attention(causal=True), cross_attention=attention())
            decoded = apply_stack(
                "decoder", table(tokens), num_decoder_layers, blocks,
                partial(bias, bidirectional=False), norm, dropout,
                {
                    "padding_mask": own,
                    "cross": {"source": encoded, "source_padding_mask": mask, "padding_mask": own},
                },
            )  # fmt: skip
            outputs = {"encoder_sequence_output": encoded, "decoder_sequence_output": decoded}
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    @property
    def max_length(self) -> int | None:
        return None

    @property
    def logits_scale(self) -> float:
        """Factor on the vectors that the token embeddings make logits of."""
        return self.hidden_dim**-0.5 if self.arguments["scale_logits"] else 1.0

    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.

        Raises:
            InputError: the checkpoint's output embeddings aren't its token embeddings, and `head`
                isn't given.
        """
        check_output_embeddings(self, head)
        return DecoderStack(
            self.token_embedding,
            [
                self.get_layer(f"decoder_layer_{i}")
                for i in range(self.arguments["num_decoder_layers"])
            ],
            self.get_layer("decoder_norm"),
            max_length=None,
            embed=lambda token_ids, context: self.token_embedding(token_ids),
            head=head,
            logits_scale=self.logits_scale,
            relative_bias=self.get_layer("decoder_relative_bias"),
        )

    def seq2seq_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each of the decoder's.

        Those of the token embeddings are of vectors scaled by `scale_logits`.
        """
        x = outputs["decoder_sequence_output"]
        if tie_word_embeddings:
            return self.token_embedding(x * self.logits_scale, reverse=True)
        return Dense(self.arguments["vocabulary_size"], use_bias=False, name="logits")(x)


def apply_stack(
    side: str,
    x: Any,
    layers: int,
    block: Callable[..., Block],
    bias: Callable[..., RelativePositionBias],
    norm: RMSNorm,
    dropout: float,
    context: Mapping[str, Any],
) -> Any:
    """Return what the blocks of an encoder or a decoder make of embeddings, normalized."""
    x = Dropout(dropout, name=f"{side}_dropout")(x)
    shared = bias(name=f"{side}_relative_bias")(x)
    for i in range(layers):
        x = block(name=f"{side}_layer_{i}")(x, context={**context, "attention_bias": shared})
    x = RMSNorm(norm.epsilon, name=f"{side}_norm")(x)
    return Dropout(dropout, name=f"{side}_output_dropout")(x)
