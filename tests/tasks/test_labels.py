"""Laws of a classifier's labels: which are a checkpoint's, and when its head is kept."""

import json

import keras
import numpy as np
import pytest

from inarch.answers.labels import class_names
from inarch.errors import ConfigError, InputError
from inarch.tasks import MaskedLM, TextClassifier

from .conftest import make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat sat", "bad", "not very good!"]
TWO, THREE = {"0": "no", "1": "yes"}, {"0": "x", "1": "y", "2": "z"}


@pytest.fixture
def saved(preprocessor, tmp_path):
    """A function that writes a classifier's folder, with fields of its config changed."""

    def write(labels=("no", "yes"), **fields):
        folder = tmp_path / "saved"
        keras.utils.set_random_seed(0)
        TextClassifier(
            make_backbone(), len(labels), preprocessor, labels=list(labels)
        ).save_to_preset(folder)
        config = json.loads((folder / "config.json").read_text())
        if fields:
            config = {k: v for k, v in {**config, **fields}.items() if v is not ...}
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write


@pytest.mark.parametrize(
    ("config", "trained", "names"),
    [
        ({}, None, ["LABEL_0", "LABEL_1"]),
        ({"id2label": None, "num_labels": None}, None, ["LABEL_0", "LABEL_1"]),
        ({"num_labels": 1}, None, ["LABEL_0"]),
        ({"label2id": {"a": 0, "b": 1, "c": 2}}, None, ["LABEL_0", "LABEL_1"]),
        ({"id2label": {"10": "k"} | {str(i): chr(97 + i) for i in range(10)}}, None,
            [*"abcdefghij", "k"]),
        ({"id2label": ["no", "yes"]}, None, ["no", "yes"]),
        ({"id2label": {"0": 7, "1": None}}, None, ["7", "None"]),
        ({"id2label": TWO, "num_labels": 2, "_num_labels": 9}, None, ["no", "yes"]),
        ({"id2label": TWO, "num_labels": 3}, None, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"id2label": THREE, "num_labels": 2}, 2, ["LABEL_0", "LABEL_1"]),
        ({"id2label": THREE, "num_labels": 2}, 3, ["x", "y", "z"]),
        ({"id2label": {}, "num_labels": 2}, None, None),
        ({"id2label": TWO, "label2id": {"no": 1, "yes": 0}}, None, ["no", "yes"]),
    ],
)  # fmt: skip
def test_classes_are_named_and_counted_as_transformers_does(config, trained, names):
    if names is None:
        with pytest.raises(ConfigError, match="'id2label' is {}"):
            class_names(config, trained)
    else:
        assert class_names(config, trained) == names


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id2label": {"1": "a", "2": "b"}}, "'id2label' is {'1': 'a', '2': 'b'}"),
        ({"id2label": {"a": "0", "b": "1"}}, "'id2label' is"),
        ({"id2label": "no"}, "'id2label' is 'no'"),
        ({"id2label": {"0": "a", "1": "a"}}, "gives 2 classes the name 'a'"),
        ({"num_labels": 0}, "'num_labels' is 0"),
        ({"num_labels": "2"}, "'num_labels' is '2'"),
        ({"num_labels": 10**9}, "a whole number from 1 to 1,000,000. Give the number yourself"),
        ({"num_labels": True}, "'num_labels' is True"),
        ({"id2label": THREE}, "the config has 3 classes, and the trained head has 2"),
    ],
)
def test_labels_that_name_no_classes_are_refused_unless_they_are_given(fields, named, saved):
    before = TextClassifier.from_preset(saved()).predict(TEXTS)
    folder = saved(**fields)
    with pytest.raises(ConfigError, match="config.json") as refused:
        TextClassifier.from_preset(folder)
    assert named in str(refused.value)
    assert "labels=[...]" in str(refused.value) or "num_classes=" in str(refused.value)
    for given in ({"labels": ["bad", "good"]}, {"num_classes": 2}):
        task = TextClassifier.from_preset(folder, **given)
        np.testing.assert_array_equal(task.predict(TEXTS), before)
    MaskedLM.from_preset(folder, load_weights=False)  # a task without classes isn't concerned


def test_fields_that_contradict_each_other_are_reported(saved):
    with pytest.warns(UserWarning, match="num_labels=2 and 3 names"):
        assert TextClassifier.from_preset(saved(id2label=THREE, num_labels=2)).labels == [
            "LABEL_0", "LABEL_1"
        ]  # fmt: skip
    with pytest.warns(UserWarning, match="label2id 'no': 1, and id2label calls class 0 so"):
        TextClassifier.from_preset(saved(label2id={"no": 1, "yes": 0}))


@pytest.mark.parametrize("names", [["never", "yes"], ["NO", "Yes"], ["a", "b"]])
def test_other_names_for_as_many_classes_keep_the_trained_head(names, saved, tmp_path):
    folder = saved()
    logits = TextClassifier.from_preset(folder).predict(TEXTS)
    task = TextClassifier.from_preset(folder, labels=names)
    assert (task.fresh_weights, task.labels) == ((), names)
    np.testing.assert_array_equal(task.predict(TEXTS), logits)
    task.save_to_preset(tmp_path / "renamed")
    config = json.loads((tmp_path / "renamed/config.json").read_text())
    assert config["id2label"] == dict(zip("01", names, strict=True))
    assert config["label2id"] == {name: i for i, name in enumerate(names)}
    assert TextClassifier.from_preset(tmp_path / "renamed").labels == names


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (["no", "yes"], ["yes", "no"]),
        (["no", "yes"], ["Yes", "No"]),
        (["LABEL_0", "LABEL_1"], ["LABEL_1", "LABEL_0"]),
        (["x", "y", "z"], ["z", "y", "new"]),
    ],
)
def test_a_trained_head_is_never_given_its_names_in_another_order(trained, given, saved):
    folder = saved(trained)
    with pytest.raises(InputError, match=f"order .'{trained[0]}', '{trained[1]}'"):
        TextClassifier.from_preset(folder, labels=given)
    assert TextClassifier.from_preset(folder, labels=trained).fresh_weights == ()


def test_names_that_differ_in_case_alone_keep_their_order(saved):
    assert TextClassifier.from_preset(saved(["a", "A"]), labels=["a", "A"]).labels == ["a", "A"]


def test_names_of_classes_that_are_none_are_refused(saved, preprocessor):
    folder = saved()
    for labels, named in (("ab", "'ab'"), (["a", "a"], "'a' more than once"), (5, "5")):
        with pytest.raises(InputError, match=f"labels (is|has) {named}"):
            TextClassifier.from_preset(folder, labels=labels)
    with pytest.raises(InputError, match="labels is 'ab'"):
        TextClassifier(make_backbone(), 2, preprocessor, labels="ab")


def test_another_number_of_classes_gives_a_fresh_head_with_a_warning(saved, tmp_path):
    folder = saved(["x", "y", "z"], num_labels=3, problem_type="multi_label_classification")
    with pytest.warns(UserWarning, match="text_classifier head has 3 classes, not 5"):
        other = TextClassifier.from_preset(folder, num_classes=5)
    assert other.fresh_weights == ("logits/bias", "logits/kernel")
    assert (other.labels[4], other.problem_type) == ("LABEL_4", None)
    other.save_to_preset(tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    assert (len(config["id2label"]), config["num_labels"]) == (5, 5)
    assert TextClassifier.from_preset(tmp_path / "other").predict(TEXTS).shape == (3, 5)


def test_the_head_of_another_task_is_named_and_its_labels_are_not_taken(saved):
    folder = saved(["O", "B-PER", "I-PER"], architectures=["BertForTokenClassification"])
    with pytest.warns(UserWarning, match="token_classifier head .BertForTokenClassification.*Text"):
        task = TextClassifier.from_preset(folder)
    assert task.fresh_weights == ("logits/bias", "logits/kernel")
    assert task.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    with pytest.warns(UserWarning, match="token_classifier head"):
        assert TextClassifier.from_preset(folder, labels=["a", "b", "c"]).labels == ["a", "b", "c"]


def test_untouched_labels_come_back_to_the_byte(saved, tmp_path):
    for fields in (
        {"id2label": ["no", "yes"]},
        {"id2label": {"1": "yes", "0": "no"}, "label2id": {}},
    ):
        folder = saved(**fields)
        TextClassifier.from_preset(folder).save_to_preset(tmp_path / "again")
        config = (tmp_path / "again/config.json").read_bytes()
        assert config == (folder / "config.json").read_bytes()
