"""Laws of `MultiVectorEmbedder` and its preprocessor: a vector for each token that is compared."""

import json

import keras
import numpy as np
import pytest

from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.models.deberta_v3.backbone import DebertaV3Backbone
from inarch.preprocessors.multi_vector_preprocessor import NOT_ATTENDED
from inarch.tasks import MultiVectorEmbedder, MultiVectorPreprocessor, TextEmbedder
from inarch.text import WordPieceTokenizer

from .conftest import TEXTS, VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

MARKED = [*VOCABULARY[:-2], "[unused0]", "[unused1]"]
EXPANSION = {"strategy": "fixed", "length": 10}
MODULES = [{"type": "Dense", "out_features": 8, "bias": False, "activation_function": "identity"}]
PROMPTS = {"query": "[unused0] ", "document": "[unused1] "}


def preprocessor(**options):
    return MultiVectorPreprocessor(WordPieceTokenizer(MARKED), 20, **options)


def make(backbone=None, **options):
    return MultiVectorEmbedder(backbone or make_backbone(), preprocessor(**options), MODULES)


@pytest.fixture(scope="module")
def embedder():
    return make(query_expansion=EXPANSION, skiplist_words=[".", "!", "absent"], prompts=PROMPTS)


def tokens(encoding):
    return [MARKED[i] for i in encoding.ids]


# --- queries and documents ---------------------------------------------------------------------


def test_a_query_is_filled_up_with_masks_that_are_compared():
    text = preprocessor(query_expansion=EXPANSION, prompts=PROMPTS)
    (found,) = text.encode(["the cat"], "query", "query")
    assert tokens(found) == ["[CLS]", "[unused0]", "the", "cat", "[SEP]", *["[MASK]"] * 5]
    assert found.padding_mask == [1] * 5 + [NOT_ATTENDED] * 5
    assert found.is_compared.all()
    text.query_expansion = {**EXPANSION, "attend": True, "token": "the"}
    (found,) = text.encode(["cat"], None, "query")
    assert tokens(found) == ["[CLS]", "cat", "[SEP]", *["the"] * 7]
    assert found.padding_mask == [1] * 10


@pytest.mark.parametrize(("strategy", "count"), [("fixed", 10), ("min", 20)])
def test_a_long_query_is_cut_to_a_fixed_length_and_not_to_the_least(strategy, count):
    text = preprocessor(query_expansion={"strategy": strategy, "length": 10}, prompts=PROMPTS)
    (found,) = text.encode(["cat " * 30], "query", "query")
    assert tokens(found)[:3] == ["[CLS]", "[unused0]", "cat"]
    assert (len(found), tokens(found)[-1]) == (count, "[SEP]")


def test_documents_are_not_expanded_and_skip_their_words():
    text = preprocessor(
        query_expansion=EXPANSION, skiplist_words=[".", "absent"], document_length=6
    )
    found, cut = text.encode(["cat.", "cat " * 30], None, "document")
    assert tokens(found) == ["[CLS]", "cat", ".", "[SEP]"]
    assert found.is_compared.tolist() == [True, True, False, True]
    assert len(cut) == 6
    (query,) = text.encode(["cat."], None, "query")
    assert query.is_compared.all()
    text.skiplist_tasks = ["query", "document"]
    (query,) = text.encode(["cat."], None, "query")
    assert not query.is_compared[2]


def test_a_text_cannot_spell_a_marker():
    (found,) = preprocessor(prompts=PROMPTS).encode(["[unused1]"], "query", "query")
    assert "[unused1]" not in tokens(found)


def test_a_prompt_of_words_goes_before_the_text():
    (found,) = preprocessor(prompts={"query": "the "}).encode(["cat"], "query", "query")
    assert tokens(found) == ["[CLS]", "the", "cat", "[SEP]"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"query_expansion": {"strategy": "long", "length": 3}}, "'strategy'.*'long'"),
        ({"query_expansion": {"strategy": "fixed"}}, "'length'.*None"),
        ({"query_expansion": {**EXPANSION, "more": 1}}, "'more'"),
        ({"query_expansion": 32}, "is 32"),
        ({"document_length": 0}, "is 0"),
        ({"skiplist_words": "."}, "'.'"),
        ({"skiplist_tasks": ["title"]}, "skiplist_tasks.*'title'"),
    ],
)
def test_settings_that_are_none_are_named(options, named):
    with pytest.raises((InputError, InputTypeError), match=named):
        preprocessor(**options)


# --- vectors -----------------------------------------------------------------------------------


def test_there_is_a_vector_of_length_one_for_each_token_that_is_compared(embedder):
    queries, documents = embedder.embed_query(TEXTS), embedder.embed_document(TEXTS)
    assert [len(vectors) for vectors in queries] == [10] * len(TEXTS)
    expected = embedder.preprocessor.encode(TEXTS, "document", "document")
    assert [len(v) for v in documents] == [e.is_compared.sum() for e in expected]
    for vectors in (*queries, *documents):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    dense = embedder.predict(TEXTS)
    np.testing.assert_allclose(dense[0][dense[0].any(-1)], documents[0], atol=1e-6)
    np.testing.assert_allclose(embedder.embed_query(TEXTS[0]), queries[0], atol=2e-5)
    assert embedder.embed_document([]) == []


def test_expansion_takes_from_the_query_and_gives_it_nothing(embedder):
    with_masks = embedder.embed_query("the cat")
    alone = make(embedder.backbone, prompts=PROMPTS)
    for variable, value in zip(alone.weights, embedder.weights, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(with_masks[:5], alone.embed_query("the cat"), atol=2e-5)
    alone.preprocessor.query_expansion = {**EXPANSION, "attend": True}
    assert np.abs(with_masks[:5] - alone.embed_query("the cat")[:5]).max() > 1e-3


def test_scores_are_max_sim_or_its_mean(embedder):
    queries, documents = embedder.embed_query(TEXTS), embedder.embed_document(TEXTS)
    scores = embedder.similarity(queries, documents)
    expected = [[(q @ d.T).max(1).sum() for d in documents] for q in queries]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert embedder.similarity(queries[0], documents).shape == (1, len(TEXTS))
    with pytest.raises(InputError, match="3 and 8 numbers"):
        embedder.similarity(queries, np.ones((2, 3)))
    with pytest.raises(InputError, match="similarity_fn_name.*'dot'"):
        embedder.similarity_fn_name = "dot"


def test_a_model_that_cannot_hide_tokens_one_way_says_what_to_set():
    backbone = DebertaV3Backbone(
        len(MARKED), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=24
    )
    with pytest.raises(InputError, match=r"DebertaV3Backbone can't.*attend=True"):
        make(backbone, query_expansion=EXPANSION).embed_query(["cat"])


def test_training_finds_the_document_of_each_query():
    pairs = [("cat sat", "dog", "a"), ("road", "film was good", "b"), ("very bad", "mat", "c")]
    queries, documents, _ = map(list, zip(*pairs, strict=True))
    keras.utils.set_random_seed(0)
    task = make(learner(), query_expansion=EXPANSION)
    task.compile(keras.optimizers.Adam(1e-2))
    task.fit(pairs, epochs=25, batch_size=3, verbose=0)
    scores = task.similarity(task.embed_query(queries), task.embed_document(documents))
    assert scores.argmax(1).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="one text"):
        task.fit(TEXTS, verbose=0)
    with pytest.raises(InputError, match="y is given"):
        task.fit(pairs, [0, 1, 2], verbose=0)


# --- folders -----------------------------------------------------------------------------------


def test_a_folder_keeps_vectors_and_settings_and_is_written_back_as_it_was(embedder, tmp_path):
    embedder.save_to_preset(tmp_path / "one")
    again = MultiVectorEmbedder.from_preset(tmp_path / "one")
    assert again.fresh_weights == ()
    np.testing.assert_allclose(again.embed_query("cat"), embedder.embed_query("cat"), atol=1e-6)
    np.testing.assert_allclose(
        again.embed_document("cat."), embedder.embed_document("cat."), atol=1e-6
    )
    again.save_to_preset(tmp_path / "two")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert other.read_bytes() == path.read_bytes(), path
    again.preprocessor.query_expansion = None
    again.save_to_preset(tmp_path / "three")
    assert MultiVectorEmbedder.from_preset(tmp_path / "three").preprocessor.query_expansion is None


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": [3]}, "keep_only_token_ids"),
        ("1_Dense/config.json", {"module_input_name": "sentence_embedding"}, "module_input_name"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "odd"}}, "'odd'"),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "model_type"),
    ],
)
def test_what_is_not_computed_here_is_refused_by_name(embedder, name, change, named, tmp_path):
    embedder.save_to_preset(tmp_path)
    content = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps(content | change))
    with pytest.raises(ConfigError, match=named):
        MultiVectorEmbedder.from_preset(tmp_path)


def test_a_folder_of_another_kind_of_embedder_names_the_class_for_it(embedder, tmp_path):
    embedder.save_to_preset(tmp_path)
    with pytest.raises(ConfigError, match="Use MultiVectorEmbedder"):
        TextEmbedder.from_preset(tmp_path)


@pytest.mark.filterwarnings("ignore:.* has no values for")
def test_a_bare_encoder_gets_a_fresh_projection(tmp_path):
    make_backbone().save_to_preset(tmp_path)
    task = MultiVectorEmbedder.from_preset(tmp_path, preprocessor=None)
    assert task.fresh_weights == ("dense_0/kernel",)
    assert task.output_shape[-1] == 128


def test_a_similarity_set_without_a_preprocessor_is_in_the_folder(embedder, tmp_path):
    embedder.save_to_preset(tmp_path / "one")
    bare = MultiVectorEmbedder.from_preset(tmp_path / "one", preprocessor=None)
    bare.similarity_fn_name = "meanmaxsim"
    bare.save_to_preset(tmp_path / "two")
    path = "config_sentence_transformers.json"
    before, after = (json.loads((tmp_path / n / path).read_text()) for n in ("one", "two"))
    assert after == before | {"similarity_fn_name": "meanmaxsim"}
    again = MultiVectorEmbedder.from_preset(tmp_path / "two", preprocessor=None)
    assert again.similarity_fn_name == "meanmaxsim"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("skiplist_words", 3, "skiplist_words is 3; give a list of strings"),
        ("skiplist_tasks", [3], "skiplist_tasks holds 3"),
        ("document_length", 0, "document_length is 0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name, value, words):
    with pytest.raises((InputError, InputTypeError), match=words):
        preprocessor(**{name: value})
