"""Classification and CTC transcription of sounds: answers, files, training, and bad input."""

import functools
import json

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import inarch
from inarch.checkpoints.formats.files import open_weights
from inarch.errors import (
    CheckpointFileError,
    ConfigError,
    InputError,
    InputTypeError,
    PresetError,
)
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.variables import named_variables, set_value, to_numpy
from inarch.port.tiny_models import randomized, tiny_backbone
from inarch.tasks import (
    AudioClassifier,
    AudioPreprocessor,
    CTCPreprocessor,
    CTCSpeechToText,
    SpeechToText,
    TextClassifier,
)
from inarch.text import CTCTokenizer

pytestmark = pytest.mark.turns(3)

LABELS = ["yes", "no", "stop"]
TOKENIZER = CTCTokenizer.from_texts(["AB C", "DE"])


def sounds(*lengths, seed=0):
    random = np.random.default_rng(seed)
    return [0.1 * random.standard_normal(n).astype("float32") for n in lengths]


def architecture():
    return registry.architectures()["wav2vec2"]


def learner():
    """A backbone with initial weights and no dropout, which learns a few sounds in seconds."""
    rates = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    return architecture().backbone(**architecture().tiny | rates)


def classifier(**options):
    made = AudioClassifier(
        tiny_backbone(architecture()), 3, AudioPreprocessor(), LABELS, projection_dim=7, **options
    )
    return randomized(made)


def transcriber():
    backbone = tiny_backbone(architecture())
    made = CTCSpeechToText(backbone, CTCPreprocessor(TOKENIZER), TOKENIZER.vocabulary_size)
    randomized(made)
    # So that frames differ in their likeliest token.
    for name, variable in named_variables(made).items():
        if name.endswith(("bias", "beta")) or name.startswith("layer_"):
            set_value(variable, to_numpy(variable) * (0.2 if name.endswith("kernel") else 0))
        if name.endswith("gamma"):
            set_value(variable, np.ones(variable.shape))
    return made


@functools.cache
def shared(make):
    """A task that no test changes."""
    return make()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A saved folder of each task, not to be written to."""
    found = {}
    for make in (classifier, transcriber):
        found[make] = tmp_path_factory.mktemp(make.__name__) / "saved"
        shared(make).save_to_preset(found[make])
    return found


# --- the preprocessor --------------------------------------------------------------------------


def test_a_waveform_has_mean_0_and_variance_1_and_none_is_changed_without():
    (sound,) = sounds(500)
    waveform = AudioPreprocessor().waveform(5 * sound + 1)
    assert abs(waveform.mean()) < 1e-5
    assert abs(waveform.var() - 1) < 1e-4
    assert AudioPreprocessor(normalize=False).waveform(sound) is sound
    assert not AudioPreprocessor().waveform(np.zeros(9, "float32")).any()


def test_settings_are_those_of_the_file_or_the_references(tmp_path):
    assert AudioPreprocessor.settings_in(tmp_path) == {"normalize": True}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"do_normalize": False, "sampling_rate": 16000}))
    assert AudioPreprocessor.settings_in(tmp_path) == {"normalize": False}


@pytest.mark.parametrize(("name", "value"), [("sampling_rate", 8000), ("feature_size", 80)])
def test_another_rate_or_width_of_features_is_refused_by_name(tmp_path, name, value):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({name: value}))
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        AudioPreprocessor.settings_in(tmp_path)


# --- answers -----------------------------------------------------------------------------------


def test_a_sounds_logits_do_not_depend_on_the_others():
    task, given = shared(classifier), sounds(150, 333, 90, 1000)
    together = task.predict(given, batch_size=3)
    for sound, row in zip(given, together, strict=True):
        np.testing.assert_allclose(task.predict([sound])[0], row, rtol=1e-4, atol=1e-4)


def test_classes_are_named_best_first_with_scores_that_sum_to_one():
    task, given = shared(classifier), sounds(150, 333)
    logits = task.predict(given)
    for row, answers in zip(logits, task.classify(given, top_k=None), strict=True):
        assert [a["label"] for a in answers] == [LABELS[i] for i in np.argsort(-row)]
        assert sum(a["score"] for a in answers) == pytest.approx(1)
    best = task.classify(given)
    assert [len(answers) for answers in best] == [1, 1]
    assert [*task.stream(iter(given), top_k=2, chunk=2)] == task.classify(given, top_k=2)


def test_a_sound_is_a_file_bytes_or_an_array_of_any_rate(tmp_path):
    import wave

    samples = (8000 * np.sin(np.arange(800) / 7)).astype("int16")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    pytest.importorskip("av")
    path = tmp_path / "a.wav"
    rows = shared(classifier).predict([path, path.read_bytes(), samples])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rows[0], rows[2], rtol=1e-3, atol=1e-3)


def test_transcripts_do_not_depend_on_the_others_and_stream_by_segments():
    task, given = shared(transcriber), sounds(150, 900, 400)
    together = task.predict(given, timestamps="word")
    assert all(len({*t.text}) > 2 for t in together)
    for sound, transcript in zip(given, together, strict=True):
        (alone,) = task.predict([sound], timestamps="word")
        assert alone.text == transcript.text
        assert [s.text for s in task.stream(sound)] == [s.text for s in transcript.segments]
    seen = []
    task.predict(given, on_segment=seen.append)
    assert [s.text for s in seen] == [s.text for t in together for s in t.segments]


def test_a_long_sound_is_transcribed_chunk_by_chunk_to_as_many_frames():
    task, (sound,) = shared(transcriber), sounds(4000)
    (whole,) = task.predict([sound], timestamps="char")
    (parts,) = task.predict([sound], timestamps="char", chunk_seconds=0.06, stride_seconds=0.015)
    assert parts.duration == whole.duration
    assert parts.segments[-1].end <= parts.duration
    last = [t.segments[-1].words[-1].end for t in (whole, parts)]
    assert last[0] == pytest.approx(last[1], abs=0.02)


def test_a_sound_too_short_for_a_frame_has_no_text():
    task = shared(transcriber)
    transcripts = task.predict([np.zeros(0, "float32"), *sounds(3), *sounds(200)])
    assert [t.text for t in transcripts[:2]] == ["", ""]
    assert transcripts[2].duration == pytest.approx(200 / 16000)


# --- files -------------------------------------------------------------------------------------


def test_a_folder_opens_as_the_task_that_it_was_saved_from(folders):
    loaded = inarch.load(folders[classifier])
    assert isinstance(loaded, AudioClassifier)
    assert (loaded.labels, loaded.projection_dim, loaded.fresh_weights) == (LABELS, 7, ())
    given = sounds(150, 333)
    np.testing.assert_array_equal(loaded.predict(given), shared(classifier).predict(given))
    for opened in (
        inarch.load(folders[transcriber]),
        SpeechToText.from_preset(folders[transcriber]),
    ):
        assert isinstance(opened, CTCSpeechToText)
        assert opened.preprocessor.tokenizer.files == TOKENIZER.files
        assert opened.fresh_weights == ()


@pytest.mark.parametrize("make", [classifier, transcriber])
def test_an_export_is_byte_equal_with_all_its_files(make, folders, tmp_path):
    assert inarch.export(folders[make], tmp_path / "copy").same
    for path in folders[make].iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_checkpoints_own_preprocessor_file_is_written_back_unless_it_is_changed(
    folders, tmp_path
):
    folder = tmp_path / "one"
    shared(classifier).save_to_preset(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"do_normalize": False, "mine": 1}))
    task = AudioClassifier.from_preset(folder)
    assert not task.preprocessor.normalize
    task.save_to_preset(tmp_path / "two")
    assert (tmp_path / "two/preprocessor_config.json").read_bytes() == path.read_bytes()
    task.preprocessor = AudioPreprocessor()
    task.save_to_preset(tmp_path / "three")
    written = json.loads((tmp_path / "three/preprocessor_config.json").read_text())
    assert written["do_normalize"] is True


@pytest.mark.parametrize("make", [classifier, transcriber])
def test_keras_files_keep_the_preprocessor(make, tmp_path):
    task, given = shared(make), sounds(150, 333)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert again.preprocessor.get_config() == task.preprocessor.get_config()
    if make is classifier:
        np.testing.assert_array_equal(again.predict(given), task.predict(given))
    else:
        assert [t.text for t in again.predict(given)] == [t.text for t in task.predict(given)]


def test_another_number_of_classes_or_tokens_is_a_fresh_head_with_a_warning(folders):
    with pytest.warns(UserWarning, match="logits"):
        task = AudioClassifier.from_preset(folders[classifier], labels=["a", "b"])
    assert task.num_classes == 2
    assert "logits/kernel" in task.fresh_weights
    tokenizer = CTCTokenizer.from_texts(["xyz", "uvw"])
    with pytest.warns(UserWarning, match="logits"):
        other = SpeechToText.from_preset(
            folders[transcriber], preprocessor=CTCPreprocessor(tokenizer),
            vocabulary_size=tokenizer.vocabulary_size,
        )  # fmt: skip
    assert "logits/kernel" in other.fresh_weights


def test_a_layer_sum_is_the_checkpoints(tmp_path):
    backbone = tiny_backbone(architecture(), layer_outputs=True)
    task = randomized(AudioClassifier(backbone, 3, AudioPreprocessor(), projection_dim=7))
    task.save_to_preset(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["use_weighted_layer_sum"] is True
    again = inarch.load(tmp_path)
    given = sounds(150)
    np.testing.assert_array_equal(again.predict(given), task.predict(given))
    assert Backbone.from_preset(tmp_path).arguments["layer_outputs"]


# --- training ----------------------------------------------------------------------------------


def test_a_classifier_learns_what_it_is_shown():
    keras.utils.set_random_seed(0)
    task = AudioClassifier(learner(), 2, AudioPreprocessor(), ["low", "high"])
    times = np.arange(400) / 16000
    given = [np.sin(2 * np.pi * f * times).astype("float32") for f in (300, 350, 4000, 4200)]
    y = ["low", "low", "high", "high"]
    task.compile(keras.optimizers.Adam(1e-2))
    losses = task.fit(given, y, epochs=12, batch_size=2, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert task.evaluate(given, y, verbose=0)[1] == 1
    assert [a[0]["label"] for a in task.classify(given)] == y


def test_a_transcriber_learns_what_is_said():
    keras.utils.set_random_seed(0)
    size = TOKENIZER.vocabulary_size
    task = CTCSpeechToText(learner(), CTCPreprocessor(TOKENIZER), size, dropout=0.0)
    task.compile(keras.optimizers.Adam(1e-2))
    given, texts = sounds(300, 300, seed=3), ["AB", "C"]
    losses = task.fit(given, texts, epochs=25, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] / 2
    assert task.evaluate(list(zip(given, texts, strict=True)), verbose=0) < losses[0]


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda t: t.predict(sounds(200, 3)), InputError, "sound 1 is 3 samples"),
        (lambda t: t.predict(sounds(200)[0]), InputTypeError, "one sound"),
        (lambda t: t.predict("a.wav"), InputTypeError, "list of files"),
        (lambda t: t.predict(sounds(200), batch_size=0), InputError, "batch_size"),
        (lambda t: t.classify(sounds(200), top_k=0), InputError, "top_k"),
        (lambda t: t.fit(sounds(200, 200), ["yes"]), InputError, "2 sounds and 1"),
        (lambda t: t.fit(sounds(200), ["maybe"]), InputError, "'maybe' of sound 0"),
        (lambda t: t.fit(sounds(200)), InputError, "class for each sound"),
    ],
)
def test_what_cannot_be_classified_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call(shared(classifier))


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda t: t.predict(sounds(200), timestamps="line"), InputError, "timestamps is 'line'"),
        (lambda t: t.predict(sounds(200), chunk_seconds=1, stride_seconds=1), InputError, "stride"),
        (lambda t: t.fit(sounds(200), ["ABCDE" * 9]), InputError, "example 0: its text needs 45"),
        (lambda t: t.fit(sounds(200), [""]), InputError, "example 0: its text is empty"),
        (lambda t: t.fit(sounds(200), [3]), InputError, "example 0"),
    ],
)
def test_what_cannot_be_transcribed_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call(shared(transcriber))


def test_a_tokenizer_of_another_model_or_kind_is_refused(folders):
    with pytest.raises(InputError, match="vocabulary_size"):
        CTCSpeechToText(shared(transcriber).backbone, CTCPreprocessor(TOKENIZER), 3)
    with pytest.raises(InputError, match="no tokenizer"):
        AudioClassifier.from_preset(folders[classifier], tokenizer=folders[transcriber])


def test_a_task_of_texts_says_that_it_cannot_read_sound(folders):
    with pytest.raises(PresetError, match="no head for TextClassifier"):
        TextClassifier.from_preset(folders[classifier])


def test_the_adapters_and_tokens_of_a_language_are_loaded_and_saved_by_themselves(tmp_path):
    """As MMS has them: files of adapters and heads, and vocabularies next to each other."""
    sizes = {"adapter_dim": 3, "normalize_first": True}
    backbone = architecture().backbone(**architecture().tiny | sizes)
    made = randomized(CTCSpeechToText(backbone, None, TOKENIZER.vocabulary_size))
    folder = tmp_path / "mms"
    made.save_to_preset(folder)
    vocabulary = {"eng": TOKENIZER.vocabulary, "fra": {"<pad>": 0, "|": 1, "É": 2}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"target_lang": "eng"}))
    random = np.random.default_rng(3)
    with open_weights(folder) as weights:
        shapes = {name: info.shape for name, info in weights.header.items()}
    of_head = {"lm_head.weight": (3, shapes["lm_head.weight"][1]), "lm_head.bias": (3,)}
    adapter = {
        name: random.standard_normal(of_head.get(name, shape)).astype("float32")
        for name, shape in shapes.items()
        if "adapter_layer" in name or name in of_head
    }
    save_file(adapter, folder / "adapter.fra.safetensors")
    task = SpeechToText.from_preset(folder, language="fra")
    assert (task.fresh_weights, task.vocabulary_size) == ((), 3)
    found = named_variables(task)
    np.testing.assert_array_equal(to_numpy(found["logits/bias"]), adapter["lm_head.bias"])
    name = "encoder.layers.0.adapter_layer.linear_1.weight"
    (theirs,) = (a for n, a in adapter.items() if n.endswith(name))
    np.testing.assert_array_equal(to_numpy(found["adapter_0/up/kernel"]), theirs.T)
    same = to_numpy(found["layer_0/attention/query/kernel"])
    np.testing.assert_array_equal(
        same, to_numpy(named_variables(made)["layer_0/attention/query/kernel"])
    )
    task.save_to_preset(tmp_path / "fra")
    assert json.loads((tmp_path / "fra/config.json").read_text())["vocab_size"] == 3
    again = SpeechToText.from_preset(tmp_path / "fra")
    sound = sounds(900)
    assert [t.text for t in again.predict(sound)] == [t.text for t in task.predict(sound)]
    assert SpeechToText.from_preset(folder).vocabulary_size == TOKENIZER.vocabulary_size
    with pytest.raises(CheckpointFileError, match="has no adapter.deu.safetensors.*of fra"):
        SpeechToText.from_preset(folder, language="deu")
