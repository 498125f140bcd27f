"""Laws of answers from logits: those of transformers 4's pipeline, and of every possible span."""

import json

import numpy as np
import pytest

from inarch.answers.answer_spans import Readout, best_answers, token_spans
from inarch.preprocessors.windows import encode_windows
from inarch.tasks import TextPreprocessor
from inarch.text import WordPieceTokenizer

from .record_answers import FILE, VOCABULARY, logits_of

RECORDED = json.loads(FILE.read_text("utf-8"))["cases"]
TOKENIZER = WordPieceTokenizer(VOCABULARY)


def answers(case):
    preprocessor = TextPreprocessor(TOKENIZER, case["length"])
    found = encode_windows(preprocessor, [(case["question"], case["context"])], case["stride"])
    readouts = [Readout.of_window(w, logits_of(w.ids), TOKENIZER.cls_token_id) for w in found]
    names = ("top_k", "max_answer_length", "handle_impossible_answer", "align_to_words")
    return best_answers(case["context"], readouts, **{name: case[name] for name in names})


def test_answers_are_those_of_transformers_4_on_200_hard_texts():
    assert len(RECORDED) == 200
    assert max(len(case["context"]) for case in RECORDED) > 1000  # many windows of 24 tokens
    for case in RECORDED:
        found = [(a["start"], a["end"], a["score"]) for a in answers(case)]
        assert [f[:2] for f in found] == [tuple(e[:2]) for e in case["expected"]], case
        scores = [e[2] for e in case["expected"]]
        np.testing.assert_allclose([f[2] for f in found], scores, rtol=1e-5)


def test_an_answers_text_is_the_contexts_from_start_to_end():
    for case in RECORDED[::4]:
        for found in answers(case | {"top_k": 6}):
            assert found["answer"] == case["context"][found["start"] : found["end"]]
            assert list(found) == ["answer", "start", "end", "score"]


def readout(tokens=9, seed=0, question=3):
    """A row of a null token, a question, and a context whose words have two tokens each."""
    place = np.arange(tokens)
    offsets = [(i - question, i + 1 - question) for i in range(tokens)]
    words = [None if i < question else (i - question) // 2 for i in place]
    logits = np.random.default_rng(seed).normal(size=(tokens, 2)) * 3
    return Readout(logits, place >= question, place == 0, offsets, words)


@pytest.mark.parametrize("longest", [1, 2, 4, 40])
def test_spans_are_the_likeliest_of_all_in_the_context(longest):
    row = readout()
    read = row.in_context | row.is_null
    scores = np.where(read[:, None], np.exp(row.logits), 0)
    scores /= scores.sum(0)
    every = [
        (first, last, scores[first, 0] * scores[last, 1])
        for first in range(3, 9)
        for last in range(first, min(first + longest, 9))
    ]
    every.sort(key=lambda span: -span[2])
    found, null = token_spans(row, 1000, longest)
    assert [span[:2] for span in found] == [span[:2] for span in every]
    np.testing.assert_allclose([span[2] for span in found], [span[2] for span in every])
    assert null == pytest.approx(scores[0].prod())
    assert token_spans(row, 2, longest)[0] == found[:2]


def test_equal_texts_are_one_answer_whatever_their_case():
    row = readout(5)
    (only,) = best_answers("aA", [row, row], 5, max_answer_length=1, align_to_words=False)
    single = best_answers("ab", [row], 5, max_answer_length=1, align_to_words=False)
    assert only["score"] == pytest.approx(2 * sum(answer["score"] for answer in single))


def test_a_row_without_a_context_has_no_answer():
    row = readout(3)
    for impossible in (False, True):
        (only,) = best_answers("", [row], 3, handle_impossible_answer=impossible)
        assert only == {"answer": "", "start": 0, "end": 0, "score": 1.0}


def test_no_answer_scores_what_its_least_likely_window_gives():
    rows = [readout(seed=seed) for seed in range(3)]
    nulls = [token_spans(row, 1, 15)[1] for row in rows]
    found = best_answers("abcdef", rows, 100, handle_impossible_answer=True)
    assert [a["score"] for a in found if not a["answer"]] == [min(nulls)]


def test_without_a_token_for_it_no_answer_scores_nothing():
    row = readout()
    bare = Readout(row.logits, row.in_context, row.is_null & False, row.offsets, row.word_ids)
    assert token_spans(bare, 1, 15)[1] == 0
