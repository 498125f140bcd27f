"""Mistaken inputs of sound, from Python and on the command line: one clear line, or a result."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.errors import AudioFileError, InarchError, InputError, InputTypeError, PresetError
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import SpeechToText

from ..audio import sounds
from ..speech.tiny_whisper import ENGLISH, make_task, make_tokenizer, noise, shared_task

pytestmark = pytest.mark.turns(3)

pytest.importorskip("av")
encoded, wav = sounds.encoded, sounds.wav

QUICK = {"temperature": 0.0, "language": "en"}
LOUD = noise(2)


def with_nan():
    samples = LOUD.copy()
    samples[7] = np.nan
    return encoded(samples, "wav", "pcm_f32le")


def truncated():
    data = encoded(noise(3 * 44_100 / 16_000), "mp3", "mp3", 44_100)
    return data[: len(data) // 2]


REFUSED = {
    "words.wav": (lambda: b"These are words.\n" * 50, "words.wav can't be decoded"),
    "empty.wav": (lambda: b"", "empty.wav can't be decoded"),
    "film.mp4": (sounds.silent_film, "film.mp4 .* has no stream of sound"),
    "nan.wav": (with_nan, "nan.wav has 1 samples that are NaN"),
}
ACCEPTED = {
    "one.wav": lambda: wav(np.ones(1)),
    "telephone.wav": lambda: encoded(noise(1), "wav", "pcm_mulaw", 8_000),
    "six.wav": lambda: wav(np.stack([LOUD] * 6, axis=1)),
    "half.mp3": truncated,
}


@pytest.fixture(scope="module")
def task():
    return shared_task()


@pytest.fixture
def run(task, monkeypatch):
    """Run `inarch transcribe`; any preset is the tiny task's."""
    monkeypatch.setattr(SpeechToText, "from_preset", lambda preset, **_: task)
    return transcribe


def transcribe(*arguments):
    given = [str(a) for a in arguments]
    quick = ["--beam-size", "None", "--temperature-increment-on-fallback", "None"]
    return CliRunner().invoke(app, ["transcribe", *given, "--language", "en", *quick])


def refused(result, message):
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("inarch: ")
    assert message in line, line
    return True


# --- sounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_is_refused_by_name(name, task, run, tmp_path):
    make, message = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises((AudioFileError, InputError), match=message):
        task.predict([path], **QUICK)
    (tmp_path / "out").mkdir()
    assert refused(run(path, "-m", "m", "-o", tmp_path / "out"), name)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_sounds_are_transcribed(name, task, run, tmp_path):
    path = tmp_path / name
    path.write_bytes(ACCEPTED[name]())
    result = run(path, "-m", "m", "-f", "json")
    assert result.exit_code == 0, result.stderr
    warned = "truncated" in result.stderr
    assert warned == (name == "half.mp3")
    assert len(result.stderr.splitlines()) == warned
    assert '"segments"' in result.stdout


def test_an_hour_of_silence_in_a_file_has_no_text(run, tmp_path):
    path = tmp_path / "silence.wav"
    hour = wav(np.zeros(0), 8_000) + bytes(2 * 3600 * 8_000)
    size = len(hour)
    path.write_bytes(
        hour[:4] + (size - 8).to_bytes(4, "little") + hour[8:40]
        + (size - 44).to_bytes(4, "little") + hour[44:]
    )  # fmt: skip
    result = run(path, "-m", "m")
    assert (result.exit_code, result.stdout.strip(), result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "array", [LOUD.astype("f8"), np.round(20_000 * LOUD).astype("i2"), np.stack([LOUD] * 2, 1)]
)
def test_arrays_of_any_dtype_and_shape_of_sound_are_transcribed(task, array):
    (found,) = task.predict([array], **QUICK)
    assert round(found.duration) == 2
    (other,) = task.predict([array], sample_rate=32_000, **QUICK)
    assert round(other.duration) == 1


@pytest.mark.parametrize(
    ("array", "rate", "error", "message"),
    [
        (np.stack([LOUD] * 2), None, InputError, "more channels than samples"),
        (LOUD[None, None], None, InputError, "shape"),
        (LOUD.astype("i8"), None, InputTypeError, "int64"),
        (32768 * LOUD, None, InputError, "32768"),
        (LOUD, 0, InputError, "sample_rate=0"),
        (LOUD, -16_000, InputError, "sample_rate=-16000"),
        (LOUD, "16000", InputTypeError, "sample_rate is a str"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(task, array, rate, error, message):
    with pytest.raises(error, match=message):
        task.predict([array], sample_rate=rate, **QUICK)


# --- options and models --------------------------------------------------------------------------


def test_an_unknown_language_is_refused(run, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    result = run(tmp_path / "a.wav", "-m", "m", "--language", "klingon")
    # Of an option that is given twice the last counts.
    assert result.exit_code == 0
    given = ["transcribe", str(tmp_path / "a.wav"), "-m", "m", "--language", "klingon"]
    assert refused(CliRunner().invoke(app, given), "klingon")


@pytest.mark.parametrize("options", [{"task": "translate"}, {"language": "de"}])
def test_an_english_only_model_neither_translates_nor_has_languages(options, tmp_path, monkeypatch):
    english = make_task(make_tokenizer(ENGLISH))
    with pytest.raises(InputError, match="English-only"):
        english.predict([LOUD], temperature=0.0, **options)
    with pytest.raises(InputError, match="English-only"):
        english.detect_language([LOUD])
    monkeypatch.setattr(SpeechToText, "from_preset", lambda preset, **_: english)
    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    ((name, value),) = options.items()
    given = ["transcribe", str(tmp_path / "a.wav"), "-m", "m", f"--{name}", value]
    assert refused(CliRunner().invoke(app, given), "English-only")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that hold no Whisper."""
    root = tmp_path_factory.mktemp("folders")
    (root / "holiday").mkdir()
    (root / "holiday" / "beach.txt").write_text("sun")
    BertBackbone(20, 1, 2, 8, 12, max_sequence_length=16).save_to_preset(root / "bert")
    return root


@pytest.mark.parametrize(
    ("name", "message"),
    [("holiday", "config.json"), ("bert", "SpeechToText"), ("nowhere", "nowhere")],
)
def test_what_is_no_whisper_is_refused_by_name(name, message, folders, tmp_path):
    with pytest.raises(InarchError, match=message) as caught:
        SpeechToText.from_preset(folders / name)
    assert name != "bert" or isinstance(caught.value, PresetError)
    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    assert refused(transcribe(tmp_path / "a.wav", "-m", folders / name), message)


# --- files ---------------------------------------------------------------------------------------


def test_of_several_files_a_missing_one_is_reported_and_the_others_are_transcribed(run, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    out = tmp_path / "out"
    result = run(tmp_path / "b.wav", tmp_path / "a.wav", "-m", "m", "-o", out)
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert "b.wav can't be read: there is no such file" in first
    assert "1 of 2 not transcribed" in last
    assert [path.name for path in out.iterdir()] == ["a.txt"]
    assert "-->" in result.stdout


@pytest.mark.parametrize("together", [(), ("--batch-size", "4")])
def test_each_damaged_file_is_reported_on_a_line_and_the_others_are_transcribed(
    together, run, tmp_path
):
    contents = {"a.wav": wav(LOUD), "b.wav": b"", "c.wav": wav(LOUD), "d.wav": with_nan()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    out.mkdir()
    files = [tmp_path / name for name in contents]
    result = run(*files, "-m", "m", "-o", out, "--no-verbose", *together)
    assert (result.exit_code, result.stdout) == (1, "")
    first, second, last = result.stderr.splitlines()
    assert last == f"inarch: 2 of 4 not transcribed: {files[1]}, {files[3]}"
    assert re.match(r"inarch: .*b\.wav can't be decoded", first)
    assert re.match(r"inarch: .*d\.wav has 1 samples that are NaN", second)
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "c.txt"]
    assert (out / "a.txt").read_text().endswith("\n")


def test_what_is_not_about_one_file_ends_the_run_at_once(run, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(LOUD))
    given = ["transcribe", str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), "-m", "m"]
    assert refused(CliRunner().invoke(app, [*given, "--language", "klingon"]), "klingon")


def test_a_folder_in_place_of_a_file_is_reported_as_one(run, tmp_path):
    assert refused(run(tmp_path, "-m", "m"), f"{tmp_path} is a folder; give files")


@pytest.mark.parametrize("kind", ["file", "taken"])
def test_an_output_that_cannot_be_written_is_reported_before_any_work(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(
        SpeechToText, "from_preset", lambda preset, **_: pytest.fail("it was loaded")
    )
    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    if kind == "taken":
        (out / "a.txt").mkdir(parents=True)
    assert refused(transcribe(tmp_path / "a.wav", "-m", "m", "-o", out), "out")
    assert kind != "file" or out.read_text() == "mine"


def test_a_disk_that_fills_up_leaves_nothing_half_written(run, tmp_path, monkeypatch):
    def full(self, *rest, **others):
        self.write_bytes(b"ha")
        raise OSError(28, "No space left on device")

    (tmp_path / "a.wav").write_bytes(wav(LOUD))
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(Path, "write_text", full)
    assert refused(run(tmp_path / "a.wav", "-m", "m", "-o", out, "--no-verbose"), "No space left")
    assert not list(out.iterdir())
