import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.audio import LogMelSpectrogram, log_mel_spectrogram, mel_filters
from inarch.errors import InputError, InputTypeError


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype("f4")


def by_definition(audio, num_mels=80):
    """The spectrogram by an FFT in float64."""
    padded = np.pad(audio.astype("f8"), 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:-1]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
    log = np.log10(np.maximum(mel_filters(num_mels) @ power.T, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


@settings(max_examples=25, deadline=None)
@given(st.integers(201, 3000), st.sampled_from([80, 128]), st.integers(0, 9))
def test_in_float64_it_is_the_definition(samples, num_mels, seed):
    audio = noise(samples, seed).astype("f8")
    ours = log_mel_spectrogram(audio, num_mels)
    assert ours.shape == (num_mels, samples // 160)
    np.testing.assert_allclose(ours, by_definition(audio, num_mels), atol=1e-10)


def test_blocks_leave_no_seam():
    audio = noise(160 * 1200).astype("f8")
    np.testing.assert_allclose(log_mel_spectrogram(audio), by_definition(audio), atol=1e-10)


def test_float32_is_as_near_as_rounding_lets_it():
    audio = noise(32_000)
    ours, layer = log_mel_spectrogram(audio), LogMelSpectrogram()(audio)
    double = by_definition(audio)
    assert ours.dtype == np.float32
    for found in (ours, keras.ops.convert_to_numpy(layer)):
        assert np.sqrt(np.mean((found - double) ** 2)) < 2e-7


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000, 7000])
def test_a_tone_is_loudest_in_the_triangle_around_it(hertz):
    audio = 0.5 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
    loudest = log_mel_spectrogram(audio)[:, 50].argmax()
    # Frequencies are 40 Hz apart.
    assert mel_filters()[loudest, hertz // 40] == mel_filters()[:, hertz // 40].max()


def test_triangles_have_area_one_where_the_frequencies_are_dense_enough():
    areas = mel_filters(20).sum(axis=1) * 40
    np.testing.assert_allclose(areas, 1, atol=0.05)


def test_ten_times_the_sound_is_half_higher():
    audio = noise(8000).astype("f8")
    difference = log_mel_spectrogram(10 * audio) - log_mel_spectrogram(audio)
    np.testing.assert_allclose(difference, 0.5, atol=1e-9)


def test_frames_far_from_a_join_are_those_of_each_sound():
    first, second = noise(16_000, 1).astype("f8"), noise(16_000, 2).astype("f8")
    both = log_mel_spectrogram(np.concatenate([first, second]))
    np.testing.assert_allclose(both[:, :98], log_mel_spectrogram(first)[:, :98], atol=1e-9)
    np.testing.assert_allclose(both[:, 102:], log_mel_spectrogram(second)[:, 2:], atol=1e-9)


def test_padding_is_silence_at_the_end():
    audio = noise(1000)
    padded = np.pad(audio, (0, 480))
    np.testing.assert_array_equal(
        log_mel_spectrogram(audio, padding=480), log_mel_spectrogram(padded)
    )


def test_silence_is_even_and_finite():
    assert np.unique(log_mel_spectrogram(np.zeros(0, "f4"), padding=480)).size == 1


def test_a_batch_is_each_sound_by_itself():
    batch = np.stack([noise(4000, 1), 0.001 * noise(4000, 2)])
    ours = log_mel_spectrogram(batch)
    for found, one in zip(ours, batch, strict=True):
        np.testing.assert_array_equal(found, log_mel_spectrogram(one))
    layer = keras.ops.convert_to_numpy(LogMelSpectrogram()(batch))
    np.testing.assert_allclose(layer, ours, atol=1e-4)


def test_the_layer_is_a_part_of_a_model_and_comes_back_from_its_config():
    layer = LogMelSpectrogram(128, padding=160, dtype="mixed_bfloat16")
    again = LogMelSpectrogram.from_config(layer.get_config())
    inputs = keras.Input((1600,))
    model = keras.Model(inputs, again(inputs))
    assert model.output_shape == (None, 128, 11)
    audio = noise(3200).reshape(2, 1600)
    expected = log_mel_spectrogram(audio, 128, padding=160)
    np.testing.assert_allclose(model.predict(audio, verbose=0), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "options", "error", "match"),
    [
        (np.zeros(200, "f4"), {}, InputError, "200 samples"),
        (np.zeros(0, "f4"), {}, InputError, "0 samples"),
        (np.zeros(500, "f4"), {"padding": -1}, InputError, "padding=-1"),
        (np.zeros(500, "f4"), {"num_mels": 0}, InputError, "num_mels=0"),
        (np.full(500, np.nan, "f4"), {}, InputError, "NaN"),
        (np.zeros((0, 500), "f4"), {}, InputError, "empty batch"),
        (np.zeros((2, 2, 500), "f4"), {}, InputError, "shape"),
        (np.zeros(500, "i2"), {}, InputTypeError, "int16"),
        ("a.wav", {}, InputTypeError, "str"),
    ],
)
def test_what_has_no_spectrogram_is_refused_by_name(audio, options, error, match):
    with pytest.raises(error, match=match):
        log_mel_spectrogram(audio, **options)
