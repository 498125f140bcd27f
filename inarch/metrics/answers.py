"""Exact match and F1 of answers, as the official script of SQuAD 2.0 computes them.

Source: Rajpurkar et al., 2018, arXiv:1806.03822, and its script, evaluate-v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.validation import shown

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return a text in lower case without ASCII punctuation, English articles and extra space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(answer: str, expected: str) -> float:
    """Return 1.0 where two answers are the same when normalized, else 0.0."""
    return float(normalize_answer(answer) == normalize_answer(expected))


def f1(answer: str, expected: str) -> float:
    """Return the harmonic mean of precision and recall over the words of two normalized answers.

    Where either has no words, it is 1.0 if both have none, else 0.0.
    """
    words, wanted = (Counter(normalize_answer(text).split()) for text in (answer, expected))
    if not words or not wanted:
        return float(words == wanted)
    common = (words & wanted).total()
    return 2 * common / (words.total() + wanted.total())


def squad_metrics(answers: Sequence[Any], expected: Sequence[Any]) -> dict[str, float]:
    """Return exact match and F1 of answers, in percent, under the names of SQuAD's script.

    Args:
        answers: for each question a string, `""` for no answer, or the result of
            `QuestionAnswerer.answer`.
        expected: for each question the right answer, a list of right answers of which the best
            counts, or None or an empty list where it has none; or `{"text": [...], ...}`, as SQuAD
            has them.

    Returns:
        `exact`, `f1` and `total`; and the same of the questions that have an answer, as
        `HasAns_exact` and so on, and of those that have none, as `NoAns_exact` and so on, where
        there are any.

    Raises:
        InputError: there are no questions, or other numbers of answers and of expected ones.
        InputTypeError: one of them is no text.
    """
    if not len(answers) or len(answers) != len(expected):
        raise InputError(
            f"there are {len(answers)} answers, and {len(expected)} questions in expected; give "
            "one of each for every question"
        )
    given = [_text(answer, "answers", i) for i, answer in enumerate(answers)]
    right = [_texts(texts, i) for i, texts in enumerate(expected)]
    scores = np.array([_scores(a, texts) for a, texts in zip(given, right, strict=True)])
    answerable = np.array([bool(texts) for texts in right])
    parts = {"": answerable | True, "HasAns_": answerable, "NoAns_": ~answerable}
    found: dict[str, float] = {}
    for prefix, chosen in parts.items():
        if chosen.any():
            exact, overlap = (100 * scores[chosen].mean(0)).tolist()
            found |= {f"{prefix}exact": exact, f"{prefix}f1": overlap}
            found[f"{prefix}total"] = int(chosen.sum())
    return found


def _scores(answer: str, right: Sequence[str]) -> tuple[float, float]:
    # A right answer of which nothing is left, such as "The", is no answer.
    wanted = [text for text in right if normalize_answer(text)] or [""]
    return max(exact_match(answer, t) for t in wanted), max(f1(answer, t) for t in wanted)


def _text(value: Any, name: str, index: int) -> str:
    if isinstance(value, Mapping) and "answer" in value:
        value = value["answer"]
    if not isinstance(value, str):
        raise InputTypeError(
            f"{name} has {shown(value)} for question {index}; give a text, '' for no answer"
        )
    return value


def _texts(value: Any, index: int) -> list[str]:
    if isinstance(value, Mapping) and "text" in value and "answer" not in value:
        value = value["text"]
    if value is None:
        return []
    value = value.tolist() if isinstance(value, np.ndarray) else value
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        raise InputTypeError(
            f"expected has {shown(value)} for question {index}; give a text, a list of texts, or "
            "None where the question has no answer"
        )
    return [_text(text, "expected", index) for text in values]
