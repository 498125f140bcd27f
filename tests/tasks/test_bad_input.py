"""Laws of the tasks on text: an unusable argument is reported by its name and value."""

import re

import numpy as np
import pytest

from inarch import Backbone
from inarch.data import pad
from inarch.errors import InputError, InputTypeError
from inarch.tasks import (
    MaskedLM,
    MultiVectorPreprocessor,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
)
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone

TASKS = (TextClassifier, TextEmbedder, MaskedLM)


@pytest.fixture(scope="module")
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


@pytest.fixture(scope="module")
def classifier(preprocessor):
    return TextClassifier(make_backbone(), 2, preprocessor)


@pytest.fixture(scope="module")
def embedder(preprocessor):
    return TextEmbedder(make_backbone(), preprocessor)


# --- padding -----------------------------------------------------------------------------------


def test_a_row_beyond_the_length_is_named_with_its_own(preprocessor):
    encodings = preprocessor.encode(["the", "the cat sat on the mat"])
    with pytest.raises(InputError, match=r"row 1 holds 8 .*length=5; give a length of 8"):
        preprocessor.pad(encodings, length=5)
    assert preprocessor.pad(encodings, length=8)["token_ids"].shape == (2, 8)


def test_more_encodings_than_rows_are_counted(preprocessor):
    with pytest.raises(InputError, match="2 sequences for rows=1; give rows=2"):
        preprocessor.pad(preprocessor.encode(["the", "cat"]), rows=1)
    assert pad([], 0, 0).shape == (0, 0)


@pytest.mark.parametrize("size", [-1, 2.5, "a", True])
@pytest.mark.parametrize("name", ["rows", "length"])
def test_a_size_that_is_none_is_named(name, size, preprocessor):
    with pytest.raises(InputError, match=f"{name} is {size!r}"):
        preprocessor.pad([], **{name: size})


@pytest.mark.parametrize("texts", [None, "the cat", ["the", None], [3], [("the", None)], {"a": 1}])
def test_what_is_no_text_is_refused_wherever_texts_are_encoded(texts, preprocessor, classifier):
    several = MultiVectorPreprocessor(preprocessor.tokenizer, 20)
    for encode in (preprocessor.encode, classifier.encode, several.encode):
        with pytest.raises(InputTypeError, match="list of strings|be a string|missing|columns"):
            encode(texts)


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 3, b"bert", []])
@pytest.mark.parametrize("cls", [Backbone, *TASKS])
def test_a_preset_of_another_kind_is_named(cls, wrong):
    with pytest.raises(InputTypeError, match="preset is .*; give a folder"):
        cls.from_preset(wrong)


@pytest.mark.parametrize("wrong", [None, 3, b"bert"])
def test_a_folder_of_another_kind_is_named(wrong, classifier):
    for model in (classifier, classifier.backbone):
        with pytest.raises(InputTypeError, match="folder is .*; give the name or the path"):
            model.save_to_preset(wrong)


# --- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [2.5, "2", None, True, 0])
def test_a_number_of_classes_that_is_none_is_named(wrong, preprocessor):
    with pytest.raises(InputError, match=f"num_classes is {wrong!r}"):
        TextClassifier(make_backbone(), wrong, preprocessor)


def test_settings_of_an_embedder_of_another_kind_are_named(preprocessor):
    backbone = make_backbone()
    for pooling in (3, None):
        with pytest.raises(InputTypeError, match=f"pooling is {pooling}; give a mode"):
            TextEmbedder(backbone, preprocessor, pooling=pooling)
    for normalize in ("yes", 1, None):
        with pytest.raises(InputTypeError, match=f"normalize is {normalize!r}"):
            TextEmbedder(backbone, preprocessor, normalize=normalize)


@pytest.mark.parametrize("size", ["a", 0, -1, 2.5])
def test_a_batch_size_that_is_none_is_named(size, classifier, embedder, preprocessor):
    texts, named = ["the cat"], f"batch_size is {size!r}"
    calls = (
        lambda x, **o: classifier.fit(x, [1], **o),
        lambda x, **o: classifier.evaluate(x, [1], **o),
        classifier.predict,
        classifier.classify,
        embedder.embed,
    )
    for call in calls:
        with pytest.raises(InputError, match=named):
            call(texts, batch_size=size)
    arrays = preprocessor(texts)
    for call in calls[:3]:
        with pytest.raises(InputError, match=named):
            call(arrays, batch_size=size)


@pytest.mark.parametrize(
    ("wrong", "advice"), [("ab", "give a list"), (3, "give a list"), ({"a": 1}, "give the column")]
)
def test_targets_and_weights_that_are_not_many_are_named(wrong, advice, classifier):
    with pytest.raises(InputTypeError, match=f"y is .*; {advice}"):
        classifier.fit(["the", "cat"], wrong)
    with pytest.raises(InputTypeError, match=f"sample_weight is .*; {advice}"):
        classifier.fit(["the", "cat"], [0, 1], sample_weight=wrong)


def test_rows_of_several_lengths_are_named(classifier, embedder):
    with pytest.raises(InputError, match=r"y is \[\[1\], \[1, 2\]\], rows of several lengths"):
        classifier.fit(["the", "cat"], [[1], [1, 2]])
    with pytest.raises(InputError, match=r"two is .*, rows of several lengths"):
        embedder.similarity(np.ones((2, 2)), [[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("wrong", ["a", -0.1, 1.5, [0.5]])
def test_a_share_that_is_none_is_named(wrong, classifier, preprocessor):
    with pytest.raises(InputError, match=re.escape(f"mask_rate is {wrong!r}")):
        MaskedLM(classifier.backbone, preprocessor, mask_rate=wrong)
    with pytest.raises(InputError, match=re.escape(f"validation_split is {wrong!r}")):
        classifier.fit(["the", "cat"], [0, 1], validation_split=wrong)


@pytest.mark.parametrize("cls", [TextEmbedder, MaskedLM])
def test_a_backbone_that_is_none_is_named(cls, preprocessor):
    for wrong in (None, "bert_base"):
        with pytest.raises(InputTypeError, match=f"backbone is {wrong!r}; give what"):
            cls(wrong, preprocessor)


def test_names_of_another_kind_are_named(classifier, embedder, preprocessor):
    for wrong in (3, "ab"):
        with pytest.raises(InputError, match=f"labels is {wrong!r}; give a list of names"):
            TextClassifier(classifier.backbone, 2, preprocessor, labels=wrong)
    with pytest.raises(InputError, match=r"no prompt \['a'\]"):
        embedder.embed(["the"], prompt_name=["a"])


@pytest.mark.parametrize("wrong", ["a", None, 3, {"a": 1}, ["a", "b"], [None]])
def test_only_vectors_are_compared(wrong, embedder):
    vectors = np.ones((2, 16), np.float32)
    advice = "give the column" if isinstance(wrong, dict) else "give vectors"
    with pytest.raises(InputTypeError, match=f"one is .*; {advice}"):
        embedder.similarity(wrong, vectors)
    with pytest.raises(InputTypeError, match=f"two is .*; {advice}"):
        embedder.similarity(vectors, wrong)


def test_the_keys_of_a_mapping_are_no_texts(classifier, embedder, preprocessor):
    masked = MaskedLM(make_backbone(), preprocessor)
    for call in (embedder.embed, masked.fill_mask, preprocessor):
        with pytest.raises(
            InputTypeError, match=r"a dict with the columns '\[MASK\]'; give the column"
        ):
            call({"[MASK]": 1})
    for call in (embedder.predict, classifier.predict, classifier.classify):
        with pytest.raises(InputError, match="takes the inputs .*unknown: a"):
            call({"a": 1})
