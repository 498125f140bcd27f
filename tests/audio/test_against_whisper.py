"""Comparison with openai-whisper's own functions."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.audio import (
    LogMelSpectrogram,
    load_audio,
    log_mel_spectrogram,
    mel_filters,
    pad_or_trim,
)

pytestmark = pytest.mark.reference

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
theirs = pytest.importorskip("whisper.audio", reason="needs openai-whisper: make test-all")
SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")


def sounds():
    random = np.random.default_rng(0)
    time = np.arange(5 * 16_000) / 16_000
    yield "noise", random.normal(0, 0.1, len(time))
    yield "tone", 0.5 * np.sin(2 * np.pi * 440 * time)
    yield "sweep", 0.5 * np.sin(2 * np.pi * (100 + 700 * time) * time)
    yield "pulses", random.normal(0, 0.2, len(time)) * (np.sin(9 * time) > 0.9)
    yield "one sample", np.ones(1)


def in_double(audio, num_mels, padding):
    """Return the result of their formula in float64, with the exact triangles."""
    audio = torch.nn.functional.pad(torch.from_numpy(audio).double(), (0, padding))
    window = torch.hann_window(400, dtype=torch.float64)
    stft = torch.stft(audio, 400, 160, window=window, return_complex=True)
    mel = torch.from_numpy(mel_filters(num_mels).copy()) @ stft[..., :-1].abs() ** 2
    log = mel.clamp(min=1e-10).log10()
    return ((torch.maximum(log, log.max() - 8) + 4) / 4).numpy()


@pytest.mark.parametrize("num_mels", [80, 128])
def test_filters_are_theirs_to_float32(num_mels):
    stored = theirs.mel_filters("cpu", num_mels).numpy()
    np.testing.assert_allclose(mel_filters(num_mels), stored, rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize(("name", "audio"), sounds(), ids=lambda value: str(value)[:9])
def test_spectrograms_are_theirs_to_rounding(name, audio, num_mels):
    audio = audio.astype("f4")
    double = in_double(audio, num_mels, 16_000)
    single = theirs.log_mel_spectrogram(audio, num_mels, padding=16_000).numpy()
    own = max(np.sqrt(np.mean((single - double) ** 2)), np.finfo("f4").eps / 4)
    layer = LogMelSpectrogram(num_mels, padding=16_000)
    for ours in (
        log_mel_spectrogram(audio, num_mels, padding=16_000),
        keras.ops.convert_to_numpy(layer(audio)),
    ):
        assert ours.shape == single.shape
        assert np.sqrt(np.mean((ours - double) ** 2)) / own <= 4


@pytest.mark.skipif(not SPEECH.exists(), reason="needs Debian's pocketsphinx-testdata")
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the reference needs ffmpeg")
def test_samples_of_real_speech_are_theirs_to_the_bit():
    for path in sorted(SPEECH.glob("*.wav")):
        np.testing.assert_array_equal(load_audio(path), theirs.load_audio(str(path)))


def test_windows_are_padded_and_trimmed_as_theirs():
    array = np.random.default_rng(0).normal(size=(80, 50)).astype("f4")
    for length in (20, 50, 70):
        np.testing.assert_array_equal(pad_or_trim(array, length), theirs.pad_or_trim(array, length))
