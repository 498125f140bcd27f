"""Features of sound against a golden of openai-whisper's, which notices every fault in them.

The golden is the reference's formula in float64, with the triangles of its own file
(`test_the_golden_is_the_references` makes it anew): `[mels, frames]` of 1,600 samples and 480 of
silence.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.audio import LogMelSpectrogram, log_mel_spectrogram, mel
from inarch.speech.windows import Recording

PADDING = 480
# Rounding in float32; a fault is thousands of times as much.
NOISE = 5e-7


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "log_mel.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def anew():
    """Have tables made anew that a fault has made, or would be kept from."""
    mel._tables.cache_clear()
    mel.mel_filters.cache_clear()
    yield
    mel._tables.cache_clear()
    mel.mel_filters.cache_clear()


def distance(found, golden):
    """Root mean square of the difference; infinite where there are other frames."""
    if found.shape != golden.shape:
        return np.inf
    return float(np.sqrt(np.mean((found - golden) ** 2)))


def spectrogram(golden, num_mels):
    found = log_mel_spectrogram(golden["audio"], num_mels, padding=PADDING)
    return distance(found, golden[f"mel_{num_mels}"])


def window(golden, num_mels, start=3, size=5):
    """Return the distance of a recording's window from the frames that it should hold."""
    recording = Recording.from_audio(
        golden["audio"], log_mel_spectrogram(golden["audio"], num_mels, padding=PADDING)
    )
    wanted = np.zeros((num_mels, 3000))
    wanted[:, :size] = golden[f"mel_{num_mels}"][:, start : start + size]
    return distance(recording.window(start, size), wanted)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_spectrograms_and_windows_are_the_goldens(golden, num_mels):
    assert spectrogram(golden, num_mels) < NOISE
    assert window(golden, num_mels) < NOISE
    layer = LogMelSpectrogram(num_mels, padding=PADDING)
    found = keras.ops.convert_to_numpy(layer(golden["audio"]))
    assert distance(found, golden[f"mel_{num_mels}"]) < NOISE


# --- faults --------------------------------------------------------------------------------------


def of_triangles(change):
    def inject(patch):
        right = mel.mel_filters
        patch.setattr(mel, "mel_filters", lambda num_mels: change(right(num_mels)))

    return inject


def other_scale(patch):
    """HTK's mels, a logarithm from 0 on."""
    patch.setattr(mel, "_mels", lambda hertz: 2595 * np.log10(1 + hertz / 700))
    patch.setattr(mel, "_hertz", lambda mels: 700 * (10 ** (mels / 2595) - 1))


def symmetric_window(patch):
    """Patch in a window of 399 steps, as np.hanning(400) has it, not periodic."""
    right = mel._tables

    def tables(num_mels, dtype):
        n, made = np.arange(101), right(num_mels, dtype)
        hann = lambda place: 0.5 - 0.5 * np.cos(2 * np.pi * place / 399)  # noqa: E731
        near, far = hann(n), hann(200 - n)
        far[0], near[-1], far[-1] = far[0] / 2, near[-1] / 2, far[-1] / 2
        return made._replace(near=near.astype(dtype), far=far.astype(dtype))

    patch.setattr(mel, "_tables", tables)


def moved(samples):
    def inject(patch):
        right = mel._powers
        patch.setattr(mel, "_powers", lambda piece, *rest: right(np.roll(piece, samples), *rest))

    return inject


def zeros_at_the_edges(patch):
    right = np.pad
    patch.setattr(np, "pad", lambda array, width, mode="constant": right(array, width))


def without_the_first_frame(patch):
    """A window taken a frame too late."""
    right = Recording.window
    patch.setattr(Recording, "window", lambda self, start, size: right(self, start + 1, size))


def a_frame_longer(patch):
    right = Recording.window
    patch.setattr(Recording, "window", lambda self, start, size: right(self, start, size + 1))


FAULTS = {
    "mels of another scale": other_scale,
    "triangles of one height": of_triangles(lambda x: x / x.max(axis=1, keepdims=True)),
    "triangles a band off": of_triangles(lambda x: np.roll(x, 1, axis=0)),
    "triangles a frequency off": of_triangles(lambda x: np.roll(x, 1, axis=1)),
    "triangles 1% too high": of_triangles(lambda x: 1.01 * x),
    "symmetric window": symmetric_window,
    "frames a sample late": moved(-1),
    "frames a sample early": moved(1),
    "a frame for each 161 samples": lambda patch: patch.setattr(mel, "HOP", 161),
    "zeros at the edges": zeros_at_the_edges,
    "60 dB in place of 80": lambda patch: patch.setattr(mel, "RANGE", 6.0),
}


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_spectrogram_is_noticed(golden, name, num_mels, monkeypatch):
    with monkeypatch.context() as patch:
        FAULTS[name](patch)
        assert spectrogram(golden, num_mels) > 100 * NOISE
    mel._tables.cache_clear()
    mel.mel_filters.cache_clear()
    assert spectrogram(golden, num_mels) < NOISE


@pytest.mark.parametrize("fault", [without_the_first_frame, a_frame_longer])
def test_a_window_off_by_a_frame_is_noticed(golden, fault, monkeypatch):
    fault(monkeypatch)
    assert window(golden, 80) > 100 * NOISE


@pytest.mark.reference
@pytest.mark.parametrize("num_mels", [80, 128])
def test_the_golden_is_the_references(golden, num_mels):
    torch = pytest.importorskip("torch", reason="needs torch: make test-all")
    theirs = pytest.importorskip("whisper.audio", reason="needs openai-whisper: make test-all")
    audio = torch.nn.functional.pad(torch.from_numpy(golden["audio"]).double(), (0, PADDING))
    hann = torch.hann_window(400, dtype=torch.float64)
    stft = torch.stft(audio, 400, 160, window=hann, return_complex=True)
    filters = theirs.mel_filters("cpu", num_mels).double()
    log = (filters @ stft[..., :-1].abs() ** 2).clamp(min=1e-10).log10()
    made = (torch.maximum(log, log.max() - 8) + 4) / 4
    np.testing.assert_allclose(golden[f"mel_{num_mels}"], made, atol=1e-9)
