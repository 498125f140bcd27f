"""Laws of `embed` and of what a `TextEmbedder` is trained on and measured by."""

import keras
import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    EmbedDistillLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)
from inarch.tasks import TextEmbedder, TextPreprocessor, quantize_embeddings
from inarch.tasks.embedding_evaluation import correlation, ranks
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat sat", "a dog", "bad film", "road"]
PROMPTS = {"query": "the ", "document": "a "}


@pytest.fixture(scope="module")
def embedder():
    return make(make_backbone())


def make(backbone, default=None, prompts=PROMPTS, **options):
    tokenizer = WordPieceTokenizer(VOCABULARY)
    preprocessor = TextPreprocessor(tokenizer, 20, prompts=prompts, default_prompt_name=default)
    return TextEmbedder(backbone, preprocessor, **options)


@pytest.fixture(scope="module")
def vectors(embedder):
    return embedder.embed(TEXTS)


def same(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_one_text_has_one_vector(embedder, vectors):
    same(embedder.embed(TEXTS[0]), vectors[0])
    assert embedder.embed(TEXTS[0], precision="ubinary").shape == (2,)
    assert embedder.embed([]).shape == (0, 16)


def test_a_prompt_is_put_before_each_text(embedder):
    expected = embedder.embed(["the cat", "the dog"])
    same(embedder.embed(["cat", "dog"], prompt="the "), expected)
    same(embedder.embed(["cat", "dog"], prompt_name="query"), expected)
    same(embedder.embed_query(["cat", "dog"]), expected)
    same(embedder.embed_query("cat"), expected[0])
    same(embedder.embed_document(["cat", "dog"]), embedder.embed(["a cat", "a dog"]))
    same(embedder.embed_document("cat", prompt=""), embedder.embed("cat"))
    same(embedder.embed_document("cat", prompt_name="query"), expected[0])


def test_queries_and_documents_without_a_prompt_get_no_default_one(embedder):
    other = make(embedder.backbone, default="passage", prompts={"passage": "a "})
    same(other.embed("cat"), embedder.embed("a cat"))
    for found in (other.embed_query("cat"), other.embed_document("cat")):
        same(found, embedder.embed("cat"))
    same(other.embed("cat", prompt=""), embedder.embed("cat"))


def test_vectors_are_cut_and_then_get_length_one(embedder, vectors):
    same(embedder.embed(TEXTS, truncate_dim=5), vectors[:, :5])
    cut = vectors[:, :5] / np.linalg.norm(vectors[:, :5], axis=-1, keepdims=True)
    same(embedder.embed(TEXTS, truncate_dim=5, normalize=True), cut)
    same(make(embedder.backbone, truncate_dim=3).embed(TEXTS, truncate_dim=5), vectors[:, :5])


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_a_precision_is_that_of_quantize_embeddings(precision, embedder, vectors):
    found = embedder.embed(TEXTS, precision=precision)
    expected = quantize_embeddings(vectors, precision)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("texts", "options", "error", "named"),
    [
        (["a"], {"prompt": 3}, InputTypeError, "prompt is 3"),
        (["a"], {"prompt": "a ", "prompt_name": "query"}, InputError, "give one of them"),
        (["a"], {"prompt_name": "wings"}, InputError, "no prompt 'wings'; known: 'query'"),
        (["a"], {"precision": "int4"}, InputError, "precision is 'int4'"),
        ("a", {"precision": "int8"}, InputError, "one vector has no ranges"),
        (["a"], {"truncate_dim": 0}, InputError, "truncate_dim is 0"),
        (["a"], {"normalize": "yes"}, InputTypeError, "normalize is 'yes'"),
        ([("a", "b", "c")], {}, InputError, "text 0 is a group of 3 texts"),
        ([("a", 3)], {}, InputTypeError, "text 0"),
        (3, {}, InputTypeError, "got 3"),
    ],
)
def test_what_cannot_be_embedded_is_named(texts, options, error, named, embedder):
    with pytest.raises(error, match=named):
        embedder.embed(texts, **options)


def test_pairwise_similarities_are_the_diagonal(embedder):
    one, two = np.random.default_rng(0).normal(size=(2, 4, 6))
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        task = make(embedder.backbone, similarity_fn_name=name)
        expected = np.diag(task.similarity(one, two))
        np.testing.assert_allclose(task.similarity_pairwise(one, two), expected, rtol=1e-6)
    with pytest.raises(InputError, match=r"\(4, 6\) and \(2, 6\) aren't pairs"):
        embedder.similarity_pairwise(one, two[:2])


# --- training ----------------------------------------------------------------------------------

PAIRS = [("cat", "dog sat"), ("road", "ran on"), ("good film", "very good"), ("bad", "not")]
TRIPLES = [(*pair, "the mat") for pair in PAIRS]


def test_the_loss_of_a_fit_is_the_loss_of_the_vectors(embedder):
    loss = MatryoshkaLoss(EmbedDistillLoss(), [16, 4])
    task = make(embedder.backbone)
    task.compile(loss=loss)
    y = np.random.default_rng(0).normal(size=(4, 3, 16))
    texts = [triple[column] for column in range(3) for triple in TRIPLES]
    expected = loss(loss.targets(y, 4, 3, 16), embedder.predict(texts, verbose=0))
    assert task.evaluate(TRIPLES, y, verbose=0) == pytest.approx(float(expected), rel=1e-4)


def test_examples_with_negatives_are_learned():
    keras.utils.set_random_seed(0)
    task = make(learner(), normalize=True)
    task.compile(optimizer=keras.optimizers.Adam(1e-2), loss=TripletLoss("cosine", 0.5))
    task.fit(TRIPLES, epochs=20, batch_size=4, verbose=0)
    one, two, other = (task.predict([t[i] for t in TRIPLES], verbose=0) for i in range(3))
    assert (task.similarity_pairwise(one, two) > task.similarity_pairwise(one, other) + 0.2).all()


def test_scored_pairs_take_the_order_of_their_scores():
    keras.utils.set_random_seed(0)
    task, scores = make(learner()), [0.9, 0.1, 0.6, 0.3]
    task.compile(optimizer=keras.optimizers.Adam(1e-2), loss=CoSENTLoss())
    task.fit(PAIRS, scores, epochs=20, batch_size=4, verbose=0)
    found = task.evaluate_similarity(PAIRS, scores)
    assert found["spearman"] == pytest.approx(1)
    assert found["pearson"] > 0.7


@pytest.mark.parametrize(
    ("loss", "x", "y", "options", "named"),
    [
        (TripletLoss(), PAIRS, None, {}, "2 texts, and TripletLoss needs 3"),
        (MultipleNegativesRankingLoss(), TEXTS, None, {}, "has 1 text, and .* needs at least 2"),
        (MultipleNegativesRankingLoss(), PAIRS, [1, 2, 3, 4], {}, "needs no targets"),
        (MultipleNegativesRankingLoss(), [*PAIRS, ("a", "b", "c")], None, {}, "example 4 has 3"),
        (CosineSimilarityLoss(), PAIRS, None, {}, "needs a score"),
        (CosineSimilarityLoss(), PAIRS, [1, 2], {}, "4 examples and 2 targets"),
        (CoSENTLoss(), PAIRS, [0, 1, np.nan, 0], {}, "NaN .* in 1 of 4 rows, the first at 2"),
        (CoSENTLoss(), PAIRS, [0, 1, 0, 0], {"sample_weight": np.ones(4)}, "value for a whole"),
        (EmbedDistillLoss(), TEXTS, np.ones((4, 3)), {}, r"\[4, 3\], .* have 16 numbers"),
        ("mse", TEXTS, np.ones((4, 3)), {}, r"\[4, 3\], .* have 16 numbers"),
        ("mse", TEXTS, np.ones((4, 1)), {}, r"\[4, 1\], .* have 16 numbers"),
        ("mse", TEXTS, np.full((4, 16), np.nan), {}, "NaN or infinity in 4 of 4 rows"),
        (MatryoshkaLoss(TripletLoss(), [32]), TRIPLES, None, {}, "matryoshka_dims has 32"),
    ],
)
def test_what_a_fit_cannot_use_is_named_before_a_step(loss, x, y, options, named, embedder):
    task = make(embedder.backbone)
    task.compile(loss=loss)
    before = [np.array(v) for v in task.get_weights()]
    with pytest.raises(InputError, match=named):
        task.fit(x, y, verbose=0, **options)
    for old, new in zip(before, task.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_fit_in_mini_batches_is_the_fit_of_whole_batches():
    keras.utils.set_random_seed(0)
    whole = make(learner())
    parts = make(learner())
    parts.set_weights(whole.get_weights())
    for task, size in ((whole, None), (parts, 5)):
        loss = MultipleNegativesRankingLoss(mini_batch_size=size)
        task.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
        task.fit(TRIPLES, batch_size=4, shuffle=False, verbose=0)
    for one, two in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_compiled_loss_is_in_the_keras_file(tmp_path):
    task = make(learner())
    task.compile(loss=MatryoshkaLoss(MultipleNegativesRankingLoss(10.0), [16, 8]))
    task.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == task.loss.get_config()


# --- evaluation --------------------------------------------------------------------------------


def test_a_retrieval_is_measured_by_the_rank_of_what_is_relevant(embedder):
    documents = ["the cat sat", "road", "very good film", "a dog", "bad"]
    bare = make(embedder.backbone, prompts=None)
    found = bare.evaluate_retrieval(["road", "bad"], documents, [[1], {4: 2.0}], k=3)
    assert found == {"ndcg@3": 1.0, "mrr@3": 1.0, "recall@3": 1.0}
    scores = bare.similarity(bare.embed(["road"]), bare.embed(documents))[0]
    second = int(np.argsort(-scores)[1])
    found = bare.evaluate_retrieval(["road"], documents, [[second]], k=2)
    assert found["mrr@2"] == 0.5
    assert bare.evaluate_retrieval(["road"], documents, [[second]], k=1)["recall@1"] == 0
    asked = make(embedder.backbone, prompts={"query": "a "})
    assert asked.evaluate_retrieval(["dog"], documents, [[3]], k=1)["recall@1"] == 1


@pytest.mark.parametrize(
    ("documents", "relevant", "k", "named"),
    [
        ([], [[0]], 3, "documents is empty"),
        (["a"], [[1]], 3, "document 1 for query 0.* from 0 to 0"),
        (["a"], [["a"]], 3, "document 'a' for query 0"),
        (["a"], [[0], [0]], 3, "1 rankings, and 2 queries"),
        (["a"], [[]], 3, "query 0 has no relevant document"),
        (["a"], [[0]], 0, "k is 0"),
    ],
)
def test_a_retrieval_that_cannot_be_measured_is_named(documents, relevant, k, named, embedder):
    with pytest.raises(InputError, match=named):
        embedder.evaluate_retrieval(["cat"], documents, relevant, k)


def test_equal_values_share_a_rank():
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 3.0, 2.0])), [3.5, 1, 3.5, 2])
    one, two = np.random.default_rng(0).normal(size=(2, 9))
    assert correlation(one, two) == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert np.isnan(correlation(one, np.ones(9)))


def test_scores_that_are_no_scores_of_pairs_are_named(embedder):
    for pairs, scores, named in (
        (PAIRS, [1, 2], "4 pairs, and scores has the shape"),
        (PAIRS[:1], [1], "at least two pairs"),
        (TEXTS, [1, 2, 3, 4], "aren't two texts"),
        (PAIRS, [1, 2, 3, np.nan], "scores has NaN"),
    ):
        with pytest.raises(InputError, match=named):
            embedder.evaluate_similarity(pairs, scores)
