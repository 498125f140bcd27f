"""Base class of decoder backbones: their cached steps, and their heads."""

from typing import Any

import keras
from keras import ops
from keras.layers import Dense

from inarch.layers.logits import SoftCap
from inarch.layers.pooling import SequencePooling
from inarch.layers.rotary_scaling import reads_lengths, stretched_length
from inarch.models.backbone import Backbone
from inarch.models.decoder_stack import DecoderStack, check_output_embeddings


class CausalBackbone(Backbone):
    """Backbone whose tokens attend to those before them.

    Its graph has the layers `embeddings`, of tokens and positions, or else `token_embedding`;
    `layer_0`, `layer_1` and so on; and where it has them `embeddings_norm`, `final_norm` and, to
    the width of the token embeddings, `projection`. The logits of its language model are capped
    where it has an argument `logits_soft_cap` that isn't `None`.
    """

    @property
    def max_length(self) -> int:
        """Most tokens of a row; of rotary positions whose scaling goes beyond those of training."""
        return stretched_length(self.argument("rope_scaling"), self.argument("max_sequence_length"))

    @property
    def reference_reads_padding(self) -> bool:
        """Return whether the reference's positions depend on the length of a whole row."""
        return reads_lengths(self.argument("rope_scaling"))

    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.

        Raises:
            InputError: the checkpoint's output embeddings aren't its token embeddings, and `head`
                isn't given.
        """
        check_output_embeddings(self, head)
        layers = {layer.name: layer for layer in self.layers}
        learned = layers.get("embeddings")
        table = learned or layers["token_embedding"]
        return DecoderStack(
            table,
            [layers[f"layer_{i}"] for i in range(self.arguments["num_layers"])],
            layers.get("final_norm"),
            max_length=self.max_length,
            embed=None if learned else lambda token_ids, context: table(token_ids),
            head=head,
            logits_layer=_soft_cap(self),
            projection=layers.get("projection"),
            embeddings_norm=layers.get("embeddings_norm"),
        )

    def causal_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each."""
        if tie_word_embeddings:
            logits = self.token_embedding(outputs, reverse=True)
        else:
            size = self.arguments["vocabulary_size"]
            logits = Dense(size, use_bias=False, name="logits")(outputs)
        cap = _soft_cap(self)
        return logits if cap is None else cap(logits)

    def text_classifier(self, outputs: Any, num_classes: int) -> Any:
        """Return logits `[batch, num_classes]` of the last token that isn't padding."""
        x = Dense(num_classes, use_bias=False, name="logits")(outputs)
        token_ids, mask = self.input["token_ids"], self.input["padding_mask"]
        if self.arguments["padding_id"] is not None:
            is_text = ops.not_equal(token_ids, self.arguments["padding_id"])
            mask = ops.where(is_text, mask, 0)
        return SequencePooling("lasttoken", name="last_token")(x, mask)

    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        rate = 0.1 if dropout is None else dropout  # whatever the backbone's is
        return super().token_classifier(outputs, num_classes, rate)


def _soft_cap(backbone: Backbone) -> SoftCap | None:
    """Return the layer that caps the logits of a backbone's language model; None for none."""
    cap = backbone.argument("logits_soft_cap")
    return None if cap is None else SoftCap(cap, name="logits_soft_cap")
