"""Laws of the metrics: each is its definition, whatever the batches, and says what it lacks."""

import sys

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError, InputTypeError, MissingExtraError
from inarch.metrics.texts import Perplexity, bleu, rouge, word_error_rate

TARGETS = np.array([[1, 3, 0], [2, 1, 3]])
LOGITS = np.array([
    [[1.034, 4.797, 2.82, 1.154], [2.258, 1.591, 1.811, 1.852], [3.216, 1.037, 0.3662, 2.7]],
    [[1.363, 1.726, 1.898, 2.582], [1.163, 1.943, 1.761, 1.497], [2.766, 1.453, 2.61, 2.805]],
])  # fmt: skip
WEIGHTS = np.array([[0.5, 0.1, 0.9], [1, 0.7, 0.5]])


@pytest.mark.parametrize(
    ("mask", "weights", "expected"),
    [(None, None, 2.6542), (None, TARGETS != 0, 2.8789), (0, None, 2.8789), (0, WEIGHTS, 2.9442)],
)
def test_perplexity_of_a_batch_is_kerashubs(mask, weights, expected):
    for from_logits in (True, False):
        metric = Perplexity(from_logits=from_logits, mask_token_id=mask)
        assert float(metric.result()) == 0
        predictions = LOGITS if from_logits else ops.softmax(LOGITS)
        assert float(metric(TARGETS, predictions, weights)) == pytest.approx(expected, abs=1e-3)
        metric.reset_state()
        assert float(metric.result()) == 0


def test_perplexity_does_not_depend_on_the_batches():
    whole, parts = Perplexity(True, 0), Perplexity(True, 0)
    whole.update_state(TARGETS, LOGITS)
    for row in range(2):  # of two tokens and of three
        parts.update_state(TARGETS[row : row + 1], LOGITS[row : row + 1])
    assert float(parts.result()) == pytest.approx(float(whole.result()), rel=1e-6)
    rows = Perplexity(True)
    rows.update_state(TARGETS, LOGITS, np.array([1.0, 0.0]))
    first = Perplexity(True)
    assert float(rows.result()) == pytest.approx(float(first(TARGETS[:1], LOGITS[:1])), rel=1e-6)


def test_perplexity_is_saved_with_what_it_was_given():
    metric = Perplexity(True, 0, name="mine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()
    assert again.get_config()["mask_token_id"] == 0
    with pytest.raises(InputError, match="dtype is 'int32'"):
        Perplexity(dtype="int32")
    with pytest.raises(InputTypeError, match="from_logits is 1"):
        Perplexity(1)


PREDICTIONS = ["the cat sat on the mat", "a dog ran down a long road"]
REFERENCES = ["the cat is on the mat", "a dog ran along the long road"]


def test_bleu_is_sacrebleus():
    library = pytest.importorskip("sacrebleu")
    expected = library.corpus_bleu(PREDICTIONS, [REFERENCES]).score
    assert bleu(PREDICTIONS, REFERENCES) == expected
    assert bleu(PREDICTIONS, PREDICTIONS) == pytest.approx(100)
    several = [[REFERENCES[0], PREDICTIONS[0]], REFERENCES[1]]
    assert expected < bleu(PREDICTIONS, several) < 100
    assert bleu(["THE CAT IS ON THE MAT"], REFERENCES[:1], lowercase=True) == pytest.approx(100)


def test_rouge_is_rouge_scores():
    library = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = library.RougeScorer(["rouge1", "rougeL"])
    expected = [scorer.score(r, p) for p, r in zip(PREDICTIONS, REFERENCES, strict=True)]
    found = rouge(PREDICTIONS, REFERENCES, ["rouge1", "rougeL"])
    assert found == {
        name: pytest.approx(np.mean([e[name].fmeasure for e in expected])) for name in found
    }
    best = rouge(PREDICTIONS, [[r, p] for p, r in zip(PREDICTIONS, REFERENCES, strict=True)])
    assert best == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), 1.0)
    with pytest.raises(InputError, match="rouge_types is"):
        rouge(PREDICTIONS, REFERENCES, ["rougeX"])


def test_the_word_error_rate_is_jiwers():
    pytest.importorskip("jiwer")
    assert word_error_rate(PREDICTIONS, REFERENCES) == pytest.approx(3 / 13)
    assert word_error_rate(["a b"], [" a  b"]) == 0
    assert word_error_rate(["", "a"], ["b", "a"]) == 0.5
    with pytest.raises(InputError, match="no words"):
        word_error_rate(["a"], [" "])


@pytest.mark.parametrize(
    ("metric", "module"),
    [(bleu, "sacrebleu"), (rouge, "rouge_score.rouge_scorer"), (word_error_rate, "jiwer")],
)
def test_a_library_that_is_absent_is_named(metric, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as if it weren't installed
    package = module.partition(".")[0].replace("_", "-")
    with pytest.raises(MissingExtraError, match=rf"{package}: pip install 'inarch\[metrics\]'"):
        metric(PREDICTIONS, REFERENCES)


@pytest.mark.parametrize(
    ("predictions", "references", "error", "names"),
    [
        ("a", ["a"], InputTypeError, "predictions is 'a'"),
        (["a"], [], InputError, "1 predictions and 0 references"),
        ([], [], InputError, "holds no texts"),
        (["a"], [[]], InputError, "text 0 has 0 references"),
        (["a"], [3], InputTypeError, "3"),
    ],
)
def test_texts_that_cannot_be_compared_are_named(predictions, references, error, names):
    pytest.importorskip("sacrebleu")
    with pytest.raises(error, match=names):
        bleu(predictions, references)
