"""Scores of classifiers against transformers' pipeline and sentence-transformers' CrossEncoder."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from inarch.answers.activation import ACTIVATIONS, class_path
from inarch.tasks import TextClassifier

from .conftest import transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "bird", "sun", "rain"]
PAIRS = [("cat dog", "rain"), ("sun", "bird bird"), ("dog", "cat sun rain")]
OLD = "sbert_ce_default_activation_function"


def make(folder, fields, cls="BertForSequenceClassification"):
    """A checkpoint with weights of order one and a tokenizer, with fields of its config added."""
    torch.manual_seed(0)
    config = transformers.BertConfig.from_dict(
        {
            "vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 32, **fields,
        }
    )  # fmt: skip
    model = getattr(transformers, cls)(config)
    for p in model.parameters():
        p.data.normal_(0, 0.4)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 32})
    )
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, **fields}))
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"num_labels": 1}, {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 1, "problem_type": "multi_label_classification"},
        {"id2label": {"0": "no", "1": "yes", "2": "maybe"}},
        {"id2label": {"2": "no", "0": "yes", "1": "maybe"}, "label2id": {"no": 5}},
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        {"num_labels": 2, "problem_type": "regression"},
        {"num_labels": 3, "id2label": {"0": "no", "1": "yes"}},
        {"num_labels": 2, "id2label": {"0": "no", "1": "yes", "2": "maybe"}},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:config.json has num_labels")
def test_classes_and_scores_are_the_pipelines(fields, tmp_path):
    folder = make(tmp_path, fields)
    ours = TextClassifier.from_preset(folder).classify(PAIRS, top_k=None)
    pipeline = transformers.pipeline("text-classification", str(folder), device="cpu")
    for pair, answers in zip(PAIRS, ours, strict=True):
        theirs = pipeline([dict(zip(("text", "text_pair"), pair, strict=True))], top_k=None)[0]
        assert [a["label"] for a in answers] == [a["label"] for a in theirs]
        np.testing.assert_allclose(
            [a["score"] for a in answers], [a["score"] for a in theirs], rtol=1e-4, atol=1e-6
        )


def predicted(task):
    """Scores as `CrossEncoder.predict` lays them out."""
    rows = [{a["label"]: a["score"] for a in answers} for answers in task.classify(PAIRS, None)]
    found = np.array([[row[label] for label in task.labels] for row in rows])
    return found[:, 0] if found.shape[1] == 1 else found


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_folder_of_cross_encoder_gives_what_it_predicts(name, classes, tmp_path):
    make(tmp_path / "plain", {"num_labels": classes})
    activation = getattr(torch.nn, ACTIVATIONS[name][0])()
    model = CrossEncoder(str(tmp_path / "plain"), device="cpu", activation_fn=activation)
    expected = model.predict(PAIRS)
    model.save(str(tmp_path / "saved"))
    task = TextClassifier.from_preset(tmp_path / "saved")
    np.testing.assert_allclose(predicted(task), expected, rtol=2e-4, atol=1e-6)
    for field, value in (
        (OLD, class_path(name)),
        ("sentence_transformers", {"activation_fn": class_path(name), "version": "4.0.1"}),
    ):
        config = json.loads((tmp_path / "plain/config.json").read_text()) | {field: value}
        (tmp_path / "plain/config.json").write_text(json.dumps(config))
        old = TextClassifier.from_preset(tmp_path / "plain")
        np.testing.assert_allclose(predicted(old), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("recorded", [None, "identity", "sigmoid"])
def test_cross_encoder_predicts_the_same_from_what_is_saved_here(recorded, tmp_path):
    make(tmp_path / "plain", {"num_labels": 1})
    if recorded:
        activation = getattr(torch.nn, ACTIVATIONS[recorded][0])()
        CrossEncoder(str(tmp_path / "plain"), device="cpu", activation_fn=activation).save(
            str(tmp_path / "plain")
        )
    for given in ({}, {"activation_fn": "tanh"}):
        task = TextClassifier.from_preset(tmp_path / "plain", **given)
        task.save_to_preset(tmp_path / "saved")
        theirs = CrossEncoder(str(tmp_path / "saved"), device="cpu").predict(PAIRS)
        np.testing.assert_allclose(predicted(task), theirs, rtol=2e-4, atol=1e-6)
