"""Evaluation of sentence vectors: how they retrieve documents, and how they order pairs.

Source: sentence-transformers, InformationRetrievalEvaluator and EmbeddingSimilarityEvaluator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inarch.errors import InputError
from inarch.losses.embedding import check_finite
from inarch.metrics.retrieval import Relevant, mrr, ndcg, recall
from inarch.preprocessors.raw_texts import texts_of
from inarch.training.datasets import array_of
from inarch.validation import check_count, shown

if TYPE_CHECKING:
    from inarch.tasks.text_embedder import TextEmbedder

# Similarities that are held at a time.
_BLOCK = 1 << 24


def retrieval(
    embedder: TextEmbedder,
    queries: Sequence[str],
    documents: Sequence[str],
    relevant: Relevant,
    k: int,
    batch_size: int,
) -> dict[str, float]:
    """Return NDCG, MRR and recall; see `TextEmbedder.evaluate_retrieval`."""
    check_count("k", k)
    queries = [str(text) for text in texts_of(queries, "queries")]
    documents = [str(text) for text in texts_of(documents, "documents")]
    if not documents:
        raise InputError("documents is empty; give the texts to search in")
    for query, judged in enumerate(relevant):
        for index in judged:
            if not isinstance(index, int | np.integer) or not 0 <= index < len(documents):
                raise InputError(
                    f"relevant has document {shown(index)} for query {query}; documents are named "
                    f"by their index, from 0 to {len(documents) - 1}"
                )
    query_vectors = embedder.embed_query(queries, batch_size=batch_size)
    held = embedder.embed_document(documents, batch_size=batch_size)
    rankings = best_first(embedder, query_vectors, held, k)
    metrics = {"ndcg": ndcg, "mrr": mrr, "recall": recall}
    return {f"{name}@{k}": metric(rankings, relevant, k) for name, metric in metrics.items()}


def best_first(
    embedder: TextEmbedder, queries: np.ndarray, documents: np.ndarray, k: int
) -> list[list[int]]:
    """Return the indices of the `k` most similar documents of each query, best first."""
    rows = max(1, _BLOCK // len(documents))
    found: list[list[int]] = []
    for start in range(0, len(queries), rows):
        scores = embedder.similarity(queries[start : start + rows], documents)
        found += np.argsort(-scores, axis=-1, kind="stable")[:, :k].tolist()
    return found


def similarity(
    embedder: TextEmbedder, pairs: Sequence[tuple[str, str]], scores: Any, batch_size: int
) -> dict[str, float]:
    """Return the correlations of similarities with scores."""
    texts = texts_of(pairs, "pairs")
    expected = array_of("scores", scores, "a list with one for each pair")
    check_finite(expected, "scores")
    if len(texts) != len(expected) or len(texts) < 2 or expected.ndim != 1:
        raise InputError(
            f"there are {len(texts)} pairs, and scores has the shape {list(expected.shape)}; give "
            "a score for each of at least two pairs"
        )
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in texts):
        raise InputError("pairs has examples that aren't two texts; give [(text, text), ...]")
    one, two = (embedder.embed([p[i] for p in texts], batch_size=batch_size) for i in (0, 1))
    found = embedder.similarity_pairwise(one, two)
    return {
        "pearson": correlation(found, expected),
        "spearman": correlation(ranks(found), ranks(expected)),
    }


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays; NaN where one of them is constant."""
    one, two = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (one, two))
    scale = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / scale) if scale else float("nan")


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values from 1 up, equal ones all with their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse.reshape(-1)]
