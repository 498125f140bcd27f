"""Laws of copies in low precision: what they cost is measured, and nothing is lost silently."""

import warnings

import keras
import numpy as np
import pytest

from inarch.answers.answer_changes import class_changes, vector_changes
from inarch.errors import InputError, InputTypeError
from inarch.runtime import precision as kernels
from inarch.tasks import QuestionAnswerer, TextClassifier, TextEmbedder
from inarch.verify.layer_noise import layer_noise

from .conftest import TEXTS, make_backbone, weights_of

BACKEND = keras.backend.backend()
SAMPLE = [text for text in TEXTS if text]


@pytest.fixture(scope="module")
def embedder():
    from inarch.tasks import TextPreprocessor
    from inarch.text import WordPieceTokenizer

    from .conftest import VOCABULARY

    return TextEmbedder(make_backbone(), TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20))


@pytest.fixture
def all_kernels(monkeypatch):
    monkeypatch.setattr("inarch.tasks.precision.check_kernels", lambda *given: None)


@pytest.fixture(scope="module")
def low(embedder):
    patch = pytest.MonkeyPatch()
    patch.setattr("inarch.tasks.precision.check_kernels", lambda *given: None)
    yield embedder.to_precision("int8", SAMPLE, verbose=False)
    patch.undo()


def test_int8_costs_what_the_report_says(embedder, low):
    task, report = low
    before, after = (model.predict(SAMPLE) for model in (embedder, task))
    assert report.answers == pytest.approx(vector_changes(before, after), rel=1e-3)
    assert 0 < report.answers["largest cosine error"] < 0.1
    noise = {found.layer: found for found in report.layers}
    dense = noise["layer_0/feed_forward/up"]
    assert min(dense.ratio, dense.local_ratio) > 100
    assert 1e-4 < dense.relative_rms < 0.1
    # Before the first product nothing is lost.
    assert noise["embeddings_norm"].ratio < 2
    assert report.layers[-1].layer == ""
    assert report.layers[-1].ratio > 100


def test_the_task_itself_stays_in_float32(embedder, low):
    before = embedder.predict(SAMPLE)
    assert all(weight.dtype == "float32" for weight in embedder.weights)
    np.testing.assert_array_equal(embedder.predict(SAMPLE), before)
    assert any(weight.dtype == "int8" for weight in low[0].weights)


@pytest.mark.turns(3)
def test_the_report_is_printed_unless_asked_otherwise(embedder, all_kernels, capsys):
    _, report = embedder.to_precision("bfloat16", SAMPLE[:2])
    printed = capsys.readouterr().out
    assert printed == f"{report}\n"
    for part in ("bfloat16", "layer_0", "noise ratio", "largest cosine error"):
        assert part in printed


def test_no_vector_in_int8_depends_on_its_neighbours(low):
    together = low[0].embed(SAMPLE)
    alone = np.stack([low[0].embed(text) for text in SAMPLE])
    # An ulp may move an activation over the edge of a step, and so the vector by a step of one.
    np.testing.assert_allclose(together, alone, atol=0.02)


@pytest.mark.turns(3)
def test_low_rank_updates_count_in_the_copy(embedder, all_kernels, capsys):
    clone = keras.models.clone_model(embedder)
    clone.set_weights(weights_of(embedder))
    clone.enable_lora(2)
    for weight in clone.weights:
        if weight.name == "lora_kernel_b":
            weight.assign(np.ones(weight.shape))
    _, report = clone.to_precision("bfloat16", SAMPLE[:2], verbose=False)
    assert report.answers["largest cosine error"] < 0.05
    assert capsys.readouterr().out == ""


@pytest.mark.turns(3)
def test_a_file_of_keras_keeps_int8_and_a_preset_folder_refuses(low, tmp_path):
    task, _ = low
    task.save(tmp_path / "low.keras")
    again = keras.saving.load_model(tmp_path / "low.keras")
    np.testing.assert_array_equal(again.predict(SAMPLE), task.predict(SAMPLE))
    with pytest.raises(InputError, match="are quantized"):
        task.save_to_preset(tmp_path / "folder")


@pytest.mark.turns(3)
def test_rounded_weights_are_not_written_as_float32_silently(embedder, all_kernels, tmp_path):
    embedder.save_to_preset(tmp_path / "whole")
    whole = TextEmbedder.from_preset(tmp_path / "whole")
    rounded, _ = whole.to_precision("bfloat16", SAMPLE[:1], verbose=False)
    with pytest.warns(UserWarning, match="holds its weights in bfloat16, and writes .* as float32"):
        rounded.save_to_preset(tmp_path / "rounded")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        whole.save_to_preset(tmp_path / "again")


@pytest.mark.parametrize("format", ["onnx", "openvino", "saved_model"])
def test_integers_are_not_exported(low, format, tmp_path):
    with pytest.raises(InputError, match="are quantized .* which isn't exported; export the"):
        low[0].export(tmp_path / "low", format=format)
    assert not (tmp_path / "low").exists()


def test_integers_are_not_trained_without_updates(low):
    with pytest.raises(InputError, match=r"hold integers.*enable_lora"):
        low[0].fit([(text, text) for text in SAMPLE], epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("precision", "sample", "error", "named"),
    [
        ("int4", SAMPLE, InputError, "precision is 'int4'; give one of int8, bfloat16, float16"),
        ("int8", [], InputError, "sample is empty"),
        ("int8", "a text", InputTypeError, "sample is 'a text'"),
    ],
)
def test_bad_arguments_are_named(embedder, all_kernels, precision, sample, error, named):
    with pytest.raises(error, match=named):
        embedder.to_precision(precision, sample)


def test_only_float32_is_lowered(low, all_kernels):
    with pytest.raises(InputError, match="are quantized"):
        low[0].to_precision("int8", SAMPLE)
    half = TextEmbedder(make_backbone(dtype="bfloat16"), low[0].preprocessor)
    with pytest.raises(InputError, match="dtype policy is bfloat16"):
        half.to_precision("int8", SAMPLE)


@pytest.mark.parametrize("device", ["cpu", "gpu", "mps"])
@pytest.mark.parametrize("precision", ["int8", "bfloat16", "float16"])
def test_a_precision_without_kernels_is_refused_with_a_way_out(
    monkeypatch, precision, device, embedder
):
    variable = embedder.weights[0]
    assert kernels._device(variable.value, BACKEND) == "cpu"
    monkeypatch.setattr(kernels, "_device", lambda *given: device)
    monkeypatch.setattr(kernels, "_has_instructions", lambda precision: precision == "bfloat16")
    fits = {"int8": (BACKEND, device) == ("torch", "cpu"), "float16": device != "cpu"}
    if fits.get(precision, device != "cpu" or BACKEND == "torch"):
        kernels.check_kernels(precision, variable)
        return
    with pytest.raises(InputError, match=f"'{precision}', and {BACKEND} .* {device}; use .*torch"):
        kernels.check_kernels(precision, variable)


def test_changes_of_classes_are_counted_by_label_and_probability():
    before = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    after = np.array([[1.0, 2.0], [0.0, 1.0], [9.0, 0.0]])  # the last stands for no token
    change = 1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1))
    found = class_changes(before, after)
    assert found["share of changed labels"] == 0.5
    assert found["largest change of a probability"] == pytest.approx(change)
    several = class_changes(np.array([[1.0, -1.0]]), np.array([[1.0, 1.0]]), independent=True)
    assert several["share of changed labels"] == 0.5
    assert several["largest change of a probability"] == pytest.approx(change)
    assert class_changes(before[:, :1], after[:, :1]) == {"largest change of a score": 9.0}


def test_a_vector_that_vanishes_is_wrong_altogether():
    one = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = vector_changes(one, np.array([[0.0, 0.0], [5.0, 1.0], [2.0, 2.0]]))
    assert found == pytest.approx({"largest cosine error": 1.0, "mean cosine error": 0.5})


def test_each_task_measures_its_own_answers(embedder):
    parts = make_backbone(), embedder.preprocessor
    answerer = QuestionAnswerer(*parts)
    logits = np.array([[[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]])
    moved = logits[:, [1, 0, 2]]
    assert answerer.answer_changes(logits, moved)["share of changed labels"] == 1
    assert answerer.answer_changes(logits, logits)["share of changed labels"] == 0
    several = TextClassifier(parts[0], 2, parts[1], problem_type="multi_label_classification")
    rows = np.array([[1.0, 3.0]]), np.array([[2.0, 1.0]])
    assert several.answer_changes(*rows)["share of changed labels"] == 0


def test_noise_is_none_where_nothing_is_lowered(embedder):
    inputs = [embedder.padded(embedder.encode(SAMPLE[:2]))]
    assert {x.ratio for x in layer_noise(embedder, embedder, embedder, inputs)} == {0.0}
