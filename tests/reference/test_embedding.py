"""`embed` and the losses' training against sentence-transformers itself."""

import numpy as np
import pytest

from inarch.tasks import TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from ..tasks.conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.reference
library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

TEXTS = ["the cat sat", "a dog ran on the road.", "", "bad", "the film was not very good!", "É 🙂"]
PROMPTS = {"query": "the ", "passage": "a ", "corpus": "bad ", "other": "not "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    tokenizer = WordPieceTokenizer(VOCABULARY)
    preprocessor = TextPreprocessor(tokenizer, 20, prompts=PROMPTS, default_prompt_name="other")
    TextEmbedder(make_backbone(), preprocessor).save_to_preset(folder)
    return folder


@pytest.fixture(scope="module")
def ours(folder):
    return TextEmbedder.from_preset(folder)


@pytest.fixture(scope="module")
def theirs(folder):
    return library.SentenceTransformer(str(folder), device="cpu")


OPTIONS = (
    {},
    {"prompt": "very "},
    {"prompt": ""},
    {"prompt_name": "corpus"},
    {"truncate_dim": 5},
    {"normalize": True},
    {"truncate_dim": 7, "normalize": True},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("role", ["", "_query", "_document"])
def test_vectors_are_those_of_encode(role, options, ours, theirs):
    given = {{"normalize": "normalize_embeddings"}.get(n, n): v for n, v in options.items()}
    found = getattr(ours, f"embed{role}")(TEXTS, **options)
    expected = getattr(theirs, f"encode{role}")(TEXTS, **given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    single = getattr(ours, f"embed{role}")(TEXTS[1], **options)
    assert single.shape == getattr(theirs, f"encode{role}")(TEXTS[1], **given).shape
    np.testing.assert_allclose(single, expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_numbers_in_few_bits_are_those_of_encode(precision, ours, theirs):
    found = ours.embed(TEXTS, precision=precision)
    expected = theirs.encode(TEXTS, precision=precision)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    # A number on the edge of a step may be rounded to the next one.
    assert (found != expected).mean() < 0.03


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_pairwise_similarities_are_those_of_the_library(name, ours, theirs):
    one, two = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32)
    ours.similarity_fn_name = theirs.similarity_fn_name = name
    np.testing.assert_allclose(
        ours.similarity_pairwise(one, two), theirs.similarity_pairwise(one, two), rtol=1e-4
    )


def test_evaluations_give_what_the_librarys_evaluators_give(ours, theirs):
    from sentence_transformers.sentence_transformer import evaluation

    ours.similarity_fn_name = theirs.similarity_fn_name = "cosine"
    queries = ["cat", "good film", "road"]
    relevant = [[0, 4], [4], [1, 3]]
    found = ours.evaluate_retrieval(queries, TEXTS, relevant, k=3)
    evaluator = evaluation.InformationRetrievalEvaluator(
        {str(i): q for i, q in enumerate(queries)},
        {str(i): d for i, d in enumerate(TEXTS)},
        {str(i): set(map(str, r)) for i, r in enumerate(relevant)},
        mrr_at_k=[3], ndcg_at_k=[3], accuracy_at_k=[3], precision_recall_at_k=[3], map_at_k=[3],
    )  # fmt: skip
    expected = evaluator(theirs)
    for name, value in found.items():
        assert value == pytest.approx(expected[f"cosine_{name}"], abs=1e-6), name
    pairs, scores = list(zip(TEXTS, TEXTS[1:], strict=False)), [0.1, 0.9, 0.9, 0.3, 0.5]
    similar = evaluation.EmbeddingSimilarityEvaluator(
        [p[0] for p in pairs], [p[1] for p in pairs], scores
    )(theirs)
    found = ours.evaluate_similarity(pairs, scores)
    assert found["spearman"] == pytest.approx(similar["spearman_cosine"], abs=1e-4)
    assert found["pearson"] == pytest.approx(similar["pearson_cosine"], abs=1e-4)
