"""Laws of targets and weights: each text's own, by whatever name, and through every way to fit."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, batches_seen, learner, make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat", "a dog", "the film was bad", "good", "the mat", "ran", "on the road", "sat"]
LABELS = [0, 1, 0, 1, 1, 0, 1, 1]
NAMES = ["bad", "good", "dull"]


@pytest.fixture(scope="module")
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


def classifier(preprocessor, **changes):
    return TextClassifier(learner(), preprocessor=preprocessor, **changes)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(4 * index, 4 * index + 4)
        return TEXTS[part], np.array(LABELS[part])


def generator():
    for index in range(2):
        yield Batches()[index]


@pytest.mark.parametrize(
    "data", [{"x": TEXTS, "y": LABELS, "shuffle": False}, {"x": Batches()}, {"x": generator}]
)
def test_each_class_has_the_weight_of_its_name_or_number(data, preprocessor):
    task = classifier(preprocessor, num_classes=2, labels=["bad", "good"])
    for weight in ({"good": 3.0}, {1: 3.0}, {np.int64(1): 3, "bad": 1}):
        given = {**data, "x": data["x"]() if callable(data["x"]) else data["x"]}
        (batches,) = batches_seen(task, **given, class_weight=weight).values()
        y = np.concatenate([batch[1] for batch in batches])
        weights = np.concatenate([batch[2] for batch in batches])
        np.testing.assert_array_equal(y, LABELS)
        np.testing.assert_array_equal(weights, np.where(y == 1, 3.0, 1.0))


@pytest.mark.parametrize(
    ("weight", "named"),
    [
        ({"fine": 2.0}, "key 'fine', which is no class; the classes are 'bad', 'good'"),
        ({2: 2.0}, "key 2"),
        ({"good": 1.0, 1: 2.0}, "'good' twice"),
        ({"good": -1.0}, "-1.0 for 'good'"),
        ({"good": "much"}, "'much' for 'good'"),
    ],
)
def test_a_weight_of_no_class_is_named(weight, named, preprocessor):
    task = classifier(preprocessor, num_classes=2, labels=["bad", "good"])
    prepared = {name: preprocessor(TEXTS)[name] for name in task.input}
    for x in (TEXTS, prepared):
        with pytest.raises(InputError, match=named):
            task.fit(x, np.array(LABELS), class_weight=weight, verbose=0)


def test_weights_of_classes_are_for_tasks_with_classes_and_not_for_both(preprocessor):
    several = classifier(preprocessor, num_classes=2, problem_type="multi_label_classification")
    for task in (several, MaskedLM(learner(), preprocessor), TextEmbedder(learner(), preprocessor)):
        with pytest.raises(InputError, match="class_weight .*sample_weight"):
            task.fit(TEXTS, LABELS, class_weight={0: 1.0})
    task = classifier(preprocessor, num_classes=2)
    with pytest.raises(InputError, match="at once; give sample_weight alone"):
        task.fit(TEXTS, LABELS, class_weight={0: 1.0}, sample_weight=np.ones(8), verbose=0)


def test_prepared_arrays_are_weighed_by_name(preprocessor):
    task = classifier(preprocessor, num_classes=2, labels=["bad", "good"])
    x = {name: preprocessor(TEXTS)[name] for name in task.input}
    by_name, by_number = (
        keras.models.clone_model(task).fit(x, np.array(LABELS), class_weight=w, verbose=0)
        for w in ({"good": 0.0, "bad": 0.0}, {0: 0.0, 1: 0.0})
    )
    assert by_name.history["loss"] == by_number.history["loss"] == [0.0]


WEIGHTS = np.arange(8, dtype=np.float32)
PAIRS = [(text, text) for text in TEXTS]


@pytest.mark.parametrize("x", [TEXTS, PAIRS, np.array(TEXTS)])
@pytest.mark.parametrize("class_weight", [None, {0: 1.0}])
def test_a_split_keeps_each_texts_target_and_weight(x, class_weight, preprocessor):
    own = {"sample_weight": WEIGHTS.tolist()} if class_weight is None else {}
    seen = batches_seen(
        classifier(preprocessor, num_classes=2), x=x, y=LABELS, validation_split=0.25,
        shuffle=False, class_weight=class_weight, **own,
    )  # fmt: skip
    ((_, y, weight),) = seen[0]
    np.testing.assert_array_equal(y, LABELS[:6])
    np.testing.assert_array_equal(weight, WEIGHTS[:6] if own else np.ones(6))
    ((_, y, *weight),) = seen[1]
    np.testing.assert_array_equal(y, LABELS[6:])
    assert [w.tolist() for w in weight] == ([WEIGHTS[6:].tolist()] if own else [])


def test_a_split_keeps_an_embedders_weights(preprocessor):
    task = TextEmbedder(learner(), preprocessor)
    task.compile(loss="mse")
    vectors = np.tile(np.arange(8, dtype="float32")[:, None], (1, 16))  # each with its number
    seen = batches_seen(
        task, x=TEXTS, y=vectors, sample_weight=WEIGHTS, validation_split=0.5, shuffle=False
    )
    np.testing.assert_array_equal(seen[0][0][2], WEIGHTS[:4])
    numbers = seen[1][0][1][:, 0].astype(int)  # those that are evaluated come by length
    assert sorted(numbers) == [4, 5, 6, 7]
    np.testing.assert_array_equal(seen[1][0][2], WEIGHTS[numbers])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sample_weight": np.ones(7)}, "8 texts and 7 sample weights"),
        ({"sample_weight": [1.0] * 5 + [np.nan, 1.0, 1.0]}, "sample_weight has nan for text 5"),
        ({"sample_weight": [1.0, np.inf] * 4}, "sample_weight has inf for text 1"),
        ({"y": LABELS[:5]}, "8 texts and 5 targets"),
        ({"validation_split": 1.0}, "leaves none to train on"),
        ({"validation_split": 2}, "validation_split is 2"),
    ],
)
def test_what_cannot_be_split_is_named(changes, named, preprocessor):
    task = classifier(preprocessor, num_classes=2)
    with pytest.raises(InputError, match=named):
        task.fit(**({"x": TEXTS, "y": LABELS, "validation_split": 0.25} | changes))


# --- several labels ----------------------------------------------------------------------------


def several(preprocessor):
    kind = "multi_label_classification"
    return classifier(preprocessor, num_classes=3, labels=NAMES, problem_type=kind)


@pytest.mark.parametrize(
    "y",
    [
        [["good"], [], ("bad", "dull")],
        [np.array(["good"]), [], {"bad", "dull"}],
        np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1]]),
        [[0, 1, 0], [0, 0, 0], [1, 0, 1]],
        np.array([[False, True, False], [False] * 3, [True, False, True]]),
    ],
)
def test_names_of_several_classes_are_rows(y, preprocessor):
    rows = several(preprocessor).targets(y, 3)
    np.testing.assert_array_equal(rows, [[0, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("y", "named"),
    [
        ([0, 2], "y has 0.0 for text 0, a number; .*list of names"),
        (np.array([0, 2]), r"y has 0 for text 0.* \['bad', 'good'\]"),
        ([[0], [2]], "rows of 1 numbers, and there are 3 classes"),
        ([[0, 2], [1]], "no row of 3 numbers for each text"),
        ([[0, 1, 2], [0, 0, 1]], "y has 2.0 for text 0, which is not from 0 to 1"),
        (["good", "bad"], "y has 'good' for text 0.*single_label_classification"),
        ([["good"], ["fine"]], "label 'fine' of text 1 is none of 'bad', 'good', 'dull'"),
        ([["good"], None], "y has None for text 1"),
        ([["good"], [1]], "label 1 of text 1"),
    ],
)
def test_what_is_no_set_of_classes_is_named_with_the_way_out(y, named, preprocessor):
    with pytest.raises(InputError, match=named):
        several(preprocessor).fit(TEXTS[:2], y)


# --- losses by name ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "y", "kind"),
    [
        ("sparse_categorical_crossentropy", LABELS, None),
        ("SparseCategoricalCrossentropy", LABELS, None),
        (keras.losses.sparse_categorical_crossentropy, LABELS, None),
        ("categorical_crossentropy", np.eye(3)[LABELS], None),
        ("binary_crossentropy", np.eye(3)[LABELS], "multi_label_classification"),
        (["bce"], np.eye(3)[LABELS], "multi_label_classification"),
    ],
)
def test_a_loss_given_by_name_reads_logits(loss, y, kind, preprocessor):
    backbone = make_backbone()
    task = TextClassifier(backbone, 3, preprocessor, problem_type=kind)
    task.compile(loss=loss, metrics=["accuracy"])
    given, accuracy = task.evaluate(TEXTS, y, verbose=0)
    logits = task.predict(TEXTS).astype(np.float64)
    rows = np.eye(3)[LABELS]
    if kind:
        right = np.mean(np.logaddexp(0, logits) - rows * logits)
        hits = np.mean((logits > 0) == (rows > 0))
    else:
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        right, hits = -np.mean((rows * logs).sum(-1)), np.mean(logits.argmax(-1) == LABELS)
    np.testing.assert_allclose(given, right, rtol=1e-4)
    np.testing.assert_allclose(accuracy, hits, rtol=1e-5)


def test_a_metric_given_by_name_reads_logits(preprocessor):
    task = several(preprocessor)
    names = ["binary_crossentropy", "binary_accuracy", "AUC", "Precision"]
    task.compile(metrics=names, loss="bce")
    result = task.evaluate(TEXTS, np.eye(3)[LABELS], verbose=0, return_dict=True)
    logits, rows = task.predict(TEXTS), np.eye(3)[LABELS]
    right = np.mean(np.logaddexp(0, logits) - rows * logits)
    np.testing.assert_allclose(result["binary_crossentropy"], right, rtol=1e-4)
    np.testing.assert_allclose(result["binary_accuracy"], np.mean((logits > 0) == rows), rtol=1e-5)
    chosen = logits > 0
    np.testing.assert_allclose(
        result["Precision"], (rows * chosen).sum() / max(chosen.sum(), 1), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"loss": keras.losses.SparseCategoricalCrossentropy()}, r"from_logits=True\)"),
        ({"loss": "kl_divergence"}, "reads probabilities"),
        ({"metrics": [keras.metrics.AUC()]}, r"keras.metrics.AUC\(from_logits=True\)"),
    ],
)
def test_what_reads_probabilities_is_refused(arguments, named, preprocessor):
    for task in (classifier(preprocessor, num_classes=2), MaskedLM(learner(), preprocessor)):
        with pytest.raises(InputError, match=named):
            task.compile(**arguments)


def test_a_threshold_of_probabilities_is_warned_of(preprocessor):
    with pytest.warns(UserWarning, match=r"BinaryAccuracy\(threshold=0.0\)"):
        several(preprocessor).compile(metrics=[keras.metrics.BinaryAccuracy()])


def test_a_loss_of_ones_own_and_of_other_outputs_is_left_alone(preprocessor):
    def mine(y_true, y_pred):
        return ops.mean(ops.square(y_pred), axis=-1)

    task = classifier(preprocessor, num_classes=2)
    task.compile(loss=mine)
    assert task.loss is mine
    embedder = TextEmbedder(learner(), preprocessor)
    embedder.compile(loss="cosine_similarity")
    assert embedder.loss == "cosine_similarity"
    with pytest.raises(InputTypeError, match="class_weight is 3"):
        task.fit(TEXTS, LABELS, class_weight=3)
