"""The commands `answer` and `zero-shot` do what the tasks do."""

import json

import pytest

from inarch.tasks import QuestionAnswerer, TextClassifier, ZeroShotClassifier

from .conftest import backbone, preprocessor

pytestmark = pytest.mark.turns(2)

TEXTS = ["the cat sat on the mat .", "a dog ran fast !"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("answers")
    QuestionAnswerer(backbone(), preprocessor()).save_to_preset(root / "answerer")
    nli = ["contradiction", "neutral", "entailment"]
    TextClassifier(backbone(), 3, preprocessor(), labels=nli).save_to_preset(root / "nli")
    return root


def test_answer_gives_the_tasks_answers(run_json, run, folders, tmp_path):
    folder = folders / "answerer"
    rows = run_json("answer", folder, *TEXTS, "--question", "the cat", "--top-k", 2)
    found = QuestionAnswerer.from_preset(folder).answer("the cat", TEXTS, top_k=2)
    assert [row["answer"] for row in rows] == [a["answer"] for best in found for a in best]
    assert list(rows[0]) == ["question", "text", "answer", "start", "end", "score"]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps({"pair": ["the cat", text]}) + "\n" for text in TEXTS))
    arguments = ("--input", file, "--field", "pair", "--allow-no-answer", "--stride", 2)
    again = run_json("answer", folder, *arguments, "--top-k", 1000)
    assert [row["text"] for row in again if not row["answer"]] == TEXTS
    lines = run("answer", folder, TEXTS[0], "-q", "the cat").stdout.splitlines()
    assert lines[0].split() == ["score", "answer", "question", "text"]
    assert len(lines) == 2


def test_zero_shot_gives_the_tasks_scores(run_json, run, folders):
    folder = folders / "nli"
    arguments = ("--label", "cat", "--label", "dog", "--template", "the {} .")
    rows = run_json("zero-shot", folder, *TEXTS, *arguments)
    task = ZeroShotClassifier.from_preset(folder)
    found = task.classify(TEXTS, ["cat", "dog"], "the {} .")
    assert [(r["label"], r["score"]) for r in rows] == [
        (a["label"], pytest.approx(a["score"])) for answers in found for a in answers
    ]
    several = run_json("zero-shot", folder, TEXTS[0], *arguments, "--multi-label")
    assert sum(row["score"] for row in several) != pytest.approx(1)
    assert run("zero-shot", folder, TEXTS[0], *arguments).stdout.startswith("label")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("answer", "answerer", "a cat"), "a text is no pair: 'a cat'"),
        (("zero-shot", "nli", "a cat"), "no class"),
        (("zero-shot", "answerer", "a cat", "--label", "dog"), "called entailment"),
    ],
)
def test_what_is_missing_is_named(arguments, message, run, folders):
    command, folder, *rest = arguments
    result = run(command, folders / folder, *rest)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_model_without_the_head_is_refused(run, checkpoints):
    result = run("answer", checkpoints["plain"], "a cat", "--question", "the dog")
    assert result.exit_code == 1
    assert "has no trained question_answering head" in result.output
