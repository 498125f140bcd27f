"""A tiny decoder with random weights, with and without cross-attention."""

import keras
import numpy as np

from inarch.layers import TokenAndPositionEmbedding, TransformerDecoder
from inarch.models.decoder_stack import DecoderStack
from inarch.models.variables import build_without_values, initialize, set_value

VOCABULARY, WIDTH, HEADS, POSITIONS, ENCODED = 24, 8, 2, 40, 6
END = 3


def toy(seed=0, layers=2, cross_attention=True, scale=0.8, positions=POSITIONS):
    """A `DecoderStack` whose weights are random and of order one."""
    (embedding, blocks, norm), waiting = build_without_values(
        lambda: built(layers, cross_attention, positions)
    )
    variables = [v for layer in (embedding, *blocks, norm) for v in layer.variables]
    random = np.random.default_rng(seed)
    for variable in variables:
        center = 1.0 if variable.name == "gamma" else 0.0
        set_value(variable, center + scale * random.standard_normal(variable.shape))
    initialize(waiting)
    return DecoderStack(embedding, blocks, norm, max_length=positions)


def built(layers, cross_attention, positions):
    embedding = TokenAndPositionEmbedding(VOCABULARY, positions, WIDTH)
    embedding.build((None, None))
    blocks = []
    for _ in range(layers):
        block = TransformerDecoder(
            16, HEADS, activation="gelu", normalize_first=True, key_bias=False
        )
        shape = (None, None, WIDTH)
        block.build(shape, shape if cross_attention else None)
        blocks.append(block)
    norm = keras.layers.LayerNormalization()
    norm.build((None, None, WIDTH))
    return embedding, blocks, norm


def encoder_cache(decoder, rows, seed=1):
    """The cross-attention caches of `rows` random outputs of an encoder."""
    x = np.random.default_rng(seed).standard_normal((rows, ENCODED, WIDTH)).astype("float32")
    return decoder.make_cross_attention_cache(keras.ops.convert_to_tensor(x))


def part(decoder, cache, rows):
    """The caches of some of the rows."""
    count = keras.tree.flatten(cache)[0].shape[0] // HEADS
    return decoder.reorder_cache(cache, count, np.arange(count, dtype="int32")[rows])
