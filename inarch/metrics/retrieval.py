"""Metrics of rankings of documents: NDCG, MRR, MAP and recall.

Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, chapter 8;
Järvelin and Kekäläinen, 2002, doi:10.1145/582415.582418. As in trec_eval and in sentence-
transformers' evaluators the gain of a document is its relevance itself, not a power of it.

All take the rankings of several queries and what is relevant to each, and return the mean over the
queries:

    rankings: for each query its documents (any hashable names, such as numbers), best first. A
        ranking may be cut, as the result of a search is.
    relevant: for each query the relevance of its documents by their names, where a document that
        isn't named has 0; or a list or set of the relevant ones, each of relevance 1.
    k: how many documents of each ranking count, the first ones; None for all.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.validation import check_count, shown

Rankings = Sequence[Sequence[Hashable]]
Relevant = Sequence[Mapping[Any, float] | Collection[Hashable]]


def ndcg(rankings: Rankings, relevant: Relevant, k: int | None = 10) -> float:
    """Return the mean normalized discounted cumulative gain of the first `k` documents.

    Raises:
        InputError: see `gains_of`.
    """
    values = []
    for gains, ideal in gains_of(rankings, relevant, k):
        values.append(_dcg(gains) / _dcg(np.sort(ideal)[::-1][:k]))
    return float(np.mean(values))


def mrr(rankings: Rankings, relevant: Relevant, k: int | None = 10) -> float:
    """Return the mean reciprocal rank of the first relevant document, 0 without one in `k`.

    Raises:
        InputError: see `gains_of`.
    """
    values = []
    for gains, _ in gains_of(rankings, relevant, k):
        hits = np.flatnonzero(gains)
        values.append(1 / (1 + hits[0]) if len(hits) else 0.0)
    return float(np.mean(values))


def mean_average_precision(rankings: Rankings, relevant: Relevant, k: int | None = None) -> float:
    """Return the mean over queries of the average precision at the relevant documents.

    Of a query it is the mean over its relevant documents, or over `k` of them where it has more;
    one that isn't among the first `k` counts 0.

    Raises:
        InputError: see `gains_of`.
    """
    values = []
    for gains, ideal in gains_of(rankings, relevant, k):
        ranks = 1 + np.flatnonzero(gains)
        precisions = np.arange(1, len(ranks) + 1) / ranks
        values.append(precisions.sum() / min(len(ideal), k or len(ideal)))
    return float(np.mean(values))


def recall(rankings: Rankings, relevant: Relevant, k: int | None = 10) -> float:
    """Return the mean share of the relevant documents that are among the first `k`.

    Raises:
        InputError: see `gains_of`.
    """
    found = gains_of(rankings, relevant, k)
    return float(np.mean([np.count_nonzero(gains) / len(ideal) for gains, ideal in found]))


def rank_by_score(scores: Any) -> list[int]:
    """Return the indices of `scores` by falling score; equal ones keep their order."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()


def gains_of(
    rankings: Rankings, relevant: Relevant, k: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each query the relevance of its first `k` documents, and of all relevant ones.

    Raises:
        InputError: there are no queries, or other numbers of rankings and of `relevant`; a query
            has no relevant document; a relevance is no number from 0 up; or a ranking has a
            document twice.
    """
    if k is not None:
        check_count("k", k)
    if not len(rankings) or len(rankings) != len(relevant):
        raise InputError(
            f"there are {len(rankings)} rankings, and {len(relevant)} queries with relevant "
            "documents; give one of each for every query"
        )
    for query, (ranking, judged) in enumerate(zip(rankings, relevant, strict=True)):
        gains = _relevance_by_name(query, judged)
        names = list(ranking)
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"the ranking of query {query} has the document {twice!r} twice")
        yield (
            np.array([gains.get(name, 0.0) for name in names[:k]], np.float64),
            np.array(list(gains.values()), np.float64),
        )


def _relevance_by_name(query: int, judged: Any) -> dict[Hashable, float]:
    if isinstance(judged, str) or not isinstance(judged, Collection):
        raise InputTypeError(
            f"relevant has {shown(judged)} for query {query}; give the relevance of documents by "
            "name, or a list of the relevant ones"
        )
    by_name = judged if isinstance(judged, Mapping) else dict.fromkeys(judged, 1)
    for name, gain in by_name.items():
        number = isinstance(gain, int | float | np.number | np.bool_)
        if not number or not 0 <= gain < np.inf:
            raise InputError(
                f"relevant has {shown(gain)} for document {name!r} of query {query}; a relevance "
                "is a number from 0 up"
            )
    gains = {name: float(gain) for name, gain in by_name.items() if gain > 0}
    if not gains:
        raise InputError(
            f"query {query} has no relevant document, so that no ranking of it is better than "
            "another; leave it out"
        )
    return gains


def _dcg(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
