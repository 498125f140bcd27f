"""Laws of the losses of sentence vectors: their values are their papers' and the library's."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    DistillKLDivLoss,
    EmbedDistillLoss,
    MarginMSELoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)

from ..compiled import compiled

pytestmark = pytest.mark.turns(3)

ROWS, DIM = 5, 6
RANDOM = np.random.default_rng(0)
A, B, C, D = (RANDOM.normal(size=(ROWS, DIM)).astype(np.float32) for _ in range(4))
SCORES = np.array([0.1, 0.8, 0.8, -0.3, 0.5], np.float32)
TEACHER = RANDOM.normal(size=(ROWS, 3)).astype(np.float32)
VECTORS = RANDOM.normal(size=(ROWS, 2, DIM)).astype(np.float32)


def value(loss, columns, y=None):
    y = loss.targets(None if y is None else np.asarray(y), ROWS, len(columns), DIM)
    return float(ops.convert_to_numpy(compiled(loss)(y, np.concatenate(columns))))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cos(a, b):
    return (unit(a) * unit(b)).sum(-1)


def contrastive(similar, scale, anchor, *others):
    logits = scale * similar(anchor[:, None], np.concatenate(others)[None])
    return np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def dot(a, b):
    return (a * b).sum(-1)


def divergence(temperature):
    student = softmax(np.stack([dot(A, B), dot(A, C), dot(A, D)], 1) / temperature)
    teacher = softmax(TEACHER / temperature)
    return np.mean((teacher * np.log(teacher / student)).sum(-1)) * temperature**2


def cosent(scores, y):
    pairs = [(i, j) for i in range(ROWS) for j in range(ROWS) if y[i] < y[j]]
    return np.log(1 + sum(np.exp(scores[i] - scores[j]) for i, j in pairs))


def triplet(distance, margin):
    return np.maximum(distance(A, B) - distance(A, C) + margin, 0).mean()


def length(a, b):
    return np.linalg.norm(a - b, axis=-1)


MARGINS = np.stack([dot(A, B) - dot(A, C), dot(A, B) - dot(A, D)], 1)
# Loss, columns, targets, value, and the library's own loss with its arguments.
CASES = {
    "pairs": (
        MultipleNegativesRankingLoss(), [A, B], None, contrastive(cos, 20.0, A, B),
        ("MultipleNegativesRankingLoss", {}),
    ),
    "hard negatives": (
        MultipleNegativesRankingLoss(), [A, B, C, D], None, contrastive(cos, 20.0, A, B, C, D),
        ("MultipleNegativesRankingLoss", {}),
    ),
    "dot": (
        MultipleNegativesRankingLoss(2.0, "dot"), [A, B, C], None, contrastive(dot, 2.0, A, B, C),
        ("MultipleNegativesRankingLoss", {"scale": 2.0, "similarity_fct": "dot_score"}),
    ),
    "cosine": (
        CosineSimilarityLoss(), [A, B], SCORES, np.mean((cos(A, B) - SCORES) ** 2),
        ("CosineSimilarityLoss", {}),
    ),
    "cosent": (
        CoSENTLoss(), [A, B], SCORES, cosent(20 * cos(A, B), SCORES), ("CoSENTLoss", {}),
    ),
    "cosent of distances": (
        CoSENTLoss(0.5, "euclidean"), [A, B], SCORES[:, None], cosent(-0.5 * length(A, B), SCORES),
        ("CoSENTLoss", {"scale": 0.5, "similarity_fct": "pairwise_euclidean_sim"}),
    ),
    "triplet": (TripletLoss(), [A, B, C], None, triplet(length, 5.0), ("TripletLoss", {})),
    "triplet by cosine": (
        TripletLoss("cosine", 0.5), [A, B, C], None, triplet(lambda a, b: 1 - cos(a, b), 0.5),
        ("TripletLoss", {"distance_metric": "COSINE", "triplet_margin": 0.5}),
    ),
    "triplet by manhattan": (
        TripletLoss("manhattan", 1.0), [A, B, C], None,
        triplet(lambda a, b: np.abs(a - b).sum(-1), 1.0),
        ("TripletLoss", {"distance_metric": "MANHATTAN", "triplet_margin": 1.0}),
    ),
    "margins": (
        MarginMSELoss(), [A, B, C, D], TEACHER[:, :2], np.mean((MARGINS - TEACHER[:, :2]) ** 2),
        ("MarginMSELoss", {}),
    ),
    "one margin": (
        MarginMSELoss(), [A, B, C], SCORES, np.mean((MARGINS[:, 0] - SCORES) ** 2),
        ("MarginMSELoss", {}),
    ),
    "margins of scores": (
        MarginMSELoss(), [A, B, C, D], TEACHER,
        np.mean((MARGINS - (TEACHER[:, :1] - TEACHER[:, 1:])) ** 2), ("MarginMSELoss", {}),
    ),
    "divergence": (
        DistillKLDivLoss(), [A, B, C, D], TEACHER, divergence(1.0), ("DistillKLDivLoss", {}),
    ),
    "divergence at a temperature": (
        DistillKLDivLoss(temperature=2.0), [A, B, C, D], TEACHER, divergence(2.0),
        ("DistillKLDivLoss", {"temperature": 2.0}),
    ),
    "vectors": (
        EmbedDistillLoss(), [A, B], VECTORS,
        np.mean([1 - cos(A, VECTORS[:, 0]), 1 - cos(B, VECTORS[:, 1])]), ("EmbedDistillLoss", {}),
    ),
    "one vector of both": (
        EmbedDistillLoss("mse"), [A, B], C, np.mean([(A - C) ** 2, (B - C) ** 2]), ("MSELoss", {}),
    ),
    "distances of vectors": (
        EmbedDistillLoss("l2"), [A], C, length(A, C).mean(),
        ("EmbedDistillLoss", {"distance_metric": "l2"}),
    ),
    "matryoshka": (
        MatryoshkaLoss(MultipleNegativesRankingLoss(), [DIM, 2], [1.0, 0.5]), [A, B, C], None,
        contrastive(cos, 20.0, A, B, C)
        + 0.5 * contrastive(cos, 20.0, A[:, :2], B[:, :2], C[:, :2]),
        ("MultipleNegativesRankingLoss", {}),
    ),
    "matryoshka of vectors": (
        MatryoshkaLoss(EmbedDistillLoss("mse"), [DIM, 3]), [A], C,
        np.mean((unit(A) - C) ** 2) + np.mean((unit(A[:, :3]) - C[:, :3]) ** 2), ("MSELoss", {}),
    ),
    "matryoshka of scores": (
        MatryoshkaLoss(CoSENTLoss(), [4]), [A, B], SCORES,
        cosent(20 * cos(A[:, :4], B[:, :4]), SCORES),
        ("CoSENTLoss", {}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_loss_has_the_value_of_its_formula(case):
    loss, columns, y, expected, _ = CASES[case]
    assert value(loss, columns, y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_built_again_from_its_config(case):
    loss, columns, y, expected, _ = CASES[case]
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert value(again, columns, y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_a_loss_has_the_value_of_sentence_transformers(case):
    pytest.importorskip("sentence_transformers")
    torch = pytest.importorskip("torch")
    loss, columns, y, _, (name, options) = CASES[case]
    reference = reference_loss(loss, name, options)
    labels = None if y is None else torch.from_numpy(np.squeeze(y) if name == "CoSENTLoss" else y)
    features = [{"sentence_embedding": torch.from_numpy(x.copy())} for x in columns]
    found = float(reference(features, labels))
    assert value(loss, columns, y) == pytest.approx(found, rel=2e-5)


def reference_loss(loss, name, options):
    """The library's loss on a model whose vectors are its inputs."""
    import torch
    from sentence_transformers import util
    from sentence_transformers.sentence_transformer import losses

    class Model(torch.nn.Module):
        training = False

        def forward(self, features):
            return dict(features)

        def get_embedding_dimension(self):
            return DIM

    if "similarity_fct" in options:
        options = options | {"similarity_fct": getattr(util, options["similarity_fct"])}
    if options.get("distance_metric") in ("COSINE", "MANHATTAN"):
        metric = getattr(losses.TripletDistanceMetric, options["distance_metric"])
        options = options | {"distance_metric": metric}
    model = Model()
    found = getattr(losses, name)(model, **options)
    if isinstance(loss, MatryoshkaLoss):
        dims, weights = loss.matryoshka_dims, loss.matryoshka_weights
        found = losses.MatryoshkaLoss(model, found, dims, weights)
    return found


def test_equal_texts_have_a_gradient():
    for loss in (TripletLoss(), CoSENTLoss(similarity_fct="euclidean")):
        columns = [A, A, B][: loss.least_columns]
        y = loss.targets(None if len(columns) == 3 else SCORES, ROWS, len(columns), DIM)
        assert np.isfinite(gradient(loss, y, np.concatenate(columns))).all()


def gradient(loss, y, vectors):
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(lambda x: loss(y, x)))(vectors))
    if backend == "torch":
        x = ops.convert_to_tensor(vectors).requires_grad_()
        loss(y, x).backward()
        return x.grad.numpy()
    import tensorflow as tf

    x = tf.constant(vectors)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = loss(y, x)
    return tape.gradient(found, x).numpy()


@pytest.mark.parametrize(
    ("loss", "columns", "y", "named"),
    [
        (TripletLoss(), 2, None, "has 2 texts, and TripletLoss needs 3"),
        (MultipleNegativesRankingLoss(), 1, None, "has 1 text, .* needs at least 2"),
        (MarginMSELoss(), 2, SCORES, "needs at least 3"),
        (CosineSimilarityLoss(), 2, None, "needs a score for each example: give y"),
        (CoSENTLoss(), 2, TEACHER, r"shape \[5, 3\]; CoSENTLoss reads \[5, 1\]"),
        (MarginMSELoss(), 4, VECTORS[..., 0, 0], r"reads \[5, 2\] or \[5, 3\]"),
        (DistillKLDivLoss(), 3, TEACHER, r"shape \[5, 3\]; DistillKLDivLoss reads \[5, 2\]"),
        (EmbedDistillLoss(), 1, TEACHER, r"\[5, 3\], and the model's vectors have 6 numbers"),
        (EmbedDistillLoss(), 3, VECTORS, r"give \[5, 6\] or \[5, 3, 6\]"),
        (EmbedDistillLoss(), 1, None, "needs a teacher's vector"),
        (MultipleNegativesRankingLoss(), 2, SCORES, "y is given, and Multiple.* needs no targets"),
        (MatryoshkaLoss(TripletLoss(), [7]), 3, None, "matryoshka_dims has 7, .* have 6 numbers"),
        (MatryoshkaLoss(TripletLoss(), [4]), 2, None, "needs 3"),
    ],
)
def test_what_a_loss_cannot_read_is_named(loss, columns, y, named):
    with pytest.raises(InputError, match=named):
        check(loss, columns, y)


def check(loss, columns, y):
    loss.check_columns(columns)
    loss.check_dimension(DIM)
    loss.targets(y, ROWS, columns, DIM)


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (lambda: MultipleNegativesRankingLoss(0), InputError, "scale is 0"),
        (lambda: MultipleNegativesRankingLoss(similarity_fct="maxsim"), InputError, "maxsim"),
        (lambda: MultipleNegativesRankingLoss(mini_batch_size=0), InputError, "mini_batch_size"),
        (lambda: TripletLoss("angle"), InputError, "distance_metric is 'angle'"),
        (lambda: DistillKLDivLoss(temperature=-1), InputError, "temperature is -1"),
        (lambda: EmbedDistillLoss("dot"), InputError, "distance_metric is 'dot'"),
        (lambda: MatryoshkaLoss("mse", [2]), InputTypeError, "loss is 'mse'"),
        (lambda: MatryoshkaLoss(TripletLoss(), 8), InputTypeError, "matryoshka_dims is 8"),
        (lambda: MatryoshkaLoss(TripletLoss(), [8, 0]), InputError, "is 0"),
        (lambda: MatryoshkaLoss(TripletLoss(), [8], [1, 2]), InputError, "2 matryoshka_weights"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(make, error, named):
    with pytest.raises(error, match=named):
        make()
