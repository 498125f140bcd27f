"""Layers of sound against their formulas: frames, their masks, norms over time, positions."""

import keras
import numpy as np
import pytest

from inarch.errors import InputError
from inarch.layers import (
    ConvolutionalPositions,
    ConvolutionStem,
    FrameMask,
    TimeNormalization,
    WeightedLayerSum,
)
from inarch.layers.alternatives import changed
from inarch.layers.frames import frame_count, frame_mask, sample_count

pytestmark = pytest.mark.turns(3)

SIZES, STRIDES = (5, 3, 2), (3, 2, 2)
PUBLISHED = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def windows(x, size, stride):
    """Every window [rows, frames, size, dim] of x [rows, length, dim]."""
    count = (x.shape[1] - size) // stride + 1
    return np.stack([x[:, i * stride : i * stride + size] for i in range(count)], axis=1)


# --- frames ------------------------------------------------------------------------------------


def test_a_second_of_sound_has_49_frames_and_25_ms_have_one():
    assert frame_count(16_000, *PUBLISHED) == 49
    assert sample_count(1, *PUBLISHED) == 400


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_the_fewest_samples_of_a_count_of_frames_are_not_enough_without_one(frames):
    samples = sample_count(frames, SIZES, STRIDES)
    assert frame_count(samples, SIZES, STRIDES) == frames
    assert frame_count(samples - 1, SIZES, STRIDES) == frames - 1


def test_a_frame_is_padding_where_a_sample_of_its_window_is():
    length = sample_count(6, SIZES, STRIDES)
    lengths = [length, length - 1, sample_count(2, SIZES, STRIDES), 3, 0]
    samples = (np.arange(length) < np.array(lengths)[:, None]).astype("int32")
    whole = samples[..., None]
    for size, stride in zip(SIZES, STRIDES, strict=True):
        whole = windows(whole, size, stride).min(axis=2)
    wanted = whole[..., 0]
    wanted[:, 0] = 1  # a row has a frame to attend to
    found = array(FrameMask(SIZES, STRIDES)(samples))
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(frame_mask(samples, SIZES, STRIDES), wanted)


# --- the norm over time ------------------------------------------------------------------------


def test_a_norm_over_time_is_that_of_each_feature_of_a_row(perturb, normal):
    layer, x = TimeNormalization(0.01), normal(2, 9, 4)
    layer(x)
    layer = perturb(layer)
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    wanted = (x - mean) / np.sqrt(variance + 0.01) * array(layer.gamma) + array(layer.beta)
    np.testing.assert_allclose(array(layer(x)), wanted, rtol=1e-4, atol=1e-5)


def test_padding_has_no_part_in_a_norm_over_time(perturb, normal):
    layer, x = TimeNormalization(), normal(2, 9, 4)
    layer(x)
    layer = perturb(layer)
    mask = (np.arange(9) < np.array([[9], [5]])).astype("int32")
    padded = array(layer(x, mask))
    np.testing.assert_allclose(padded[1, :5], array(layer(x[1:, :5]))[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded[0], array(layer(x))[0], rtol=1e-4, atol=1e-5)


def test_a_norm_over_time_of_large_halves_is_finite(normal):
    layer, x = TimeNormalization(dtype="float16"), (1000 * normal(2, 30, 4)).astype("float16")
    wanted = array(TimeNormalization()(x.astype("float32")))
    np.testing.assert_allclose(array(layer(x)), wanted, rtol=1e-2, atol=1e-2)


# --- the stem ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_stem_is_convolutions_with_a_norm_before_the_activation(norm, bias, perturb, normal):
    layer = ConvolutionStem((3, 4), SIZES[:2], STRIDES[:2], bias, norm, "relu")
    x = normal(2, 30)
    layer(x)
    layer = perturb(layer)
    y = x[..., None]
    for i in range(2):
        convolution, own = getattr(layer, f"conv_{i}"), getattr(layer, f"conv_{i}_norm", None)
        assert (own is None) == (norm == "group" and i == 1)
        assert (convolution.bias is not None) == bias
        y = np.einsum("btwi,wio->bto", windows(y, SIZES[i], STRIDES[i]), array(convolution.kernel))
        y = y + array(convolution.bias) if bias else y
        y = y if own is None else array(own(y))
        y = np.maximum(y, 0)
    np.testing.assert_allclose(array(layer(x)), y, rtol=1e-4, atol=1e-5)


def test_padding_has_no_part_in_the_frames_of_a_stem(perturb, normal):
    layer, x = ConvolutionStem((3, 4), SIZES[:2], STRIDES[:2]), normal(2, 40)
    layer(x)
    layer = perturb(layer)
    mask = (np.arange(40) < np.array([[40], [25]])).astype("int32")
    count = frame_count(25, SIZES[:2], STRIDES[:2])
    alone = array(layer(x[1:, :25]))[0]
    assert len(alone) == count
    np.testing.assert_allclose(array(layer(x, mask))[1, :count], alone, rtol=1e-4, atol=1e-5)
    assert np.abs(array(layer(x))[1, :count] - alone).max() > 0.01


def test_a_stem_of_lists_that_do_not_fit_or_of_an_unknown_norm_is_refused():
    with pytest.raises(InputError, match="strides 1"):
        ConvolutionStem((3, 4), (3, 2), (2,))
    with pytest.raises(InputError, match="norm='batch'"):
        ConvolutionStem((3,), (3,), (2,), norm="batch")


# --- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("groups", [1, 2])
def test_positions_are_a_grouped_convolution_of_a_kernel_of_given_norms(
    size, groups, perturb, normal
):
    layer, x = ConvolutionalPositions(size, groups, "relu"), normal(2, 7, 6)
    layer(x)
    layer = perturb(layer)
    kernel = array(layer.kernel)
    kernel = kernel / np.sqrt((kernel**2).sum(axis=(1, 2), keepdims=True)) * array(layer.scale)
    np.testing.assert_allclose(
        np.sqrt((kernel**2).sum(axis=(1, 2))), np.abs(array(layer.scale))[:, 0, 0], rtol=1e-5
    )
    seen = windows(np.pad(x, ((0, 0), (size // 2, size // 2), (0, 0))), size, 1)[:, :7]
    parts = zip(np.split(seen, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    y = np.concatenate([np.einsum("btwi,wio->bto", a, b) for a, b in parts], axis=-1)
    wanted = np.maximum(y + array(layer.bias), 0)
    np.testing.assert_allclose(array(layer(x)), wanted, rtol=1e-4, atol=1e-5)


def test_fresh_positions_have_the_norms_that_their_kernel_is_drawn_with():
    layer = ConvolutionalPositions(8, 4)
    layer.build((None, None, 64))
    norms = np.sqrt((array(layer.kernel) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(array(layer.scale)[:, 0, 0], norms, rtol=0.15)


def test_groups_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="groups=4"):
        ConvolutionalPositions(3, 4).build((None, None, 6))


# --- weights of layers -------------------------------------------------------------------------


def test_layers_are_summed_with_weights_that_sum_to_one(perturb, normal):
    layer, x = WeightedLayerSum(), normal(2, 3, 5, 4)
    layer(x)
    layer = perturb(layer)
    weights = np.exp(array(layer.layer_weights))
    wanted = np.einsum("bltd,l->btd", x, weights / weights.sum())
    np.testing.assert_allclose(array(layer(x)), wanted, rtol=1e-4, atol=1e-5)


# --- ways to get them wrong --------------------------------------------------------------------

MASK = (np.arange(40) < np.array([[40], [25]])).astype("int32")
BRICKS = {
    "norm": (lambda: TimeNormalization(), (2, 40, 4), (MASK,)),
    "stem": (lambda: ConvolutionStem((3, 4), SIZES[:2], STRIDES[:2]), (2, 40), (MASK,)),
    "positions": (lambda: ConvolutionalPositions(4, 2), (2, 7, 6), ()),
    "sum": (lambda: WeightedLayerSum(), (2, 3, 5, 4), ()),
}


@pytest.mark.parametrize("name", BRICKS)
def test_every_alternative_gives_other_numbers_and_is_undone(name, perturb, normal):
    make, shape, others = BRICKS[name]
    layer, x = make(), normal(*shape)
    layer(x, *others)
    layer = perturb(layer)
    right = array(layer(x, *others))
    for phrase, attributes in layer.alternatives().items():
        with changed(layer, attributes):
            wrong = array(layer(x, *others))
        assert wrong.shape == right.shape, phrase
        assert np.abs(wrong - right).max() > 1e-7, phrase
    np.testing.assert_array_equal(array(layer(x, *others)), right)
