"""Laws of the losses on several documents of a query."""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InarchError
from inarch.losses.ranking import (
    WEIGHTINGS,
    LambdaLoss,
    ListNetLoss,
    MarginMSELoss,
    MarginRankingLoss,
)

from ..compiled import compiled

pytestmark = pytest.mark.turns(3)

LOSSES = [
    ListNetLoss(),
    *(LambdaLoss(weighting=name) for name in WEIGHTINGS),
    LambdaLoss(k=2),
    MarginMSELoss(),
    MarginRankingLoss(margin=0.5),
]
each = pytest.mark.parametrize(
    "loss", LOSSES, ids=[f"{loss.name}{i}" for i, loss in enumerate(LOSSES)]
)

# Documents of three queries, of different numbers of them.
SIZES = (4, 2, 3)
LABELS = np.array([2, 0, 1, 0, 0, 1, 3, 1, 1], np.float32)
SCORES = np.array([0.3, -1.2, 2.0, 0.1, 0.7, 0.2, -0.5, 1.5, 0.4], np.float32)
QUERIES = np.repeat(np.arange(3), SIZES)


def value(loss, labels=LABELS, queries=QUERIES, scores=SCORES):
    y_true = np.stack([labels, queries], axis=-1).astype(np.float32)
    found = compiled(loss)(y_true, ops.convert_to_tensor(scores[:, None]))
    return float(ops.convert_to_numpy(found))


def by_query():
    ends = np.cumsum(SIZES)
    return [(LABELS[e - n : e], SCORES[e - n : e]) for n, e in zip(SIZES, ends, strict=True)]


def test_list_net_is_the_cross_entropy_of_two_softmaxes():
    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    right = [-(softmax(y) * np.log(softmax(s))).sum() for y, s in by_query()]
    assert value(ListNetLoss()) == pytest.approx(np.mean(right), rel=1e-5)


def test_lambda_rank_weighs_a_pair_by_the_change_of_ndcg_when_it_is_swapped():
    terms = []
    for labels, scores in by_query():
        ranks = {d: r for r, d in enumerate(np.argsort(-scores, kind="stable"), 1)}
        gains = 2**labels - 1
        best = sum(g / math.log2(r + 1) for r, g in enumerate(sorted(gains)[::-1], 1))
        for i, j in itertools.permutations(range(len(labels)), 2):
            if labels[i] > labels[j]:
                before = [gains[d] / math.log2(1 + ranks[d]) for d in (i, j)]
                after = [
                    gains[i] / math.log2(1 + ranks[j]), gains[j] / math.log2(1 + ranks[i])
                ]  # fmt: skip
                change = abs(sum(before) - sum(after)) / best
                terms.append(change * math.log2(1 + math.exp(scores[j] - scores[i])))
    assert value(LambdaLoss("lambda_rank")) == pytest.approx(np.mean(terms), rel=1e-5)


def test_margins_are_those_of_the_first_document_over_the_others():
    errors, hinges = [], []
    for labels, scores in by_query():
        margins, wanted = scores[0] - scores[1:], labels[0] - labels[1:]
        errors.extend((margins - wanted) ** 2)
        hinges.extend(np.maximum(0, 0.5 - margins))
    assert value(MarginMSELoss()) == pytest.approx(np.mean(errors), rel=1e-5)
    assert value(MarginRankingLoss(0.5)) == pytest.approx(np.mean(hinges), rel=1e-5)


@each
def test_the_order_of_queries_and_rows_of_padding_change_nothing(loss):
    right = value(loss)
    order = np.concatenate([np.flatnonzero(q == QUERIES) for q in (2, 0, 1)])
    assert value(loss, LABELS[order], QUERIES[order], SCORES[order]) == pytest.approx(right, 1e-5)
    padded = [np.append(x, filler) for x, filler in ((LABELS, 5), (QUERIES, -1), (SCORES, 1e4))]
    padded = [np.append(x, filler) for x, filler in zip(padded, (1, -1, -1e4), strict=True)]
    assert value(loss, *padded) == pytest.approx(right, rel=1e-5)


@each
def test_one_document_alone_has_no_loss_and_equal_labels_give_none_to_pairs(loss):
    if not (isinstance(loss, LambdaLoss) and loss.weighting == "ndcg_loss1"):
        assert value(loss, LABELS[:1], QUERIES[:1], SCORES[:1]) == pytest.approx(0, abs=1e-6)
    if isinstance(loss, LambdaLoss) and loss.weighting != "ndcg_loss1":
        assert value(loss, np.ones(9), QUERIES, SCORES) == 0


@each
def test_training_by_a_loss_lowers_it_and_padding_stays_finite(loss):
    # The scores are far apart, where a gradient may vanish or be no number.
    keras.utils.set_random_seed(0)
    inputs = np.append(np.eye(9, dtype=np.float32), np.zeros((2, 9), np.float32), axis=0)
    y = np.stack([np.append(LABELS, [0, 0]), np.append(QUERIES, [-1, -1])], -1).astype(np.float32)
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=False)
    model.build((None, 9))
    model.layers[0].set_weights([40 * SCORES[:, None]])
    history = model.fit(inputs, y, batch_size=11, epochs=3, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


@each
def test_a_saved_loss_is_the_same(loss):
    stored = keras.losses.serialize(loss)
    assert value(keras.losses.deserialize(stored)) == value(loss)
    assert keras.losses.serialize(keras.losses.deserialize(stored)) == stored


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LambdaLoss("ndcg"), "weighting is 'ndcg'"),
        (lambda: LambdaLoss(k=0), "k is 0"),
        (lambda: LambdaLoss(sigma=0.0), "sigma is 0.0"),
        (lambda: LambdaLoss(mu=-1.0), "mu is -1.0"),
        (lambda: MarginRankingLoss(-0.1), "margin is -0.1"),
    ],
)
def test_an_argument_out_of_range_is_named(make, named):
    with pytest.raises(InarchError, match=named):
        make()
