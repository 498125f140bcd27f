"""Laws of `SparseEmbedder`: a weight for each term, of which few aren't 0."""

import json

import keras
import numpy as np
import pytest

from inarch.answers.sparse_vectors import to_dense
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.losses.splade import SpladeLoss
from inarch.runtime.mini_batches import call_in_mini_batches
from inarch.tasks import (
    MaskedLM,
    SparseEmbedder,
    TextEmbedder,
    TextPreprocessor,
    embedding_batches,
)
from inarch.text import WordPieceTokenizer

from .conftest import TEXTS, VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

PREFIX = "sentence_transformers.sparse_encoder.models."
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": PREFIX + "MLMTransformer"},
    {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": PREFIX + "SpladePooling"},
]


def preprocessor(**options):
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20, **options)


@pytest.fixture(scope="module")
def embedder():
    return SparseEmbedder(make_backbone(), preprocessor())


@pytest.mark.parametrize(
    ("strategy", "activation"), [("max", "relu"), ("max", "log1p_relu"), ("sum", "relu")]
)
def test_the_weight_of_a_term_is_pooled_from_the_logits_of_all_tokens(strategy, activation):
    task = SparseEmbedder(make_backbone(), preprocessor(), strategy, activation)
    masked = MaskedLM(task.backbone, preprocessor())
    for variable, value in zip(masked.weights, task.weights, strict=True):
        variable.assign(value)
    weights = np.log1p(np.maximum(masked.predict(TEXTS), 0))  # 0 beyond the end of a text
    weights = np.log1p(weights) if activation == "log1p_relu" else weights
    expected = weights.max(1) if strategy == "max" else weights.sum(1)
    np.testing.assert_allclose(task.predict(TEXTS), expected, atol=2e-5)


def test_sparse_vectors_are_what_is_not_zero_in_the_arrays(embedder):
    vectors, dense = embedder.embed(TEXTS), embedder.predict(TEXTS)
    assert 0 < (dense > 0).mean() < 0.9
    np.testing.assert_array_equal(to_dense(vectors, len(VOCABULARY)), dense)
    one = embedder.embed(TEXTS[0])
    np.testing.assert_array_equal(one["indices"], vectors[0]["indices"])
    np.testing.assert_allclose(one["values"], vectors[0]["values"], atol=2e-5)
    assert embedder.embed([]) == []
    assert embedder.predict([]).shape == (0, len(VOCABULARY))


def test_no_more_terms_are_kept_than_asked_for():
    embedder = SparseEmbedder(make_backbone(), preprocessor(), max_active_dims=3)
    dense = SparseEmbedder(embedder.backbone, preprocessor())
    for variable, value in zip(dense.weights, embedder.weights, strict=True):
        variable.assign(value)
    rows = dense.predict(TEXTS)
    for row, kept, vector in zip(
        rows, embedder.predict(TEXTS), embedder.embed(TEXTS, max_active_dims=2), strict=True
    ):
        order = np.argsort(-row)
        assert set(np.flatnonzero(kept)) == {i for i in order[:3] if row[i]}
        assert set(vector["indices"]) == {i for i in order[:2] if row[i]}
    with pytest.raises(InputError, match="max_active_dims is 0"):
        embedder.embed(TEXTS, max_active_dims=0)


def test_terms_are_decoded_by_falling_weight(embedder):
    vectors = embedder.embed(TEXTS)
    decoded = embedder.decode(vectors, top_k=4)
    for row, terms in zip(embedder.predict(TEXTS), decoded, strict=True):
        best = [i for i in np.argsort(-row, kind="stable")[:4] if row[i]]
        assert terms == [(VOCABULARY[i], pytest.approx(row[i], abs=1e-5)) for i in best]
    assert embedder.decode(vectors[0], top_k=4) == decoded[0]
    assert len(embedder.decode(vectors[0])) == len(vectors[0]["indices"])
    with pytest.raises(InputError, match="top_k is 0"):
        embedder.decode(vectors, top_k=0)


def test_similarity_is_the_product_by_default_and_the_cosine_where_it_is_chosen():
    embedder = SparseEmbedder(make_backbone(), preprocessor())
    vectors, dense = embedder.embed(TEXTS), embedder.predict(TEXTS)
    np.testing.assert_allclose(embedder.similarity(vectors, vectors), dense @ dense.T, rtol=1e-4)
    assert embedder.similarity(vectors[0], vectors).shape == (len(TEXTS),)
    assert embedder.similarity(vectors[0], vectors[1]).shape == ()
    embedder.similarity_fn_name = "cosine"
    np.testing.assert_allclose(np.diag(embedder.similarity(vectors, vectors)), 1, rtol=1e-5)
    with pytest.raises(InputTypeError, match="one is 'cat'"):
        embedder.similarity("cat", vectors)
    with pytest.raises(InputError, match="from 99 to 99"):
        embedder.similarity(vectors, {"indices": [99], "values": [1.0]})


def test_a_prompt_goes_before_each_text(embedder):
    prompted = SparseEmbedder(
        embedder.backbone,
        preprocessor(prompts={"query": "the "}, default_prompt_name="query"),
    )
    for variable, value in zip(prompted.weights, embedder.weights, strict=True):
        variable.assign(value)
    (expected,) = embedder.embed(["the cat"])
    for vector in (prompted.embed("cat"), prompted.embed("cat", prompt_name="query")):
        np.testing.assert_allclose(vector["values"], expected["values"], atol=1e-5)
    with pytest.raises(InputError, match="'passage'"):
        prompted.embed(["cat"], prompt_name="passage")


# --- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [2, 3])
def test_the_loss_is_a_cross_entropy_and_the_price_of_the_terms(columns):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(4 * columns, 5)).astype(np.float32).clip(0)
    queries, documents = vectors[:4], vectors[4:]
    logits = 2.0 * queries @ documents.T
    expected = np.mean(np.log(np.exp(logits).sum(-1)) - np.diag(logits))
    expected += 0.3 * (documents.mean(0) ** 2).sum() + 0.2 * (queries.mean(0) ** 2).sum()
    loss = SpladeLoss(0.3, 0.2, scale=2.0, mini_batch_size=3)
    assert SpladeLoss.from_config(loss.get_config()).mini_batch_size == 3
    assert float(loss(np.zeros((4, 1)), vectors)) == pytest.approx(expected, rel=1e-5)
    assert SpladeLoss.from_config(loss.get_config()).get_config() == loss.get_config()
    with pytest.raises(InputError, match="query_regularizer_weight is -1"):
        SpladeLoss(query_regularizer_weight=-1)


def test_training_finds_the_document_of_each_query_and_its_price_thins_the_vectors():
    pairs = [("cat sat", "dog"), ("road", "film was good"), ("very bad", "mat"), ("a", "b")]
    queries, documents = map(list, zip(*pairs, strict=True))
    used = []
    for price in (0.0, 3.0):
        keras.utils.set_random_seed(0)
        task = SparseEmbedder(learner(), preprocessor())
        task.compile(keras.optimizers.Adam(1e-2), SpladeLoss(price, price))
        task.fit(pairs * 2, epochs=25, batch_size=4, shuffle=False, verbose=0)
        if not price:
            scores = task.similarity(task.embed(queries), task.embed(documents))
            assert scores.argmax(1).tolist() == [0, 1, 2, 3]
        used.append(np.count_nonzero(task.predict(documents)))
    assert used[1] < used[0] / 2


def test_texts_without_a_partner_are_refused_before_training():
    task = SparseEmbedder(learner(), preprocessor())
    with pytest.raises(InputError, match="has 1 text, and SpladeLoss needs at least 2"):
        task.fit(TEXTS, verbose=0)


# --- folders -----------------------------------------------------------------------------------


def test_settings_are_those_of_the_folder(tmp_path):
    task = SparseEmbedder(
        make_backbone(), preprocessor(prompts={"query": "the "}), "sum", "log1p_relu", "cosine", 7
    )
    task.save_to_preset(tmp_path / "one")
    again = SparseEmbedder.from_preset(tmp_path / "one")
    np.testing.assert_allclose(again.predict(TEXTS), task.predict(TEXTS), atol=1e-6)
    assert again.preprocessor.prompts == {"query": "the "}
    again.save_to_preset(tmp_path / "two")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert other.read_bytes() == path.read_bytes()
    chosen = SparseEmbedder.from_preset(tmp_path / "one", pooling_strategy="max")
    assert (chosen.pooling_strategy, chosen.activation_function) == ("max", "log1p_relu")
    chosen.save_to_preset(tmp_path / "three")
    assert SparseEmbedder.from_preset(tmp_path / "three").pooling_strategy == "max"


def test_a_masked_lm_is_pooled_by_its_maxima(tmp_path):
    masked = MaskedLM(make_backbone(), preprocessor())
    masked.save_to_preset(tmp_path)
    task = SparseEmbedder.from_preset(tmp_path)
    assert (task.pooling_strategy, task.similarity_fn_name) == ("max", "dot")
    expected = np.log1p(np.maximum(masked.predict(TEXTS), 0)).max(1)
    np.testing.assert_allclose(task.predict(TEXTS), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "x.Router"}], "'x.Router'"),
        ("modules.json", MODULES[:1], "has no SpladePooling"),
        ("modules.json", [*MODULES, {**MODULES[1], "type": PREFIX + "SparseAutoEncoder"}], "Auto"),
        ("modules.json", [{**MODULES[0], "type": "sentence_transformers.models.Transformer"},
                          MODULES[1]], "has no transformer_task"),
        ("1_SpladePooling/config.json", {"pooling_strategy": "mean"}, "pooling_strategy='mean'"),
        ("1_SpladePooling/config.json", {"top": 3}, "top=3"),
        ("sentence_bert_config.json", {"transformer_task": "feature-extraction"}, "transformer_ta"),
        ("config_sentence_transformers.json", {"model_type": "SentenceTransformer"}, "model_type"),
        ("config_sentence_transformers.json", {"max_active_dims": 0}, "max_active_dims=0"),
    ],
)  # fmt: skip
def test_what_is_not_computed_here_is_refused_by_name(name, content, named, tmp_path):
    SparseEmbedder(make_backbone(), preprocessor()).save_to_preset(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=named):
        SparseEmbedder.from_preset(tmp_path)


def test_a_folder_of_another_kind_of_embedder_names_the_class_for_it(tmp_path):
    SparseEmbedder(make_backbone(), preprocessor()).save_to_preset(tmp_path / "sparse")
    with pytest.raises(ConfigError, match="SparseEmbedder"):
        TextEmbedder.from_preset(tmp_path / "sparse")
    TextEmbedder(make_backbone(), preprocessor()).save_to_preset(tmp_path / "dense")
    with pytest.raises(ConfigError, match="'sentence_transformers.models.Pooling'"):
        SparseEmbedder.from_preset(tmp_path / "dense")


def test_a_fit_in_mini_batches_is_the_fit_of_whole_batches(monkeypatch):
    pairs, sizes = [("the cat", "sat"), ("a dog ran", "road"), ("bad", "film"), ("mat", "the")], []

    def recorded(model, call, inputs, size):
        sizes.append(size)
        return call_in_mini_batches(model, call, inputs, size)

    monkeypatch.setattr(embedding_batches, "call_in_mini_batches", recorded)
    whole, parts = (SparseEmbedder(learner(), preprocessor()) for _ in range(2))
    parts.set_weights(whole.get_weights())
    for task, size in ((whole, None), (parts, 3)):
        task.compile(keras.optimizers.SGD(0.1), SpladeLoss(0.1, 0.1, mini_batch_size=size))
        task.fit(pairs, batch_size=4, shuffle=False, verbose=0)
    assert {*sizes} == {3}
    for one, two in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
