"""Laws of the metrics of rankings."""

import math

import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.metrics.retrieval import (
    mean_average_precision,
    mrr,
    ndcg,
    rank_by_score,
    recall,
)

METRICS = (ndcg, mrr, mean_average_precision, recall)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_ranking_is_one_and_one_without_a_hit_is_zero(metric):
    relevant = [{"a": 3, "b": 1, "c": 0}, ["d"]]
    assert metric([["a", "b", "c"], ["d", "a"]], relevant) == pytest.approx(1)
    assert metric([["c", "d"], ["a"]], relevant) == 0


def test_values_worked_out_by_hand():
    ranking, relevant = [[4, 7, 1, 0]], [{7: 2, 0: 1, 5: 1}]
    assert mrr(ranking, relevant) == 1 / 2
    assert recall(ranking, relevant) == pytest.approx(2 / 3)
    assert recall(ranking, relevant, k=2) == pytest.approx(1 / 3)
    assert mean_average_precision(ranking, relevant) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert mean_average_precision(ranking, relevant, k=2) == pytest.approx((1 / 2) / 2)
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert ndcg(ranking, relevant) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    ideal = 2 + 1 / math.log2(3)
    assert ndcg(ranking, relevant, k=2) == pytest.approx(2 / math.log2(3) / ideal)


def test_metrics_are_the_mean_over_the_queries():
    rankings, relevant = [[0, 1, 2], [2, 1, 0]], [{0}, {0}]
    assert mrr(rankings, relevant) == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("metric", METRICS)
def test_moving_a_relevant_document_up_never_lowers_a_metric(metric):
    random = np.random.default_rng(0)
    for _ in range(50):
        order = random.permutation(8).tolist()
        relevant = [{int(i): int(random.integers(1, 4)) for i in random.choice(8, 3, False)}]
        k = int(random.integers(1, 9))
        place = next(i for i, name in enumerate(order) if name in relevant[0])
        better = [order[place], *order[:place], *order[place + 1 :]]
        assert metric([better], relevant, k) >= metric([order], relevant, k)


def test_equal_scores_keep_their_order():
    assert rank_by_score([0.5, 2, 0.5, 3]) == [3, 1, 0, 2]
    assert rank_by_score([]) == []


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("rankings", "relevant", "k", "named"),
    [
        ([], [], 10, "0 rankings"),
        ([[0]], [[0], [1]], 10, "1 rankings, and 2 queries"),
        ([[0]], [[]], 10, "query 0 has no relevant document"),
        ([[0], [1]], [[0], {1: 0}], 10, "query 1 has no relevant document"),
        ([[0, 1, 0]], [[0]], 10, "the ranking of query 0 has the document 0 twice"),
        ([[0]], [{0: -1}], 10, "relevant has -1 for document 0 of query 0"),
        ([[0]], [{0: math.nan}], 10, "relevant has nan for document 0"),
        ([[0]], [{0: "high"}], 10, "relevant has 'high' for document 0"),
        ([[0]], ["abc"], 10, "relevant has 'abc' for query 0"),
        ([[0]], [[0]], 0, "k is 0"),
    ],
)
def test_what_cannot_be_measured_is_named(metric, rankings, relevant, k, named):
    with pytest.raises((InputError, InputTypeError), match=named):
        metric(rankings, relevant, k)
