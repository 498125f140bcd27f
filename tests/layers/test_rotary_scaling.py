"""Scalings of rotary frequencies."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import RotaryEmbedding
from inarch.layers.alternatives import changed
from inarch.layers.rotary import rotary_positions
from inarch.layers.rotary_scaling import (
    frequencies_by_length,
    reads_lengths,
    scaled_frequencies,
    stretched_length,
)

LENGTH = {"original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    **LENGTH}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, **LENGTH}
NTK = {"rope_type": "ntk", "factor": 8.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 3.0, "max_position_embeddings": 4}
LONGROPE = {"rope_type": "longrope", "factor": 2.0, "original_max_position_embeddings": 4,
    "short_factor": [1.0 + i / 4 for i in range(8)], "long_factor": [2.0 + i for i in range(8)],
}  # fmt: skip
SCALINGS = {"linear": {"rope_type": "linear", "factor": 2.5}, "llama3": LLAMA3, "yarn": YARN,
    "ntk": NTK, "mixed ntk": {**NTK, "mixed_b": 0.75}, "dynamic": DYNAMIC,
    "longrope": LONGROPE}  # fmt: skip
DIM, BASE = 16, 50.0


def frequencies_of(scaling, length):
    """Return the frequencies in sequences of a length, of any scaling."""
    if not reads_lengths(scaling):
        return scaled_frequencies(scaling, DIM, BASE)
    return ops.convert_to_numpy(frequencies_by_length(scaling, DIM, BASE, np.array(length)))


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


@pytest.mark.parametrize("mixed_b", [None, 0.75, 1.0, 2.0])
def test_ntk_scaling_divides_each_frequency_by_more_and_the_last_by_the_factor(mixed_b):
    power, count = mixed_b or 1.0, DIM // 2
    wanted = [f / 8 ** (((i + 1) / count) ** power) for i, f in enumerate(plain())]
    found = scaled_frequencies({**NTK, "mixed_b": mixed_b}, DIM, BASE)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found[-1] == pytest.approx(plain()[-1] / 8, rel=1e-6)


def test_ntk_scaling_is_another_base_and_a_linear_scaling():
    linear = {"rope_type": "linear", "factor": 8 ** (2 / DIM)}
    wanted = scaled_frequencies(linear, DIM, BASE * 8)
    np.testing.assert_allclose(scaled_frequencies(NTK, DIM, BASE), wanted, rtol=1e-6)


@pytest.mark.parametrize("mixed_b", [None, 0.75])
def test_ntk_scaling_by_a_factor_of_1_changes_nothing(mixed_b):
    found = scaled_frequencies({**NTK, "factor": 1.0, "mixed_b": mixed_b}, DIM, BASE)
    np.testing.assert_array_equal(found, scaled_frequencies(None, DIM, BASE))


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


@pytest.mark.parametrize("length", [1, 4, 5, 11])
def test_dynamic_scaling_raises_the_base_with_a_length_beyond_that_of_training(length):
    base = BASE * max(1, 3.0 * length / 4 - 2) ** (DIM / (DIM - 2))
    wanted = [base ** (-2 * i / DIM) for i in range(DIM // 2)]
    np.testing.assert_allclose(frequencies_of(DYNAMIC, length), wanted, rtol=1e-6)
    assert stretched_length(DYNAMIC, 4) == 12


@pytest.mark.parametrize(
    ("length", "factors"), [(4, LONGROPE["short_factor"]), (5, LONGROPE["long_factor"])]
)
def test_longrope_divides_by_the_factors_of_short_and_of_long_sequences(length, factors):
    np.testing.assert_allclose(frequencies_of(LONGROPE, length), plain() / factors, rtol=1e-6)
    assert stretched_length(LONGROPE, 4) == 4


def test_longrope_stretches_what_is_rotated_by_its_factor_or_the_one_given(normal):
    x = normal(2, 5, 3, DIM)
    for more, factor in (
        ({}, math.sqrt(1 + math.log(2) / math.log(4))),
        ({"attention_factor": 1.5}, 1.5),
        ({"factor": 1.0}, 1.0),
    ):
        output = RotaryEmbedding(BASE, scaling={**LONGROPE, **more})(x)
        lengths = [np.linalg.norm(ops.convert_to_numpy(a)) for a in (output, x)]
        assert lengths[0] / lengths[1] == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("scaling", [DYNAMIC, LONGROPE])
def test_a_scaling_by_lengths_has_those_of_each_sequence_wherever_it_is_in_a_row(scaling, normal):
    """Rows of one sequence each, with padding on either side, and one row of both."""
    layer, x = RotaryEmbedding(BASE, scaling=scaling), normal(1, 9, 3, DIM)
    parts = [ops.convert_to_numpy(layer(part)) for part in (x[:, :6], x[:, 6:])]
    ids = np.array([[1] * 6 + [2] * 3])
    packed = layer(x, positions=rotary_positions(layer, {"padding_mask": ids}))
    np.testing.assert_allclose(ops.convert_to_numpy(packed), np.concatenate(parts, 1), atol=1e-6)
    padded = rotary_positions(layer, {"padding_mask": np.array([[1] * 6 + [0] * 3])})
    found = ops.convert_to_numpy(layer(x, positions=padded))[:, :6]
    np.testing.assert_allclose(found, parts[0], atol=1e-6)


def test_tokens_after_a_prompt_are_of_the_sequence_up_to_them():
    layer, positions = RotaryEmbedding(BASE, scaling=DYNAMIC), np.array([[3, 4], [0, 1]])
    context = {"positions": positions, "lengths": np.array([[7, 7], [2, 2]])}
    found = ops.convert_to_numpy(layer.angles(rotary_positions(layer, context), DIM))
    for row, length in enumerate((7, 2)):
        wanted = np.outer(positions[row], frequencies_of(DYNAMIC, length))
        np.testing.assert_allclose(found[row], wanted, rtol=1e-5)
    plain = RotaryEmbedding(BASE)
    assert rotary_positions(plain, context) is positions
    assert rotary_positions(None, context) is None


@pytest.mark.parametrize("name", SCALINGS)
def test_rotation_is_by_the_scaled_frequencies_and_survives_saving(name, normal, reload):
    layer, inputs = RotaryEmbedding(BASE, scaling=SCALINGS[name]), keras.Input((5, DIM))
    model = keras.Model(inputs, layer(inputs))
    x = normal(2, 5, DIM)
    turns = np.arange(5)[:, None] * frequencies_of(SCALINGS[name], 5)
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
        ({"rope_type": "axial"}, "no known rope_type. Pass a dict with one of 'linear'"),
        ("linear", "no known rope_type"),
        ({"rope_type": "linear"}, "factor=None. rope_type='linear' needs a positive number"),
        ({"rope_type": "linear", "factor": True}, "factor=True"),
        ({"rope_type": "ntk", "factor": 0.5}, "factor=0.5. Pass a factor of 1 or more"),
        ({**NTK, "mixed_b": 0}, "mixed_b=0. rope_type='ntk' needs a positive number"),
        ({**YARN, "factor": math.inf}, "factor=inf"),
        ({**YARN, "mscale": "1"}, "mscale='1'"),
        ({**YARN, "wings": 2}, "wings=2, which rope_type='yarn' doesn't read"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor=1.0. It must be above"),
        ({**LONGROPE, "long_factor": None}, "long_factor=None. Pass a list of positive numbers"),
        ({**LONGROPE, "short_factor": [1.0, 0]}, r"short_factor=\[1.0, 0\]. Pass a list"),
        ({**LONGROPE, "original_max_position_embeddings": 1}, "Pass a length above 1"),
    ],
)
def test_what_is_no_scaling_is_refused_by_name(scaling, message):
    with pytest.raises(InputError, match=message):
        RotaryEmbedding(scaling=scaling)


def test_yarn_needs_a_base_above_one(normal):
    with pytest.raises(InputError, match="max_wavelength=1"):
        RotaryEmbedding(1, scaling=YARN)(normal(1, 2, 4))


def test_scalings_of_another_width_are_refused_with_it(normal):
    with pytest.raises(InputError, match="8 values of short_factor, and 4 features"):
        RotaryEmbedding(BASE, scaling=LONGROPE)(normal(1, 2, 4))
    with pytest.raises(InputError, match="'dynamic' and 2 features"):
        RotaryEmbedding(BASE, scaling=DYNAMIC)(normal(1, 2, 2))
