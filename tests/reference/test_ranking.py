"""The ranking losses and metrics against sentence-transformers and scikit-learn."""

import numpy as np
import pytest
from keras import ops

from inarch.losses.ranking import (
    LambdaLoss,
    ListNetLoss,
    MarginMSELoss,
    MarginRankingLoss,
)
from inarch.metrics.retrieval import mean_average_precision, ndcg, rank_by_score

torch = pytest.importorskip("torch", reason="needs torch")
cross_encoder = pytest.importorskip("sentence_transformers.cross_encoder", reason="needs it")
theirs = pytest.importorskip("sentence_transformers.cross_encoder.losses", reason="needs it")

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]


class FixedScores(cross_encoder.CrossEncoder):
    """A cross-encoder whose score of a pair is the number that its document spells."""

    num_labels = 1
    device = "cpu"

    def __init__(self):
        torch.nn.Module.__init__(self)

    def preprocess(self, pairs, **kwargs):
        return {"values": torch.tensor([float(document) for _, document in pairs])}

    def forward(self, features):
        return {"scores": features["values"]}


def lists(seed, sizes=(4, 7, 1, 5)):
    random = np.random.default_rng(seed)
    scores = [3 * random.normal(size=n).astype(np.float32) for n in sizes]
    labels = [random.integers(0, 4, n).astype(np.float32) for n in sizes]
    return scores, labels


def ours(loss, scores, labels):
    queries = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
    y_true = np.stack([np.concatenate(labels), queries], axis=-1).astype(np.float32)
    y_pred = ops.convert_to_tensor(np.concatenate(scores)[:, None])
    return float(ops.convert_to_numpy(loss(y_true, y_pred)))


LISTWISE = [
    (ListNetLoss(), lambda model: theirs.ListNetLoss(model)),
    (LambdaLoss(), lambda model: theirs.LambdaLoss(model)),
    (LambdaLoss(k=3), lambda model: theirs.LambdaLoss(model, k=3)),
    (LambdaLoss("none", sigma=0.5), lambda m: theirs.LambdaLoss(m, None, sigma=0.5)),
    (LambdaLoss("ndcg_loss1"), lambda m: theirs.LambdaLoss(m, theirs.NDCGLoss1Scheme())),
    (LambdaLoss("ndcg_loss2"), lambda m: theirs.LambdaLoss(m, theirs.NDCGLoss2Scheme())),
    (LambdaLoss("lambda_rank"), lambda m: theirs.LambdaLoss(m, theirs.LambdaRankScheme())),
    (LambdaLoss(mu=3.0), lambda m: theirs.LambdaLoss(m, theirs.NDCGLoss2PPScheme(mu=3.0))),
]


@pytest.mark.parametrize(("mine", "make"), LISTWISE)
@pytest.mark.parametrize("seed", range(3))
def test_listwise_losses_have_sentence_transformers_values(mine, make, seed):
    scores, labels = lists(seed)
    inputs = [["q"] * len(scores), [[repr(float(s)) for s in row] for row in scores]]
    right = make(FixedScores())(inputs, [torch.tensor(row) for row in labels])
    assert ours(mine, scores, labels) == pytest.approx(float(right), rel=2e-5)


@pytest.mark.parametrize("negatives", [1, 3])
def test_margin_losses_have_the_values_of_sentence_transformers_and_torch(negatives):
    scores, labels = lists(5, sizes=[negatives + 1] * 6)
    columns = [[repr(float(row[i])) for row in scores] for i in range(negatives + 1)]
    inputs = [["q"] * len(scores), *columns]
    teacher = torch.tensor(np.array(labels))
    right = theirs.MarginMSELoss(FixedScores())(inputs, teacher)
    assert ours(MarginMSELoss(), scores, labels) == pytest.approx(float(right), rel=2e-5)
    table = torch.tensor(np.array(scores))
    first, others = table[:, :1].expand(-1, negatives), table[:, 1:]
    hinge = torch.nn.MarginRankingLoss(margin=0.7)(first, others, torch.ones_like(others))
    assert ours(MarginRankingLoss(0.7), scores, labels) == pytest.approx(float(hinge), rel=2e-5)


@pytest.mark.parametrize("k", [None, 1, 5])
def test_metrics_have_scikit_learns_values(k):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    random = np.random.default_rng(0)
    scores = random.normal(size=(6, 12))
    gains = random.integers(0, 4, (6, 12))
    gains[:, 0] = 3
    rankings = [rank_by_score(row) for row in scores]
    relevant = [dict(enumerate(row.tolist())) for row in gains]
    right = metrics.ndcg_score(gains, scores, k=k)
    assert ndcg(rankings, relevant, k) == pytest.approx(right)
    precision = [
        metrics.average_precision_score(y > 0, s) for y, s in zip(gains, scores, strict=True)
    ]
    assert mean_average_precision(rankings, relevant) == pytest.approx(np.mean(precision))
