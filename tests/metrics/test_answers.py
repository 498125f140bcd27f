"""Laws of exact match and F1: the values of SQuAD 2.0's script."""

import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.metrics.answers import exact_match, f1, normalize_answer, squad_metrics


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat's hat!", "cats hat"),
        ("an  a the", ""),
        ("A-bomb (1945)", "abomb 1945"),
        ("théâtre theory", "théâtre theory"),
        ("“the” — tea", "“ ” — tea"),
        ("\u00a0The\tend\n", "end"),
    ],
)
def test_case_punctuation_articles_and_space_are_left_out(text, normalized):
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("answer", "expected", "same", "overlap"),
    [
        ("the Cat.", "cat", 1, 1),
        ("cat sat", "cat", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),
        ("cat cat dog", "cat dog dog", 0, 2 / 3),
        ("dog", "cat", 0, 0),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("the", "", 1, 1),
    ],
)
def test_an_answers_scores(answer, expected, same, overlap):
    assert exact_match(answer, expected) == same
    assert f1(answer, expected) == pytest.approx(overlap)


def test_the_best_of_several_right_answers_counts_and_those_without_one_are_apart():
    found = squad_metrics(
        [{"answer": "red cat", "score": 1.0}, "dog", "", "mat"],
        [["a cat", "the red cat"], "a black dog", None, []],
    )
    assert found == {
        "exact": 50.0, "f1": pytest.approx((100 + 200 / 3 + 100) / 4), "total": 4,
        "HasAns_exact": 50.0, "HasAns_f1": pytest.approx((100 + 200 / 3) / 2), "HasAns_total": 2,
        "NoAns_exact": 50.0, "NoAns_f1": 50.0, "NoAns_total": 2,
    }  # fmt: skip
    assert squad_metrics(["cat"], ["Cat"]).keys().isdisjoint({"NoAns_total"})
    assert squad_metrics([""], ["The"])["HasAns_exact"] == 100.0


def test_answers_that_cannot_be_scored_are_named():
    with pytest.raises(InputError, match="0 answers, and 0 questions"):
        squad_metrics([], [])
    with pytest.raises(InputError, match="1 answers, and 2 questions"):
        squad_metrics(["a"], ["a", "b"])
    with pytest.raises(InputTypeError, match="answers has None for question 0"):
        squad_metrics([None], ["a"])
    with pytest.raises(InputTypeError, match="expected has 3 for question 1"):
        squad_metrics(["a", "b"], ["a", 3])
    with pytest.raises(InputTypeError, match="expected has 3 for question 0"):
        squad_metrics(["a"], [["a", 3]])


def test_right_answers_may_be_squads_column():
    squad = [
        {"text": ["cat", "the dog"], "answer_start": [4, 20]},
        {"text": np.array([], object), "answer_start": np.array([], int)},
        {"text": "mat", "answer_start": 3},
    ]
    plain = [["cat", "the dog"], None, "mat"]
    for answers in (["dog", "", "mat"], ["cat", "x", ""]):
        assert squad_metrics(answers, squad) == squad_metrics(answers, plain)
