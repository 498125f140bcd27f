"""A tiny decoder with random weights, with and without an encoder's output to look at."""

import keras
import numpy as np

from inarch.layers import TokenAndPositionEmbedding, TransformerDecoder
from inarch.layers.cache import select_rows
from inarch.models.decoding import StackDecoder
from inarch.models.variables import build_without_values, initialize, set_value

VOCABULARY, WIDTH, HEADS, POSITIONS, HEARD = 24, 8, 2, 40, 6
END = 3


def toy(seed=0, layers=2, heard=True, scale=0.8, positions=POSITIONS):
    """A `StackDecoder` whose weights are random and of order one."""
    (embedding, blocks, norm), waiting = build_without_values(
        lambda: built(layers, heard, positions)
    )
    variables = [v for layer in (embedding, *blocks, norm) for v in layer.variables]
    random = np.random.default_rng(seed)
    for variable in variables:
        center = 1.0 if variable.name == "gamma" else 0.0
        set_value(variable, center + scale * random.standard_normal(variable.shape))
    initialize(waiting)
    return StackDecoder(embedding, blocks, norm, variables=variables)


def built(layers, heard, positions):
    embedding = TokenAndPositionEmbedding(VOCABULARY, positions, WIDTH)
    embedding.build((None, None))
    blocks = []
    for _ in range(layers):
        block = TransformerDecoder(
            16, HEADS, activation="gelu", normalize_first=True, key_bias=False
        )
        shape = (None, None, WIDTH)
        block.build(shape, shape if heard else None)
        blocks.append(block)
    norm = keras.layers.LayerNormalization()
    norm.build((None, None, WIDTH))
    return embedding, blocks, norm


def heard(decoder, rows, seed=1):
    """The context of `rows` random outputs of an encoder."""
    x = np.random.default_rng(seed).standard_normal((rows, HEARD, WIDTH)).astype("float32")
    return decoder.context_of(keras.ops.convert_to_tensor(x))


def part(context, rows):
    """The context of some of the rows."""
    count = context[0][0].shape[0] // HEADS
    return select_rows(context, count, np.arange(count, dtype="int32")[rows])
