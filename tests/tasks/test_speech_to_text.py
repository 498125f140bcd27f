"""`SpeechToText` as a task: sounds in, transcripts out, trained, saved and loaded."""

import io
import json

import keras
import numpy as np
import pytest

from inarch.errors import CheckpointFileError, InarchError, InputError, InputTypeError
from inarch.speech import Transcript
from inarch.tasks import SpeechToText
from inarch.tasks.raw_data import split_validation

from ..speech.tiny_whisper import make_task, make_tokenizer, noise, shared_task

pytestmark = pytest.mark.turns(3)

QUICK = {"temperature": 0.0, "max_tokens": 6, "language": "en"}


@pytest.fixture(scope="module")
def task():
    return shared_task()


@pytest.fixture
def tokenizer():
    return make_tokenizer()


def test_transcripts_keep_the_callers_order_and_are_repeatable(task):
    sounds = [noise(2, 1), np.zeros(16000, np.float32), noise(1, 2)]
    first = task.predict(sounds, **QUICK)
    second = task.predict(sounds[::-1], **QUICK)[::-1]
    assert [t.to_json() for t in first] == [t.to_json() for t in second]
    assert [round(t.duration) for t in first] == [2, 1, 1]
    assert first[1].segments == []


def test_segments_stream_as_they_are_predicted(task):
    (found,) = task.predict([noise(35)], **QUICK)
    assert [s.to_json() for s in task.stream(noise(35), **QUICK)] == found.to_json()["segments"]
    assert found.segments


def test_a_batch_gives_the_transcript_of_each_window_alone(task):
    sounds = [noise(3, i) for i in range(3)]
    alone = [task.predict([s], batched=True, timestamps="segment", **QUICK)[0] for s in sounds]
    many = task.predict(sounds, 2, batched=True, timestamps="segment", **QUICK)
    assert [s.tokens for t in alone for s in t.segments] == [
        s.tokens for t in many for s in t.segments
    ]


def test_words_are_timed(task):
    (found,) = task.predict([noise(3)], timestamps="word", **QUICK)
    assert all(s.words is not None for s in found.segments)


def test_languages_are_detected_with_their_probabilities(task):
    (found,) = task.detect_language([noise(2)])
    assert set(found) == {"en", "zh", "de"}
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    (transcript,) = task.predict([noise(2)], temperature=0.0, max_tokens=4)
    assert transcript.language == next(iter(found))


def test_an_hour_of_silence_has_no_text_and_is_quick(task):
    silence = np.zeros(3600 * 16000, np.float32)
    for batched in (False, True):
        (found,) = task.predict([silence], batched=batched, language="en")
        assert str(found) == ""


@pytest.mark.parametrize("length", [0, 1, 100, 399])
def test_the_shortest_sounds_have_some_text_or_none_without_an_error(task, length):
    (found,) = task.predict([noise(1)[:length]], **QUICK)
    assert isinstance(found, Transcript)


def test_no_sounds_have_no_transcripts(task):
    assert task.predict([]) == []
    assert task.predict([], batched=True) == []
    assert task.detect_language([]) == []


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        ([np.full(160, np.nan, np.float32)], {}, InputError, "sound 0"),
        (["/nowhere.wav"], {}, InarchError, "nowhere"),
        ([b"not sound"], {}, InarchError, "sound 0"),
        ([7], {}, InputTypeError, "int"),
        ("a.wav", {}, InputTypeError, "list"),
        (noise(1), {}, InputTypeError, "list"),
        ([noise(1)], {"language": "klingon"}, InputError, "klingon"),
        ([noise(1)], {"language": "fr"}, InputError, "fr"),
        ([noise(1)], {"task": "sing"}, InputError, "sing"),
        ([noise(1)], {"timestamps": "letter"}, InputError, "letter"),
        ([noise(1)], {"beams": 3}, InputError, "beams"),
        ([noise(1)], {"hallucination_silence_threshold": 1}, InputError, "word"),
    ],
)
def test_unusable_sound_is_refused_by_name(task, x, options, error, message):
    if isinstance(x[0], bytes):
        pytest.importorskip("av")
    with pytest.raises(error, match=message):
        task.predict(x, **options)


CLIPS = r"a list of clips \(start, end\)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_size": 2.5}, InputTypeError, "beam_size is 2.5; .* a whole number, at least 1"),
        ({"beam_size": "a"}, InputTypeError, "beam_size is 'a'"),
        ({"beam_size": True}, InputTypeError, "beam_size is True"),
        ({"initial_prompt": 5}, InputTypeError, "initial_prompt is 5; it must be text, or None"),
        ({"temperature": "hot"}, InputTypeError, "temperature is 'hot'; it must be a number"),
        ({"temperature": [0, np.nan]}, InputError, "temperature is nan; it must be a number"),
        ({"temperature": ()}, InputError, "temperature is empty"),
        ({"temperature": None}, InputTypeError, "temperature is None"),
        ({"no_speech_threshold": "x"}, InputTypeError, "no_speech_threshold is 'x'"),
        ({"clips": "0,1"}, InputTypeError, f"clips is '0,1'; it must be {CLIPS}"),
        ({"clips": [(0, 1), (0.5,)]}, InputError, CLIPS),
        ({"clips": [0, 20]}, InputError, CLIPS),
        ({"clips": [(-1, 2)]}, InputError, CLIPS),
        ({"clips": [(0, np.nan)]}, InputError, CLIPS),
        ({"language": ["en"]}, InputError, "language is \\['en'\\]"),
        ({"task": ["translate"]}, InputTypeError, "task is"),
        ({"batched": "yes"}, InputTypeError, "batched is 'yes'; it must be True or False"),
        ({"batch_size": "a"}, InputTypeError, "batch_size is 'a'"),
        ({"batch_size": 0, "batched": True}, InputError, "batch_size is 0"),
    ],
)
def test_an_unusable_option_is_reported_with_its_value_and_the_valid_ones(
    task, options, error, message
):
    with pytest.raises(error, match=message):
        task.predict([noise(1)], **options)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": np.float32(0), "beam_size": np.int64(1)},
        {"temperature": 0, "no_speech_threshold": None, "logprob_threshold": -np.inf},
        {"temperature": np.zeros(1), "clips": [[0, 0.5], (np.float32(0.5), None)]},
    ],
)
def test_numbers_of_any_make_are_taken(task, options):
    assert len(task.predict([noise(1)], language="en", max_tokens=2, **options)) == 1


def test_a_closed_file_is_refused_by_name(task):
    file = io.BytesIO(b"sound")
    file.close()
    with pytest.raises(InputError, match="sound 0 is a closed file"):
        task.predict([file])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"language": "zz"}, "language is 'zz'"), ({"task": "x"}, "task is 'x'")],
)
def test_what_training_could_not_use_is_refused_when_the_task_is_made(
    task, tmp_path, options, message
):
    task.save_to_preset(tmp_path / "saved")
    with pytest.raises(InputError, match=message):
        SpeechToText.from_preset(tmp_path / "saved", **options)


def test_without_a_preprocessor_there_are_logits_alone(task):
    bare = SpeechToText(task.backbone)
    inputs = {
        "encoder_features": np.zeros((1, 3000, 4), np.float32),
        "decoder_token_ids": np.ones((1, 5), np.int32),
        "decoder_padding_mask": np.ones((1, 5), np.int32),
    }
    assert bare.predict(inputs).shape == (1, 5, task.backbone.arguments["vocabulary_size"])
    with pytest.raises(InputError, match="preprocessor"):
        bare.detect_language([noise(1)])


# --- training ------------------------------------------------------------------------------------


def test_training_teaches_the_transcript(tokenizer):
    task = make_task(tokenizer, language="en")
    task.compile(optimizer=keras.optimizers.Adam(0.03))
    sounds, texts = [noise(1, 1), noise(1, 2)], ["ab", "abba"]
    losses = task.fit(sounds, texts, epochs=3, batch_size=2, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", ["arrays", "paths", "strings", "bytes", "pairs"])
def test_the_last_sounds_are_split_off_for_validation(kind, tokenizer, tmp_path):
    task = make_task(tokenizer, language="en")
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    sounds = {
        "arrays": [noise(1, i) for i in range(4)],
        "paths": paths,
        "strings": [*map(str, paths)],
        "bytes": [b"0", b"1", b"2", b"3"],
        "pairs": [(path, "a") for path in paths],
    }
    x, y = sounds[kind], None if kind == "pairs" else ["a", "b", "c", "d"]
    data, kept, texts, _ = split_validation(task, x, y, None, {"validation_split": 0.25})
    assert all(a is b for a, b in zip(kept, x[:3], strict=True))
    assert texts == (y and y[:3])
    assert len(data) == 1


def test_validation_losses_are_of_the_last_sounds(tokenizer):
    task = make_task(tokenizer, language="en")
    sounds, texts = [noise(1, i) for i in range(3)], ["ab", "ba", "abba"]
    task.compile(optimizer=keras.optimizers.SGD(0.0))
    history = task.fit(sounds, texts, validation_split=0.3, verbose=0).history
    apart = task.evaluate(sounds[2:], texts[2:], return_dict=True, verbose=0)
    assert history["val_loss"] == pytest.approx([apart["loss"]], rel=1e-5)
    with pytest.raises(InputError, match="validation_split=0.99 of 3 sounds leaves"):
        task.fit(sounds, texts, validation_split=0.99)
    with pytest.raises(InputError, match="3 sounds and 2 targets"):
        task.fit(sounds, texts[:2], validation_split=0.5)
    with pytest.raises(InputError, match="a list of sounds; give validation_data"):
        task.fit(iter(sounds), validation_split=0.5)


def test_labels_are_shifted_and_padding_weighs_nothing(task, tokenizer):
    made = make_task(tokenizer, language="de").collate([noise(1)] * 2, ["ab", "c"], None)
    x, y, weight = made(np.arange(2), np.random.default_rng(0))
    start = tokenizer.start_sequence("de", timestamps=False)
    ids = [*start, *tokenizer.encode("ab").ids, tokenizer.end_of_text]
    assert x["decoder_token_ids"][0, : len(ids) - 1].tolist() == ids[:-1]
    assert y[0, : len(ids) - 1].tolist() == ids[1:]
    assert weight.sum(axis=1).tolist() == [len(ids) - 1, len(ids) - 2]
    assert x["encoder_features"].shape == (2, 3000, 4)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([noise(1)], None, "example 0"),
        ([noise(1)], ["a", "b"], "1 sounds and 2 texts"),
        ([noise(31)], ["a"], "31.0 s"),
        ([noise(1)], ["a" * 100], "example 0.*40 positions"),
        ([], [], "no sounds"),
    ],
)
def test_examples_that_teach_nothing_are_refused(tokenizer, x, y, message):
    with pytest.raises(InputError, match=message):
        make_task(tokenizer, language="en").fit(x, y, verbose=0)


def test_nothing_to_train_on_is_refused(task):
    with pytest.raises(InputTypeError, match="x is None; give sounds, prepared arrays"):
        task.fit(None)
    with pytest.raises(InputError, match="batch_size is 'a'"):
        task.fit([noise(1)], ["a"], batch_size="a")


# --- files ---------------------------------------------------------------------------------------


def test_a_saved_task_gives_the_same_transcript(task, tmp_path):
    task.save_to_preset(tmp_path / "a")
    loaded = SpeechToText.from_preset(tmp_path / "a")
    sounds = [noise(2)]
    assert [t.to_json() for t in loaded.predict(sounds, **QUICK)] == [
        t.to_json() for t in task.predict(sounds, **QUICK)
    ]
    written = json.loads((tmp_path / "a" / "generation_config.json").read_text())
    assert written["lang_to_id"] == {
        f"<|{c}|>": i for c, i in loaded.preprocessor.tokenizer.languages.items()
    }
    loaded.save_to_preset(tmp_path / "b")
    for name in ("generation_config.json", "preprocessor_config.json", "tokenizer.json"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_what_is_changed_of_generating_is_saved(task, tmp_path):
    task.save_to_preset(tmp_path / "a")
    path = tmp_path / "a" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"suppress_tokens": [5]}))
    loaded = SpeechToText.from_preset(tmp_path / "a")
    assert loaded.generation["suppress_tokens"] == [5]
    loaded.generation["suppress_tokens"] = [7]
    loaded.save_to_preset(tmp_path / "b")
    written = json.loads((tmp_path / "b" / "generation_config.json").read_text())
    assert written == loaded.generation


def test_tokens_that_generation_config_suppresses_are_never_decoded(task):
    (before,) = task.predict([noise(2)], **QUICK)
    generated = {t for t in before.segments[0].tokens if t < 256}
    changed = SpeechToText(
        task.backbone, task.preprocessor, generation={"suppress_tokens": sorted(generated)}
    )
    (after,) = changed.predict([noise(2)], **QUICK)
    assert generated
    assert not generated & {t for s in after.segments for t in s.tokens}


def test_a_keras_file_keeps_the_task(task, tmp_path):
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert loaded.preprocessor.get_config() == task.preprocessor.get_config()
    for ours, theirs in zip(loaded.variables, task.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_tokenizer_may_be_another_folders(task, tmp_path):
    task.save_to_preset(tmp_path / "whole")
    task.backbone.save_to_preset(tmp_path / "bare")
    with pytest.raises(CheckpointFileError, match="tokenizer="):
        SpeechToText.from_preset(tmp_path / "bare")
    for argument in ("tokenizer", "preprocessor"):
        given = {argument: str(tmp_path / "whole")}
        loaded = SpeechToText.from_preset(tmp_path / "bare", **given)
        assert loaded.preprocessor.get_config() == task.preprocessor.get_config()


def test_a_folder_without_tokenizer_is_refused(task, tmp_path):
    task.backbone.save_to_preset(tmp_path / "a")
    with pytest.raises(CheckpointFileError, match="tokenizer"):
        SpeechToText.from_preset(tmp_path / "a")


@pytest.mark.filterwarnings("ignore:.*(quantize|quantization_mode)")
@pytest.mark.turns(1)  # torch does more
def test_what_is_changed_on_layers_after_a_transcription_counts_in_the_next(tokenizer):
    """LoRA and quantization bring other variables than the programs were compiled for."""
    sound = noise(2)
    task = make_task(tokenizer)

    def tokens(model):
        return [s.tokens for s in model.predict([sound], **QUICK)[0].segments]

    before = tokens(task)
    dense = task.backbone.get_layer("decoder_layer_0").attention.value_dense
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.full(dense.lora_kernel_b.shape, 9.0))
    updated = tokens(task)
    assert updated != before
    if keras.backend.backend() != "torch":
        return  # each further model is compiled for some ten seconds
    clone = keras.models.clone_model(task)
    clone.set_weights([keras.ops.convert_to_numpy(w) for w in task.weights])
    assert tokens(clone) == updated
    task.quantize("int8")
    fresh = SpeechToText(task.backbone, task.preprocessor)
    assert tokens(task) == tokens(fresh)
