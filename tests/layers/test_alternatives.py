"""Ways to get a layer wrong change what it gives, and leave the layer as it was."""

import keras
import numpy as np
import pytest

from inarch.layers import (
    Adapter,
    FeedForward,
    GatedFeedForward,
    MaskedLMHead,
    MultiHeadAttention,
    ParallelBlock,
    alternatives,
)
from inarch.layers.alternatives import ACTIVATIONS, activation_alternatives, changed
from inarch.layers.pooling import MODES, SequencePooling

MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def parallel_block(**options):
    return ParallelBlock(
        MultiHeadAttention(2), FeedForward(9), keras.layers.LayerNormalization(), **options
    )


BRICKS = {
    "feed_forward": (lambda: FeedForward(9, "gelu"), ()),
    "gated_feed_forward": (lambda: GatedFeedForward(9, "gelu"), ()),
    "adapter": (lambda: Adapter(9, "gelu"), ()),
    "masked_lm_head": (lambda: MaskedLMHead(11, intermediate_activation="gelu"), ()),
    "parallel_block": (lambda: parallel_block(), ()),
    "parallel_block_of_one_norm": (lambda: parallel_block(shared_norm=True), ()),
    "narrow_head": (lambda: MaskedLMHead(11, intermediate_dim=4, use_output_bias=False), ()),
    **{mode: (lambda mode=mode: SequencePooling(mode), (MASK,)) for mode in MODES},
}


@pytest.mark.parametrize("name", BRICKS)
def test_every_alternative_gives_other_numbers_and_is_undone(name, perturb, normal):
    make, others = BRICKS[name]
    layer, x = make(), normal(2, 5, 8)
    layer(x, *others)
    layer = perturb(layer)
    right = keras.ops.convert_to_numpy(layer(x, *others))
    same = []
    for phrase, attributes in layer.alternatives().items():
        with changed(layer, attributes):
            wrong = keras.ops.convert_to_numpy(layer(x, *others))
        assert wrong.shape == right.shape
        assert np.isfinite(wrong).all(), phrase
        if np.allclose(wrong, right, atol=1e-6):
            same.append(phrase)
    # Padding is on the right, where the first token isn't.
    assert same == (["padding that counts as tokens"] if name == "cls" else [])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x, *others)), right)


def test_every_activation_survives_the_config_of_a_layer():
    for name, function in ACTIVATIONS.items():
        dense = keras.layers.Dense(3, activation=function)
        again = keras.layers.Dense.from_config(dense.get_config())
        assert alternatives.shown_attribute(again.activation) == name
        assert name not in activation_alternatives(again)
