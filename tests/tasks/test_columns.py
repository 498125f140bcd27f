"""Laws of columns: one is taken wherever a list is, and a table of them never for its names."""

import keras
import numpy as np
import pytest

from inarch.data.columns import column_names, is_column, values_of
from inarch.errors import InputTypeError
from inarch.tasks import TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat sat", "a dog", "good"]
NAMES = ["no", "yes", "no"]


class Series:
    """Column with what pandas and polars share: labels of its own for its rows, and `to_list`."""

    def __init__(self, values, dtype="object"):
        self.values, self.dtype = list(values), dtype

    def to_list(self):
        return list(self.values)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, key):
        raise KeyError(key)  # rows go by labels, not by numbers


class Frame:
    """A table, whose iteration gives its columns' names."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)

    def __iter__(self):
        return iter(self.columns)

    def __len__(self):
        return 3

    def __getitem__(self, name):
        return Series(self.data[name])


def arrow(kind):
    pyarrow = pytest.importorskip("pyarrow")  # a soft dependency, that many have
    return {
        "array": lambda v: pyarrow.array(v),
        "large": lambda v: pyarrow.array(v, pyarrow.large_string()),
        "chunked": lambda v: pyarrow.chunked_array([v[:1], v[1:]]),
        "dictionary": lambda v: pyarrow.array(v).dictionary_encode(),
    }[kind]


def pandas(kind):
    library = pytest.importorskip("pandas")
    return {
        "series": lambda v: library.Series(v, index=[7, 7, 9]),
        "string": lambda v: library.Series(v, dtype="string"),
        "category": lambda v: library.Series(v, dtype="category"),
        "index": library.Index,
        "array": lambda v: library.array(v, dtype="string"),
    }[kind]


def polars(kind):
    library = pytest.importorskip("polars")
    return {
        "series": library.Series,
        "category": lambda v: library.Series(v, dtype=library.Categorical),
    }[kind]


def column_of_datasets(_):
    library = pytest.importorskip("datasets")
    return lambda v: library.Dataset.from_dict({"text": v})["text"]


OTHERS = pytest.mark.reference
COLUMNS = [
    pytest.param(lambda _: Series, "", id="series"),
    *(pytest.param(arrow, kind, id=f"arrow-{kind}")
      for kind in ("array", "large", "chunked", "dictionary")),
    *(pytest.param(pandas, kind, id=f"pandas-{kind}", marks=OTHERS)
      for kind in ("series", "string", "category", "index", "array")),
    *(pytest.param(polars, kind, id=f"polars-{kind}", marks=OTHERS)
      for kind in ("series", "category")),
    pytest.param(column_of_datasets, "", id="datasets", marks=OTHERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


@pytest.fixture(scope="module")
def classifier(preprocessor):
    return TextClassifier(make_backbone(), 2, preprocessor, labels=["no", "yes"])


@pytest.fixture(scope="module")
def embedder(preprocessor):
    return TextEmbedder(make_backbone(), preprocessor)


@pytest.mark.parametrize(("library", "kind"), COLUMNS)
def test_a_column_is_taken_wherever_a_list_is(library, kind, classifier, embedder):
    make = library(kind)
    texts, names = make(TEXTS), make(NAMES)
    assert is_column(texts)
    assert values_of(texts) == TEXTS
    np.testing.assert_array_equal(embedder.embed(texts), embedder.embed(TEXTS))
    np.testing.assert_array_equal(classifier.predict(texts), classifier.predict(TEXTS))
    assert classifier.classify(texts) == classifier.classify(TEXTS)
    right = classifier.evaluate(TEXTS, NAMES, verbose=0)
    assert classifier.evaluate(texts, names, verbose=0) == right
    history = classifier.fit(
        texts, names, sample_weight=Series([0.0, 0.0, 0.0]), validation_data=(texts, names),
        verbose=0,
    ).history  # fmt: skip
    assert history["val_loss"] == pytest.approx(right[:1], rel=1e-5)
    history = classifier.fit(
        texts, names, sample_weight=Series([0.0, 0.0, 0.0]), validation_split=0.4, verbose=0
    )
    assert history.history["loss"] == [0.0]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_text_is_named_by_its_row(missing, classifier):
    for x in (Series(["a", missing]), ["a", missing]):
        with pytest.raises(InputTypeError, match=r"text 1 is a .*missing.*leave the row out"):
            classifier.predict(x)


def tables():
    yield Frame(id=[1, 2, 3], text=TEXTS)
    yield {"id": Series([1, 2, 3]), "text": Series(TEXTS)}
    if pyarrow := pytest.importorskip("pyarrow"):
        yield pyarrow.table({"id": [1, 2, 3], "text": TEXTS})


@pytest.mark.parametrize("number", range(3))
def test_a_table_is_refused_with_advice_that_works(number, classifier, embedder):
    table = list(tables())[number]
    assert column_names(table) == ["id", "text"]
    uses = (embedder.embed, classifier.predict, classifier.classify, classifier.evaluate,
            lambda x: classifier.fit(x, NAMES))  # fmt: skip
    for use in uses:
        with pytest.raises(InputTypeError, match=r"\['text'\]"):
            use(table)
    np.testing.assert_array_equal(embedder.embed(table["text"]), embedder.embed(TEXTS))
    pairs = list(zip(table["text"], table["text"], strict=True))
    assert classifier.predict(pairs).shape == (3, 2)


class Batches(keras.utils.PyDataset):
    columns = ("text", "label")
    shape = (1, 2)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return TEXTS, np.array([0, 1, 0])


class Loader:
    """Batches that can be read again, and taken by their numbers."""

    column_names = columns = ("text", "label")

    def __len__(self):
        return 1

    def __iter__(self):
        yield Batches()[0]

    def __getitem__(self, index):
        return [Batches()[0]][index]


@pytest.mark.parametrize("kind", [Batches, Loader])
def test_a_data_set_that_remembers_its_columns_feeds_batches(kind, classifier):
    assert column_names(kind()) is None
    right = classifier.evaluate(TEXTS, [0, 1, 0], verbose=0)
    assert classifier.evaluate(kind(), verbose=0) == pytest.approx(right, rel=1e-5)


def test_numbers_and_tensors_are_no_columns():
    for x in (np.zeros(3), [1], (1,), "a", {"a": [1]}, iter([1]), 3, None):
        assert not is_column(x)
