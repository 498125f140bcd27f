"""A predictor of batches adds a column of answers to what it is given, in any process."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from inarch import (
    BatchPredictor,
    MultiVectorEmbedder,
    MultiVectorPreprocessor,
    QuestionAnswerer,
    Reranker,
    TextClassifier,
    TextEmbedder,
)
from inarch.errors import InputError, InputTypeError
from tests.conformance.models import ARCHITECTURES, letters, tiny

TEXTS = ["a b", "c d e", "f"]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    bert, folder = ARCHITECTURES["bert"], tmp_path_factory.mktemp("embedder")
    TextEmbedder(tiny(bert), preprocessor=letters(bert)).save_to_preset(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(preset):
    return BatchPredictor(preset, output_column="vector", error_column="error", batch_size=8)


@pytest.fixture(scope="module")
def vectors(preset):
    return TextEmbedder.from_preset(preset).embed(TEXTS)


def test_columns_tables_and_record_batches_stay_what_they_are(predictor, vectors):
    columns = {"text": TEXTS, "id": [1, 2, 3]}
    table = pa.table(columns)
    given = [columns, table, table.to_batches()[0]]
    for batch, found in zip(given, predictor.map(given), strict=True):
        assert type(found) is type(batch)
        if batch is not columns:
            assert found.schema.names == ["text", "id", "vector", "error"]
            found = found.to_pydict()
        assert list(found) == ["text", "id", "vector", "error"]
        np.testing.assert_allclose(np.stack(found["vector"]), vectors, rtol=1e-4, atol=1e-6)
    found = predictor(table)
    assert found.schema.field("error").type == pa.string()
    assert found.schema.field("vector").type == pa.list_(pa.float32())


def test_what_is_pickled_is_the_arguments_and_loads_when_it_is_called(predictor, vectors):
    assert predictor.task is predictor.task
    data = pickle.dumps(predictor)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert "task" not in vars(again)
    np.testing.assert_allclose(again({"text": TEXTS})["vector"], vectors, rtol=1e-4, atol=1e-6)
    assert pickle.loads(data).task is pickle.loads(pickle.dumps(again)).task is again.task
    assert again.task is not predictor.task


def test_a_text_without_answer_is_nan_among_arrays_of_numbers(predictor, vectors):
    found = predictor({"text": ["a b", None, "f"]})
    assert found["vector"].dtype == np.float32
    np.testing.assert_array_equal(found["vector"][1], [np.nan] * vectors.shape[1])
    np.testing.assert_allclose(found["vector"][::2], vectors[::2], rtol=1e-4, atol=1e-6)
    assert found["error"][0] is None


@pytest.mark.parametrize("texts", [[None, None], [None], []], ids=["all", "one", "empty"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_batch_without_answers_has_the_types_of_the_others(preset, predictor, texts, fresh):
    whole = predictor(pa.table({"text": TEXTS}))
    given = pa.table({"text": pa.array(texts, pa.string())})
    one = BatchPredictor(preset, output_column="vector", error_column="error")
    found = (one if fresh else predictor)(given)
    assert found.schema == whole.schema
    assert found["vector"].null_count == len(texts)
    assert all("missing value" in error for error in found["error"].to_pylist())
    array = one({"text": texts})["vector"]
    assert array.shape == (len(texts), len(whole["vector"][0]))
    assert array.dtype == np.float32


def test_vectors_of_tokens_scores_and_classes_keep_their_types(tmp_path):
    bert = ARCHITECTURES["bert"]
    text = letters(bert).tokenizer
    tasks = {
        "vectors": MultiVectorEmbedder(tiny(bert), MultiVectorPreprocessor(text, 16)),
        "scores": Reranker(tiny(bert), preprocessor=letters(bert)),
        "classes": TextClassifier(tiny(bert), 2, letters(bert)),
    }
    types = {
        "vectors": pa.list_(pa.list_(pa.float32())),
        "scores": pa.float32(),
        "classes": pa.list_(pa.struct({"label": pa.string(), "score": pa.float64()})),
    }
    for name, task in tasks.items():
        task.save_to_preset(tmp_path / name)
        column = ["text", "text2"] if name == "scores" else "text"
        options = {"error_column": "error", "task": type(task)}
        predictor = BatchPredictor(tmp_path / name, column, **options)
        for texts in (["a b", None], [None, None]):
            columns = {"text": pa.array(texts, pa.string())}
            columns["text2"] = columns["text"]
            found = predictor(pa.table(columns))
            assert found.schema.field("answer").type == types[name]
            assert found["answer"].null_count == texts.count(None)
            array = predictor({"text": texts, "text2": texts})["answer"]
            assert array.shape == (2,)
            assert array.dtype == (np.float32 if name == "scores" else object)


def test_a_text_without_answer_has_its_error_in_a_column_or_raises_it(preset, predictor, vectors):
    found = predictor(pa.table({"text": ["a b", None, "f"]})).to_pydict()
    assert found["vector"][1] is None
    assert "missing value" in found["error"][1]
    assert found["error"][::2] == [None, None]
    np.testing.assert_allclose(found["vector"][::2], vectors[::2], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputTypeError, match="missing value"):
        BatchPredictor(preset)({"text": ["a b", None, "f"]})


def test_two_columns_are_pairs_of_a_task_that_is_named(preset, recwarn):
    reader = BatchPredictor(preset, ["question", "context"], task=QuestionAnswerer, top_k=2)
    found = reader({"question": ["a b", "c"], "context": ["a b c", "c d"]})["answer"]
    assert [len(answers) for answers in found] == [2, 2]
    assert {*found[0][0]} == {"answer", "start", "end", "score"}


def test_columns_that_are_not_there_or_there_already_are_refused(predictor):
    with pytest.raises(InputError, match="no column 'text'; it has words: give one"):
        predictor({"words": ["a"]})
    with pytest.raises(InputError, match="has a column 'vector' already"):
        predictor({"text": ["a"], "vector": [1]})
    with pytest.raises(InputTypeError, match="batch is .*a dict of columns, or a table"):
        predictor(["a"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"column": 3}, InputTypeError, "column is 3"),
        ({"column": ["a", "b", "c"]}, InputTypeError, "the name of a column, or two"),
        ({"output_column": None}, InputTypeError, "a new column is None"),
        ({"column": "x", "output_column": "x"}, InputError, "x, x two have one name; give"),
    ],
)
def test_names_that_are_none_or_one_are_refused(preset, arguments, error, words):
    with pytest.raises(error, match=words):
        BatchPredictor(preset, **arguments)


def test_a_bare_encoder_needs_a_task(tmp_path):
    tiny(ARCHITECTURES["bert"]).save_to_preset(tmp_path)
    with pytest.raises(InputError, match="holds no task.*BertBackbone.*task=TextEmbedder"):
        BatchPredictor(tmp_path)({"text": ["a"]})
