"""Laws of `ZeroShotClassifier`: entailment by its name, and scores of labels given with a text."""

import json

import numpy as np
import pytest

from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextClassifier, ZeroShotClassifier, inference
from inarch.tasks.zero_shot_classifier import contradiction_class, entailment_class

from .conftest import learner, make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat sat on the mat.", "a very good film", ""]
LABELS = ["cat", "dog", "road"]
NLI = ["Contradiction", "neutral", "ENTAILMENT"]


@pytest.fixture(scope="module")
def backbone():
    return make_backbone(BertBackbone)


def zero_shot(backbone, preprocessor, labels=NLI):
    return ZeroShotClassifier(TextClassifier(backbone, len(labels), preprocessor, labels=labels))


def scores_of(answers):
    return {answer["label"]: answer["score"] for answer in answers}


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_scores_are_a_softmax_of_entailment_over_the_labels(backbone, preprocessor):
    task = zero_shot(backbone, preprocessor)
    found = task.classify(TEXTS, LABELS, "the {}.")
    for text, answers in zip(TEXTS, found, strict=True):
        logits = task.predict([(text, f"the {label}.") for label in LABELS]).astype("float64")
        expected = dict(zip(LABELS, softmax(logits[:, 2]), strict=True))
        assert scores_of(answers) == pytest.approx(expected, rel=1e-5)
        assert [a["label"] for a in answers] == sorted(expected, key=expected.get, reverse=True)
    assert scores_of(task.classify(TEXTS[0], LABELS, "the {}.")) == pytest.approx(
        scores_of(found[0])
    )
    assert task.classify([], LABELS) == []


@pytest.mark.parametrize("labels", [LABELS, LABELS[:1]])
def test_several_labels_or_one_are_each_scored_against_contradiction(
    labels, backbone, preprocessor
):
    task = zero_shot(backbone, preprocessor)
    answers = task.classify(TEXTS[0], labels, "the {}.", multi_label=len(labels) > 1)
    logits = task.predict([(TEXTS[0], f"the {label}.") for label in labels]).astype("float64")
    expected = dict(zip(labels, softmax(logits[:, [2, 0]])[:, 0], strict=True))
    assert scores_of(answers) == pytest.approx(expected, rel=1e-5)


def test_entailment_and_contradiction_are_found_by_name():
    assert entailment_class(["entailment", "neutral", "contradiction"]) == 0
    assert entailment_class(["not_entailment", "Entailment"]) == 1
    assert entailment_class(["CONTRADICTION", "entails", "NEUTRAL"]) == 1
    assert contradiction_class(["neutral", "entailment", "contradiction"]) == 2
    assert contradiction_class(["entailment", "not_entailment"]) == 1
    assert contradiction_class(["no", "entailment"]) == 0
    for labels in (["LABEL_0", "LABEL_1", "LABEL_2"], ["entailed", "entailment"]):
        with pytest.raises(InputError, match='labels=\\["contradiction"'):
            entailment_class(labels)
    with pytest.raises(InputError, match="none of the classes .* called contradiction"):
        contradiction_class(["entailment", "neutral", "other"])


def test_a_long_text_is_cut_and_its_hypothesis_never(backbone, preprocessor):
    task = zero_shot(backbone, preprocessor)
    hypothesis = "the {} ran on the road and on the mat"  # leaves 7 of 20 tokens
    long = task.classify("a very bad film and a good dog " * 3, ["cat", "dog"], hypothesis)
    cut = task.classify("a very bad film and a good", ["cat", "dog"], hypothesis)
    assert scores_of(long) == pytest.approx(scores_of(cut))
    with pytest.raises(InputError, match="hypothesis 'the cat ran .* sequence_length=20"):
        task.classify(["", "the cat"], ["cat"], "the {}" + " ran" * 18)


def test_pairs_of_several_chunks_keep_their_places(backbone, preprocessor, monkeypatch):
    task = zero_shot(backbone, preprocessor)
    expected = task.classify(TEXTS, LABELS)
    monkeypatch.setattr(inference, "CHUNK", 2)
    for found, wanted in zip(task.classify(TEXTS, LABELS), expected, strict=True):
        assert scores_of(found) == pytest.approx(scores_of(wanted), rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels is empty"), (["cat", " "], "labels has ' ', an empty name"),
        (["cat", "dog", "cat"], "labels has 'cat' twice"), ("cat", "labels is 'cat'; give a list"),
        (["cat", 3], "labels has 3"), (None, "labels is None"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_named(labels, message, backbone, preprocessor):
    with pytest.raises((InputError, InputTypeError), match=message):
        zero_shot(backbone, preprocessor).classify(TEXTS, labels)


@pytest.mark.parametrize(
    "template",
    ["This is it.", "", "{} and {}", "{0} {1}", "{label}", "{", "{{}}", "{!r}", "{:>9}", 3],
)
def test_a_template_without_one_place_for_the_label_is_named(template, backbone, preprocessor):
    with pytest.raises((InputError, InputTypeError), match="hypothesis_template is"):
        zero_shot(backbone, preprocessor).classify(TEXTS, LABELS, template)


def test_braces_of_the_text_are_written_twice(backbone, preprocessor):
    task = zero_shot(backbone, preprocessor)
    expected = task.predict([("cat", "{the} mat")])[0, [0, 2]].astype("float64")
    (answer,) = task.classify("cat", ["mat"], "{{the}} {0}")
    assert answer["score"] == pytest.approx(softmax(expected)[1], rel=1e-5)


def test_other_things_than_texts_and_classifiers_are_named(backbone, preprocessor):
    task = zero_shot(backbone, preprocessor)
    with pytest.raises(InputTypeError, match="text 1 is a pair"):
        task.classify(["cat", ("a", "b")], LABELS)
    with pytest.raises(InputTypeError, match="multi_label is 1"):
        task.classify(TEXTS, LABELS, multi_label=1)
    with pytest.raises(InputTypeError, match="classifier is BertBackbone|classifier is <"):
        ZeroShotClassifier(backbone)
    with pytest.raises(InputError, match="no class of 'LABEL_0', 'LABEL_1' is called entailment"):
        ZeroShotClassifier(TextClassifier(backbone, 2, preprocessor))


def test_it_is_saved_and_loaded_as_its_classifier(backbone, preprocessor, tmp_path):
    task = zero_shot(backbone, preprocessor)
    task.save_to_preset(tmp_path, model_card=True)
    assert (tmp_path / "README.md").is_file()
    again = ZeroShotClassifier.from_preset(tmp_path)
    assert again.classify(TEXTS, LABELS) == task.classify(TEXTS, LABELS)
    assert TextClassifier.from_preset(tmp_path).labels == NLI


def written(tmp_path, preprocessor, **fields):
    task = TextClassifier(learner(), 3, preprocessor, labels=NLI)
    task.save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({n: v for n, v in config.items() if v is not None}))
    return tmp_path


NUMBERED = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


def test_names_are_taken_from_label2id_where_id2label_has_none(preprocessor, tmp_path):
    numbers = {"entailment": 0, "contradiction": 2, "neutral": 1}
    folder = written(tmp_path, preprocessor, id2label=NUMBERED, label2id=numbers)
    for options in ({}, {"labels": None, "num_classes": None}):
        found = ZeroShotClassifier.from_preset(folder, **options)
        assert found.classifier.labels == ["entailment", "neutral", "contradiction"]
    given = ZeroShotClassifier.from_preset(folder, labels=["neutral", "contradiction", "entail"])
    assert given.classifier.labels[2] == "entail"


@pytest.mark.filterwarnings("ignore:config.json has label2id")
def test_names_that_contradict_each_other_are_refused(preprocessor, tmp_path):
    numbers = {"ENTAILMENT": 0, "Contradiction": 2, "neutral": 1}
    folder = written(tmp_path, preprocessor, label2id=numbers)
    with pytest.raises(ConfigError, match="class 2 'ENTAILMENT' in id2label, and class 0"):
        ZeroShotClassifier.from_preset(folder)


def test_a_checkpoint_without_entailment_is_refused(preprocessor, tmp_path):
    folder = written(tmp_path, preprocessor, id2label=NUMBERED, label2id=None)
    with pytest.raises(InputError, match="no class of 'LABEL_0'"):
        ZeroShotClassifier.from_preset(folder)


def test_it_is_trained_as_its_classifier(preprocessor):
    task = zero_shot(learner(), preprocessor)
    pairs = [("the cat sat", "the cat."), ("the cat sat", "the dog.")]
    history = task.fit(pairs, ["ENTAILMENT", "Contradiction"], verbose=0)
    assert history.model is task.classifier
    with pytest.raises(InputError, match="'wings' of text 0 is none of 'Contradiction'"):
        task.evaluate(pairs[:1], ["wings"])
