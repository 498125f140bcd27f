"""Question answering and zero-shot classification against transformers, in both directions."""

import json

import keras
import numpy as np
import pytest

from inarch.answers.answer_spans import Readout, best_answers
from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.preprocessors.windows import encode_windows
from inarch.tasks import QuestionAnswerer, TextClassifier, TextPreprocessor, ZeroShotClassifier
from inarch.text import WordPieceTokenizer
from inarch.verify.corpus import CORPUS

from .conftest import noise_ratio, perturb, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "ran", "on", "mat",
    "who", "this", "example", "is", ".", ",", "?", "!", *LETTERS, *(f"##{c}" for c in LETTERS),
]  # fmt: skip
LENGTH = 32
# Special tokens that are spelled out are such to transformers, and text here.
TEXTS = [t for t in CORPUS if t.strip() and "[" not in t and "<" not in t and len(t) < 300]
QUESTION = "who sat on the mat?"


def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), LENGTH)


def tiny(cls, **changes):
    keras.utils.set_random_seed(0)
    return cls(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=LENGTH, **changes)


# Without layers that transformers' class for the task hasn't.
PLAIN = {BertBackbone: {"pooler": False}, DistilBertBackbone: {}}


def loaded(kind, folder):
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def logits_of(model, window):
    """Logits `[tokens, 2]` of the reference for a window."""
    fed = {"input_ids": torch.tensor([window.ids])}
    if model.config.model_type == "bert":
        fed["token_type_ids"] = torch.tensor([window.segment_ids])
    with torch.no_grad():
        out = model(**fed)
    return torch.stack([out.start_logits[0], out.end_logits[0]], -1).double().numpy()


def assert_answers_are_the_references(task, model):
    """The reference's logits, decoded as transformers 4 does, are the task's own answers."""
    null = task.preprocessor.tokenizer.cls_token_id
    found = task.answer(QUESTION, TEXTS, top_k=2, stride=4, handle_impossible_answer=True)
    windows = encode_windows(task.preprocessor, [(QUESTION, text) for text in TEXTS], stride=4)
    single = [logits_of(model.float(), window) for window in windows]
    double = [logits_of(model.double(), window) for window in windows]
    ours: list = [None] * len(windows)
    for batch, output in task.outputs_of(windows, 32, 0, None):
        for row, number in enumerate(batch.indices):
            ours[number] = output[row, : len(windows[number])]
    joined = (np.concatenate(parts) for parts in (ours, single, double))
    assert noise_ratio(*joined) <= 4
    for index, text in enumerate(TEXTS):
        readouts = [
            Readout.of_window(window, logits, null)
            for window, logits in zip(windows, double, strict=True)
            if window.index == index
        ]
        expected = best_answers(text, readouts, 2, handle_impossible_answer=True)
        for mine, theirs in zip(found[index], expected, strict=True):
            assert mine["score"] == pytest.approx(theirs["score"], rel=1e-3), text
            gap = abs(expected[0]["score"] - expected[-1]["score"])
            if gap > 1e-3:  # else the order is that of rounding
                assert mine | {"score": 0} == theirs | {"score": 0}


@pytest.mark.parametrize("cls", [BertBackbone, DistilBertBackbone])
def test_a_model_tuned_here_answers_the_same_there(cls, tmp_path):
    task = QuestionAnswerer(tiny(cls, **PLAIN[cls]), preprocessor())
    task.compile(optimizer=keras.optimizers.Adam(3e-3))
    pairs = [(QUESTION, "the cat sat on the mat."), ("who ran?", "the dog sat.")]
    task.fit(pairs, [(0, 7), None], epochs=3, verbose=0)
    task.save_to_preset(tmp_path)
    model = loaded(transformers.AutoModelForQuestionAnswering, tmp_path)
    assert_answers_are_the_references(task, model)


@pytest.mark.parametrize("kind", ["BertForQuestionAnswering", "DistilBertForQuestionAnswering"])
def test_a_model_written_there_answers_the_same_here(kind, write):
    written = write(kind, vocab_size=len(VOCABULARY))
    WordPieceTokenizer(VOCABULARY).save(written.folder)
    task = QuestionAnswerer.from_preset(written.folder)
    assert task.fresh_weights == ()
    assert task.preprocessor.sequence_length == LENGTH
    assert_answers_are_the_references(task, written.model)


def test_an_encoder_of_three_classes_becomes_a_head_of_two_outputs_there(tmp_path):
    labels = ["contradiction", "neutral", "entailment"]
    TextClassifier(tiny(BertBackbone), 3, preprocessor(), labels=labels).save_to_preset(
        tmp_path / "nli"
    )
    with pytest.warns(UserWarning, match="logits"):
        task = QuestionAnswerer.from_preset(tmp_path / "nli")
    task.save_to_preset(tmp_path / "answerer")
    model = loaded(transformers.AutoModelForQuestionAnswering, tmp_path / "answerer")
    assert model.qa_outputs.out_features == 2


NLI = [
    ["contradiction", "neutral", "entailment"], ["ENTAILMENT", "NEUTRAL", "CONTRADICTION"],
    ["contradiction", "entailment", "neutral"], ["entailment", "not_entailment"],
    ["not_entailment", "entailment"],
]  # fmt: skip


@pytest.mark.parametrize("labels", NLI, ids=lambda labels: labels[0] + str(len(labels)))
def test_zero_shot_scores_are_the_pipelines(labels, tmp_path):
    name = "BertForSequenceClassification"
    TextClassifier(tiny(BertBackbone), len(labels), preprocessor(), labels=labels).save_to_preset(
        tmp_path
    )
    model = loaded(getattr(transformers, name), tmp_path)
    perturb(model, 0)
    model.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, model_max_length=LENGTH)
    pipeline = transformers.pipeline(
        "zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu"
    )
    task = ZeroShotClassifier.from_preset(tmp_path)
    template = "this is {}."
    for candidates, several in ((["cat", "dog", "a mat"], False), (["cat", "dog"], True)):
        found = task.classify(TEXTS[::3], candidates, template, several)
        theirs = pipeline(TEXTS[::3], candidates, hypothesis_template=template, multi_label=several)
        for mine, expected in zip(found, theirs, strict=True):
            scores = dict(zip(expected["labels"], expected["scores"], strict=True))
            assert {a["label"]: a["score"] for a in mine} == pytest.approx(scores, rel=1e-4)


def test_a_zero_shot_classifier_saved_here_is_that_there(tmp_path):
    backbone = tiny(BertBackbone)
    ours = TextClassifier(backbone, 3, preprocessor(), labels=NLI[0])
    ZeroShotClassifier(ours).save_to_preset(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label2id"] == {label: i for i, label in enumerate(NLI[0])}
    (answer,) = ZeroShotClassifier(ours).classify("the cat", ["cat"], "the {}")
    pipeline = transformers.pipeline("zero-shot-classification", model=str(tmp_path), device="cpu")
    theirs = pipeline("the cat", ["cat"], hypothesis_template="the {}")
    assert answer["score"] == pytest.approx(theirs["scores"][0], rel=1e-4)
