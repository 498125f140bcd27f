import importlib.util
import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.audio import SAMPLE_RATE, load_audio
from inarch.errors import AudioFileError, InputError, InputTypeError, MissingExtraError

_spec = importlib.util.spec_from_file_location("sounds", Path(__file__).parent / "sounds.py")
sounds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sounds)
tone, wav, encoded = sounds.tone, sounds.wav, sounds.encoded


def alike(ours, expected):
    """The correlation of two sounds of about one length."""
    size = min(len(ours), len(expected))
    return np.corrcoef(ours[:size], expected[:size])[0, 1]


def test_a_16_khz_mono_file_gives_its_very_samples(tmp_path):
    integers = np.random.default_rng(0).integers(-32768, 32768, 5000)
    samples = (integers / 32768).astype("f4")
    data = wav(integers / 32767)
    expected = np.frombuffer(data[44:], "<i2").astype("f4") / 32768
    (tmp_path / "a.wav").write_bytes(data)
    for source in (tmp_path / "a.wav", str(tmp_path / "a.wav"), data, io.BytesIO(data)):
        ours = load_audio(source)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, expected)
    assert abs(ours - samples).max() < 1e-3


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "pcm_mulaw", 8_000),
        ("wav", "pcm_f32le", 16_000),
        ("flac", "flac", 44_100),
        ("mp3", "mp3", 44_100),
    ],
)
def test_formats_and_rates_give_the_same_sound(container, codec, rate):
    data = encoded(tone(rate=rate), container, codec, rate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = load_audio(data)
    assert abs(len(ours) - SAMPLE_RATE) < 2000
    assert alike(ours, tone()) > 0.999


def test_stereo_is_averaged_in_files_and_arrays():
    both = np.stack([tone(300), tone(700)], axis=1)
    mean = (tone(300) + tone(700)) / 2
    assert abs(load_audio(wav(both)) - mean).max() < 1e-4
    assert abs(load_audio(both) - mean).max() < 1e-6


def test_six_channels_become_one():
    six = np.stack([tone()] * 6, axis=1)
    assert alike(load_audio(wav(six, 16_000)), tone()) > 0.999
    np.testing.assert_allclose(load_audio(six), tone(), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_an_array_is_resampled_to_16_khz(rate):
    ours = load_audio(tone(rate=rate, seconds=10), sample_rate=rate)
    assert abs(len(ours) - 10 * SAMPLE_RATE) <= 1
    np.testing.assert_allclose(ours[500:-500], tone(seconds=10)[500 : len(ours) - 500], atol=2e-3)


@given(st.sampled_from(["i1", "u1", "i2", "i4"]))
def test_integers_are_scaled_by_their_range(dtype):
    about = np.iinfo(dtype)
    ours = load_audio(np.array([about.min, about.max], dtype))
    assert ours[0] == -1
    assert 0.99 < ours[1] <= 1
    middle = (int(about.min) + about.max + 1) // 2
    assert load_audio(np.array([middle], dtype))[0] == 0


@pytest.mark.parametrize("dtype", ["bool", "complex64", "object", "int64", "uint16", "U3"])
def test_a_dtype_that_is_no_sound_is_refused_by_name(dtype):
    with pytest.raises(InputTypeError, match="dtype"):
        load_audio(np.zeros(10, dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_with_their_place(value):
    samples = tone()
    samples[7] = value
    with pytest.raises(InputError, match="first at sample 7"):
        load_audio(samples)
    with pytest.raises(InputError, match="NaN or infinite"):
        load_audio(encoded(samples, "wav", "pcm_f32le"))


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (2, 500), (5, 0)])
def test_a_shape_that_is_no_sound_is_refused(shape):
    with pytest.raises(InputError, match="shape"):
        load_audio(np.zeros(shape, "f4"))


def test_floats_that_hold_integers_are_refused():
    with pytest.raises(InputError, match="32768"):
        load_audio(tone() * 32768)


@pytest.mark.parametrize("rate", [16, 44.1, 0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(InputError, match="sample_rate"):
        load_audio(tone(), sample_rate=rate)
    with pytest.raises(InputTypeError, match="sample_rate"):
        load_audio(tone(), sample_rate="16000")


def test_a_file_takes_no_rate():
    with pytest.raises(InputError, match="its own rate"):
        load_audio(wav(tone()), sample_rate=16_000)


@pytest.mark.parametrize("size", [0, 1])
def test_no_sample_and_one_are_sounds(size):
    assert load_audio(np.zeros(size, "f4")).shape == (size,)
    assert load_audio(wav(np.zeros(size, "f4"))).shape == (size,)


def test_what_is_no_sound_is_refused(tmp_path):
    (tmp_path / "text.wav").write_text("These are words.\n" * 50)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "film.mp4").write_bytes(sounds.silent_film())
    for name in ("text.wav", "empty.wav", "film.mp4", "absent.wav"):
        with pytest.raises(AudioFileError, match=name.replace(".", r"\.")):
            load_audio(tmp_path / name)
    with pytest.raises(AudioFileError, match="directory"):
        load_audio(tmp_path)
    with pytest.raises(AudioFileError, match="can't be read"):
        load_audio("https://example.invalid/a.wav")
    for source in ([0.0, 1.0], None, 3, io.StringIO("a")):
        with pytest.raises(InputTypeError, match="pass"):
            load_audio(source)


def test_a_playlist_opens_no_other_file(tmp_path):
    (tmp_path / "a.mp3").write_bytes(encoded(tone(rate=44_100), "mp3", "mp3", 44_100))
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(tmp_path / "a.mp3")]
    (tmp_path / "a.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    with pytest.raises(AudioFileError, match="m3u8"):
        load_audio(tmp_path / "a.m3u8")


@pytest.mark.parametrize(("container", "codec"), [("mp3", "mp3"), ("flac", "flac")])
def test_of_a_truncated_file_the_rest_is_taken_with_a_warning(container, codec):
    # Noise, so that the size of the file goes with its time.
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 5 * 44_100).astype("f4")
    data = encoded(noise, container, codec, 44_100)
    with pytest.warns(UserWarning, match="truncated"):
        ours = load_audio(data[: len(data) // 2])
    assert 1.5 * SAMPLE_RATE < len(ours) < 3.5 * SAMPLE_RATE


def test_without_pyav_arrays_at_16_khz_still_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(load_audio(tone())) == SAMPLE_RATE
    with pytest.raises(MissingExtraError, match=r"inarch\[audio\]"):
        load_audio(wav(tone()))


# --- out of proportion, and checksums ----------------------------------------------------------


def test_hours_of_silence_in_few_bytes_are_taken_on_demand_alone():
    silence = sounds.encoded(np.zeros(16_000 * 60, "float32"), "flac", "flac")
    assert len(silence) < 20_000
    with pytest.raises(
        AudioFileError, match=r"more than 30 s of sound in [\d,]+ bytes.*max_seconds"
    ):
        load_audio(silence, max_seconds=30)
    assert len(load_audio(silence, max_seconds=61)) == 16_000 * 60
    assert len(load_audio(silence)) == 16_000 * 60  # a minute is none too many
    noise = np.random.default_rng(0).normal(size=16_000 * 5).astype("float32") / 8
    assert len(load_audio(sounds.encoded(noise, "flac", "flac"), max_seconds=1)) == 16_000 * 5


@pytest.mark.parametrize("rate", [0, 1, 999, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused(rate):
    data = bytearray(sounds.wav(np.zeros(40_000, "float32")))
    data[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(AudioFileError):
        load_audio(bytes(data))


def test_a_codec_that_is_unknown_is_refused_by_name():
    data = bytearray(sounds.wav(sounds.tone(seconds=0.1)))
    data[20:22] = b"\x77\x77"
    with pytest.raises(AudioFileError, match="codec"):
        load_audio(bytes(data), name="x.wav")


def test_a_flipped_bit_in_flac_is_noticed():
    noise = np.random.default_rng(0).normal(size=16_000).astype("float32") / 8
    data = sounds.encoded(noise, "flac", "flac")
    for at in range(len(data) - 20_000, len(data), 1_501):
        damaged = bytearray(data)
        damaged[at] ^= 4
        with pytest.warns(UserWarning, match="is damaged or truncated"):
            load_audio(bytes(damaged))
