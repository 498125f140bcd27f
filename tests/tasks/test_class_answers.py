"""Laws of a classifier's answers and of the options of its loss: `top_k`, thresholds, smoothing."""

import keras
import numpy as np
import pytest

from inarch.answers.class_answers import class_answers
from inarch.errors import InputError
from inarch.tasks import TextClassifier
from inarch.training.class_thresholds import class_thresholds
from inarch.training.problem_type import SmoothedCrossEntropy, default_loss

from .conftest import make_backbone

pytestmark = pytest.mark.turns(3)

NAMES = ["bad", "good", "dull"]
SEVERAL = "multi_label_classification"
SCORES = np.array([[0.25, 0.5, 0.75], [0.9, 0.1, 0.2], [0.1, 0.1, 0.1]])


def labels(answers):
    return [[answer["label"] for answer in row] for row in answers]


def test_classes_come_best_first_all_or_the_top():
    assert labels(class_answers(SCORES, NAMES, None))[0] == ["dull", "good", "bad"]
    assert labels(class_answers(SCORES, NAMES, 2))[1] == ["bad", "dull"]
    assert labels(class_answers(SCORES, NAMES, "auto")) == [["dull"], ["bad"], ["bad"]]
    assert class_answers(SCORES, NAMES, 1)[0] == [{"label": "dull", "score": 0.75}]


def test_thresholds_choose_any_number_of_classes_unless_top_k_is_given():
    thresholds = [0.25, 0.6, 0.2]
    found = labels(class_answers(SCORES, NAMES, "auto", thresholds))
    assert found == [["dull", "bad"], ["bad", "dull"], []]
    assert labels(class_answers(SCORES, NAMES, 1, thresholds)) == [["dull"], ["bad"], ["bad"]]
    assert len(labels(class_answers(SCORES, NAMES, None, thresholds))[2]) == 3


def test_thresholds_are_given_as_one_number_a_list_or_by_name():
    assert class_thresholds(0.5, NAMES) == [0.5] * 3
    assert class_thresholds((0, 1, np.float32(0.5)), NAMES) == [0.0, 1.0, 0.5]
    assert class_thresholds({"dull": 0.1, "bad": 0.2, "good": 0.3}, NAMES) == [0.2, 0.3, 0.1]


@pytest.mark.parametrize(
    ("thresholds", "named"),
    [
        (1.5, "thresholds has 1.5 for 'bad'"),
        ([0.5, float("nan"), 0.5], "thresholds has nan for 'good'"),
        ([0.5, "a", 0.5], "thresholds has 'a' for 'good'"),
        ([0.5, 0.5], "one for each of 'bad', 'good', 'dull'"),
        ("high", "thresholds is 'high'"),
        ({"bad": 0.5, "good": 0.5}, "doesn't have 'dull'"),
        ({"bad": 0.5, "good": 0.5, "dull": 0.5, "fair": 1}, "thresholds has 'fair'"),
    ],
)
def test_what_is_no_threshold_is_named(thresholds, named):
    with pytest.raises(InputError, match=named):
        class_thresholds(thresholds, NAMES)


def test_thresholds_are_for_several_labels_saved_and_dropped_with_their_classes(
    preprocessor, tmp_path
):
    task = TextClassifier(make_backbone(), 3, preprocessor, labels=NAMES)
    with pytest.raises(InputError, match="thresholds is 0.5, and problem_type is None"):
        task.thresholds = 0.5
    task.problem_type = SEVERAL
    task.thresholds = {"bad": 0.0, "good": 1.0, "dull": 0.0}
    with pytest.raises(InputError, match="set thresholds to None first"):
        task.problem_type = "regression"
    assert {answer["label"] for answer in task.classify("the cat")} == {"bad", "dull"}
    task.save_to_preset(tmp_path)
    again = TextClassifier.from_preset(tmp_path)
    assert (again.thresholds, again.problem_type) == ([0.0, 1.0, 0.0], SEVERAL)
    assert TextClassifier.from_preset(tmp_path, problem_type="regression").thresholds is None
    assert TextClassifier.from_preset(tmp_path, thresholds=0.5).thresholds == [0.5] * 3
    with pytest.warns(UserWarning, match="has 3 classes, not 2"):
        assert TextClassifier.from_preset(tmp_path, num_classes=2).thresholds is None


def test_one_text_or_pair_gives_one_result_and_a_list_a_list(preprocessor):
    task = TextClassifier(make_backbone(), 3, preprocessor, labels=NAMES)
    for one in ("the cat", ("the cat", "a dog")):
        (alone,) = task.classify([one], top_k=None)
        assert task.classify(one, top_k=None) == alone
    assert len(task.classify(["the cat", "a dog"])) == 2
    assert task.classify([]) == []


# --- losses ------------------------------------------------------------------------------------


def test_smoothing_gives_every_class_its_share():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    y = np.array([0, 2, 1, 1, 0])
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = -(0.7 * logs[np.arange(5), y] + 0.3 * logs.mean(-1)).mean()
    loss = SmoothedCrossEntropy(0.3)
    assert float(loss(y, logits)) == pytest.approx(right, rel=1e-5)
    assert float(loss(y[:, None], logits)) == pytest.approx(right, rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.label_smoothing == 0.3
    assert float(SmoothedCrossEntropy(0.0)(y, logits)) == pytest.approx(
        float(default_loss("single_label_classification")(y, logits)), rel=1e-5
    )


def test_labels_are_smoothed_in_the_tasks_own_loss_of_classes_only(preprocessor):
    task = TextClassifier(make_backbone(), 3, preprocessor, labels=NAMES)
    task.compile(label_smoothing=0.2)
    assert task.loss.label_smoothing == 0.2
    task.fit(["a cat", "a dog"], ["bad", "dull"], class_weight={"bad": 2.0}, verbose=0)
    with pytest.raises(InputError, match="a loss is given"):
        task.compile(loss="sparse_categorical_crossentropy", label_smoothing=0.2)
    with pytest.raises(InputError, match="label_smoothing is 2"):
        task.compile(label_smoothing=2)
    task.problem_type = SEVERAL
    task.compile(label_smoothing=0.2)
    assert task.loss.label_smoothing == 0.2
    task.problem_type = "regression"
    with pytest.raises(InputError, match="problem_type is 'regression'"):
        task.compile(label_smoothing=0.2)


@pytest.mark.parametrize(
    ("problem", "y", "named"),
    [
        (None, [0, np.nan], "label nan of text 1"),
        (SEVERAL, [[0, 1, 0], [0, np.nan, 1]], "y has nan for text 1"),
        ("regression", [[0, 1, 2], [0, np.inf, 1]], "y has inf for text 1"),
        ("regression", [[0, 1], [0, 1]], "y has 2 numbers for each text; give 3 numbers"),
        ("regression", [["a", "b", "c"]] * 2, "y has 'a' for text 0; give numbers"),
        ("regression", [[0, 1, 2], [0, "b", 1]], "y has 'b' for text 1; give numbers"),
        ("regression", np.array([["a", 1, 2]] * 2, object), "y has 'a' for text 0; give numbers"),
    ],
)
def test_a_target_that_is_no_number_or_of_another_width_is_named(problem, y, named, preprocessor):
    task = TextClassifier(make_backbone(), 3, preprocessor, labels=NAMES, problem_type=problem)
    with pytest.raises(InputError, match=named):
        task.fit(["a cat", "a dog"], y, verbose=0)
