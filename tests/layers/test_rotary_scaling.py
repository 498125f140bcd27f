"""Scalings of rotary frequencies."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import RotaryEmbedding
from inarch.layers.alternatives import changed
from inarch.layers.rotary_scaling import scaled_frequencies

LENGTH = {"original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    **LENGTH}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, **LENGTH}
SCALINGS = {"linear": {"rope_type": "linear", "factor": 2.5}, "llama3": LLAMA3, "yarn": YARN}
DIM, BASE = 16, 50.0


def plain():
    return np.array([BASE ** (-2 * i / DIM) for i in range(DIM // 2)])


def test_linear_scaling_divides_all_frequencies():
    found = scaled_frequencies(SCALINGS["linear"], DIM, BASE)
    np.testing.assert_allclose(found, plain() / 2.5, rtol=1e-6)


def test_llama_3_keeps_high_frequencies_divides_low_ones_and_mixes_those_between():
    wanted = []
    for frequency in plain():
        wavelength = 2 * math.pi / frequency
        if wavelength < 64 / 4:
            wanted.append(frequency)
        elif wavelength > 64 / 1:
            wanted.append(frequency / 8)
        else:
            smooth = (64 / wavelength - 1) / (4 - 1)
            wanted.append((1 - smooth) * frequency / 8 + smooth * frequency)
    found = scaled_frequencies(LLAMA3, DIM, BASE)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    shares = found / scaled_frequencies(None, DIM, BASE)
    assert (shares == 1).any()
    assert (shares == 1 / 8).any()
    assert ((shares < 1) & (shares > 1 / 8)).any()


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_mixes_between_the_pairs_that_turn_fast_and_slow(truncate):
    scaling = {**YARN, "beta_fast": 4, "beta_slow": 1, "truncate": truncate}
    low, high = (
        DIM * math.log(64 / (turns * 2 * math.pi)) / (2 * math.log(BASE)) for turns in (4, 1)
    )
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    wanted = []
    for i, frequency in enumerate(plain()):
        ramp = min(max((i - low) / (high - low), 0), 1)
        wanted.append(frequency / 4 * ramp + frequency * (1 - ramp))
    np.testing.assert_allclose(scaled_frequencies(scaling, DIM, BASE), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({}, 0.1 * math.log(4) + 1),
        ({"attention_factor": 1.5}, 1.5),
        (
            {"mscale": 0.5, "mscale_all_dim": 2.0},
            (0.05 * math.log(4) + 1) / (0.2 * math.log(4) + 1),
        ),
        ({"factor": 0.5}, 1.0),
    ],
)
def test_yarn_stretches_what_is_rotated(more, factor, normal):
    x = normal(2, 5, 3, DIM)
    output = RotaryEmbedding(BASE, scaling={**YARN, **more})(x)
    lengths = [np.linalg.norm(ops.convert_to_numpy(a)) for a in (output, x)]
    assert lengths[0] / lengths[1] == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("name", SCALINGS)
def test_rotation_is_by_the_scaled_frequencies_and_survives_saving(name, normal, reload):
    layer, inputs = RotaryEmbedding(BASE, scaling=SCALINGS[name]), keras.Input((5, DIM))
    model = keras.Model(inputs, layer(inputs))
    x = normal(2, 5, DIM)
    turns = np.arange(5)[:, None] * scaled_frequencies(SCALINGS[name], DIM, BASE)
    turned = (x[..., : DIM // 2] + 1j * x[..., DIM // 2 :]) * np.exp(1j * turns) * layer._factor
    wanted = np.concatenate([turned.real, turned.imag], -1)
    for each in (model, reload(model)):
        np.testing.assert_allclose(ops.convert_to_numpy(each(x)), wanted, atol=5e-6)


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaling_that_is_left_out_is_an_alternative_that_shows(name, normal):
    layer, x = RotaryEmbedding(BASE, scaling=SCALINGS[name]), normal(2, 9, 3, DIM)
    right = ops.convert_to_numpy(layer(x))
    own = {
        k: v for k, v in layer.alternatives().items() if k not in RotaryEmbedding().alternatives()
    }
    assert "rotary frequencies without their scaling" in own
    for phrase, attributes in own.items():
        with changed(layer, attributes):
            assert np.abs(ops.convert_to_numpy(layer(x)) - right).max() > 1e-3, phrase


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"rope_type": "longrope"}, "no known rope_type. Pass a dict with one of 'linear'"),
        ("linear", "no known rope_type"),
        ({"rope_type": "linear"}, "factor=None. rope_type='linear' needs a positive number"),
        ({"rope_type": "linear", "factor": True}, "factor=True"),
        ({**YARN, "factor": math.inf}, "factor=inf"),
        ({**YARN, "mscale": "1"}, "mscale='1'"),
        ({**YARN, "wings": 2}, "wings=2, which rope_type='yarn' doesn't read"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor=1.0. It must be above"),
    ],
)
def test_what_is_no_scaling_is_refused_by_name(scaling, message):
    with pytest.raises(InputError, match=message):
        RotaryEmbedding(scaling=scaling)


def test_yarn_needs_a_base_above_one(normal):
    with pytest.raises(InputError, match="max_wavelength=1"):
        RotaryEmbedding(1, scaling=YARN)(normal(1, 2, 4))
