"""WAV files from pipes, and speech by the probabilities of Silero's network."""

import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.audio import load_audio, voice
from inarch.audio.pipes import states_no_length
from inarch.audio.speech import cut_spans
from inarch.errors import CheckpointFileError, MissingExtraError

WINDOW = voice.WINDOW
SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 16000).astype("<i2")
WAV = struct.pack(
    "<4sI4s4sIHHIIHH4sI", b"RIFF", 32036, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data",
    32000,
) + SAMPLES.tobytes()  # fmt: skip


def stated(data, riff, size):
    """A WAV file whose header states other lengths."""
    return data[:4] + struct.pack("<I", riff) + data[8:40] + struct.pack("<I", size) + data[44:]


# As FFmpeg, sox and arecord write them, and as some recorders do.
STAND_INS = [
    (0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x7FFFFFFF, 0x7FFFFFDB),
    (0x80000024, 0x80000000), (0xFFFFFFFF, 0xFFFFFFDB), (36, 0),
]  # fmt: skip


@pytest.mark.parametrize(("riff", "size"), STAND_INS)
def test_a_wav_file_from_a_pipe_is_read_whole_without_alarm(riff, size):
    pytest.importorskip("av")
    whole = load_audio(WAV)
    piped = stated(WAV, riff, size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (piped, io.BytesIO(piped), io.BufferedReader(Pipe(piped))):
            np.testing.assert_array_equal(load_audio(source), whole)


class Pipe(io.RawIOBase):
    """A file that can't go back."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.file.readinto(buffer)


def test_a_wav_file_that_breaks_off_raises_alarm():
    pytest.importorskip("av")
    with pytest.warns(UserWarning, match="damaged or truncated"):
        load_audio(stated(WAV, 96036, 96000))


@given(st.binary(max_size=64))
def test_any_bytes_are_looked_at_without_fault(data):
    assert not states_no_length(b"RIFX" + data)
    states_no_length(b"RIFF\0\0\0\0WAVE" + data)


# --- voice ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.6, 1.0]), st.integers(1, 90)), max_size=8))
def test_spans_hold_all_that_is_surely_speech_and_are_in_order(runs):
    probabilities = np.array([p for p, count in runs for _ in range(count)])
    length = max(len(probabilities) * WINDOW - 7, 0)
    spans = voice.spans_of(probabilities, length)
    inside = np.zeros(length, bool)
    for start, end in spans:
        assert 0 <= start < end <= length
        inside[start:end] = True
    for i, probability in enumerate(probabilities):
        if probability >= voice.SPEECH:
            assert inside[i * WINDOW : (i + 1) * WINDOW].all()
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    if (probabilities < voice.SPEECH).all():
        assert spans == []


def test_a_pause_parts_spans_from_two_seconds_on():
    loud, pause = [1.0] * 40, [0.0] * 62
    (one,) = voice.spans_of(np.array([*loud, *pause, *loud]), 142 * WINDOW)
    assert one == (0, 142 * WINDOW)
    first, second = voice.spans_of(np.array([*loud, *pause, 0.0, 0.0, *loud]), 144 * WINDOW)
    assert first == (0, 40 * WINDOW + 6400)
    assert second == (104 * WINDOW - 6400, 144 * WINDOW)


def test_flags_of_numpy_are_flags(monkeypatch):
    monkeypatch.setattr(voice, "find_silero", lambda: None)
    audio = np.zeros(16000, np.float32)
    with pytest.warns(UserWarning, match="by level"):
        assert voice.voice_spans(audio, np.True_) == []
    assert voice.voice_spans(audio, np.False_) == []


def test_without_silero_speech_is_found_by_level_with_a_warning(monkeypatch):
    monkeypatch.setattr(voice, "find_silero", lambda: None)
    sound = np.zeros(5 * 16000, np.float32)
    sound[32000:48000] = np.random.default_rng(0).normal(size=16000) * 0.1
    with pytest.warns(UserWarning, match="by level"):
        ((start, end),) = voice.voice_spans(sound)
    assert start <= 32000 < 48000 <= end
    assert voice.voice_spans(sound, model=False) == [(start, end)]


def test_a_model_that_is_none_is_refused_by_name(tmp_path):
    path = tmp_path / "no.onnx"
    with pytest.raises((CheckpointFileError, MissingExtraError), match="onnx"):
        voice.voice_spans(np.zeros(1600, np.float32), path)
    path.write_bytes(b"nothing")
    with pytest.raises((CheckpointFileError, MissingExtraError), match="onnx"):
        voice.voice_spans(np.zeros(1600, np.float32), path)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60 * 16000), st.integers(1, 70 * 16000))
def test_long_spans_are_cut_and_nothing_is_lost(start, length):
    sound = np.zeros(start + length, np.float32)
    parts = cut_spans([(start, start + length)], sound, 2.0)
    assert parts[0][0] == start
    assert parts[-1][1] == start + length
    assert all(a[1] == b[0] for a, b in zip(parts, parts[1:], strict=False))
    assert all(0 < end - begin <= 2.01 * 16000 for begin, end in parts)
