"""A runtime computes what Keras computes, whatever is packed together, by the weights of now."""

import keras
import numpy as np
import pytest

from inarch.errors import InputError
from inarch.models import exporting
from inarch.runtime.forward import compiled
from inarch.tasks import (
    MaskedLM,
    QuestionAnswerer,
    Reranker,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
)
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone

TEXTS = ["the cat sat", "a dog ran on the road.", "", "bad", "not very good film!", "mat"] * 3


def text(*special):
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20, *special)


@pytest.fixture
def opened(monkeypatch):
    """A runtime that is Keras itself; the graphs that were made for it, and their calls."""
    made = []

    def open_checked(model, path, format, below):
        assert path.parent.is_dir()
        call, calls = compiled(model), []
        made.append(calls)

        def run(inputs):
            calls.append(inputs["padding_mask"])
            return [keras.ops.convert_to_numpy(call(inputs))]

        return run

    monkeypatch.setattr(exporting, "open_checked", open_checked)
    return made


@pytest.mark.parametrize(
    "answer",
    [
        lambda b, **o: TextEmbedder(b, text(), normalize=True, truncate_dim=5).embed(TEXTS, **o),
        lambda b, **o: TextClassifier(b, 3, text()).classify(TEXTS, None, **o),
        lambda b, **o: TokenClassifier(b, 3, text()).tag(TEXTS, "none", **o),
        lambda b, **o: MaskedLM(b, text(("[MASK]",))).fill_mask(["[MASK] cat", "a [MASK]"], **o),
        lambda b, **o: QuestionAnswerer(b, text()).answer("cat?", ["a cat", "a dog ran"], **o),
        lambda b, **o: Reranker(b, 1, text()).rank("a cat", ["a dog", "cat", "road"], **o),
        lambda b, **o: list(TextEmbedder(b, text()).stream(TEXTS, chunk=7, **o)),
    ],
    ids=["embed", "classify", "tag", "fill_mask", "answer", "rank", "stream"],
)
@pytest.mark.turns(3)
def test_each_verb_answers_by_the_runtime_as_without(answer, opened):
    def numbers(answers):
        return [x for x in keras.tree.flatten(answers) if not isinstance(x, str)]

    keras.utils.set_random_seed(0)  # of the head
    expected = numbers(answer(make_backbone()))
    assert not opened
    keras.utils.set_random_seed(0)
    found = numbers(answer(make_backbone(), runtime="onnx"))
    assert len(opened) == 1
    assert opened[0]
    np.testing.assert_allclose(np.ravel(found), np.ravel(expected), rtol=1e-4, atol=1e-5)


def test_texts_are_packed_for_the_runtime(opened):
    TextEmbedder(make_backbone(), text()).embed(TEXTS, runtime="onnx")
    assert max(mask.max() for mask in opened[0]) > 1


def test_the_graph_is_kept_until_weights_change(opened):
    backbone = make_backbone()
    task, other = TextClassifier(backbone, 3, text()), TextEmbedder(backbone, text())
    task.predict(TEXTS, runtime="onnx")
    task.layers[-1].weights[0].assign(task.layers[-1].weights[0] + 1)  # of the head, by Keras
    task.predict(TEXTS[:2], runtime="onnx")
    other.predict(TEXTS, runtime="onnx")
    assert len(opened) == 1
    kernel = backbone.get_layer("layer_0").weights[0]
    kernel.assign(kernel + 0.1)
    for _ in range(2):
        found = other.predict(TEXTS, runtime="onnx")
        np.testing.assert_allclose(found, other.predict(TEXTS), rtol=1e-4, atol=1e-5)
    assert len(opened) == 2


@pytest.mark.filterwarnings("ignore:Layer .* does not have a .quantize. method")
def test_a_backbone_that_was_quantized_since_is_refused(opened):
    backbone = make_backbone()
    task, other = TextClassifier(backbone, 3, text()), TextEmbedder(backbone, text())
    task.predict(TEXTS, runtime="onnx")
    backbone.quantize("int8")
    for each in (task, other):
        with pytest.raises(
            InputError, match=r"\d+ layers of .* are quantized .*; export the model"
        ):
            each.predict(TEXTS, runtime="onnx")
    assert len(opened) == 1


def test_a_runtime_is_of_one_call(opened):
    task = TextEmbedder(make_backbone(), text())
    task.embed(TEXTS, runtime="onnx")
    calls = len(opened[0])
    task.embed(TEXTS)
    assert len(opened[0]) == calls


def test_what_a_runtime_cannot_do_is_refused(opened):
    task = TextEmbedder(make_backbone(), text())
    with pytest.raises(InputError, match="runtime is 'tensorrt'; known: onnx, openvino"):
        task.embed(TEXTS, runtime="tensorrt")
    arrays = task.padded(task.encode(TEXTS))
    with pytest.raises(InputError, match="x holds prepared arrays"):
        task.predict(arrays, runtime="onnx")
    half = TextEmbedder(make_backbone(dtype="bfloat16"), text())
    with pytest.raises(InputError, match="backbone in bfloat16; load it with dtype='float32'"):
        half.embed(TEXTS, runtime="onnx")


@pytest.mark.reference
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_vectors_are_those_of_keras_whatever_the_neighbours(runtime, tmp_path, monkeypatch):
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    if runtime == "onnx":
        pytest.importorskip("torch")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task = TextEmbedder(make_backbone(), text(), pooling=("cls", "mean"), normalize=True)
    expected = task.embed(TEXTS)
    for batch_size in (1, 32):
        found = task.embed(TEXTS, batch_size=batch_size, runtime=runtime)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    found = task.embed(TEXTS[::-1], runtime=runtime)[::-1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(task.embed(TEXTS[1], runtime=runtime), expected[1], atol=1e-5)
    assert not list(tmp_path.iterdir())
