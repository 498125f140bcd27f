"""Texts that are packed into rows have the outputs that each has alone."""

import keras
import numpy as np
import pytest

from inarch.data import PackedBatch
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor, TokenClassifier
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.turns(3)

WORDS = [word for word in VOCABULARY if word.isalpha()]
random = np.random.default_rng(0)
TEXTS = [" ".join(random.choice(WORDS, n)) for n in (1, 12, 3, 0, 5, 2, 9, 4, 1, 30, 2)]


@pytest.fixture
def parts():
    return make_backbone(), TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


def alone(task):
    return [task.predict([text])[0] for text in TEXTS]


def check(task, **tolerance):
    batches = task.batches_of(task.encode(TEXTS), 1)
    assert len(batches) > 1
    assert any(isinstance(batch, PackedBatch) for batch in batches)
    for one, row in zip(alone(task), task.predict(TEXTS, batch_size=1), strict=True):
        np.testing.assert_allclose(row[: len(one)], one, **tolerance)


@pytest.mark.parametrize(
    "make",
    [
        lambda backbone, text: TextClassifier(backbone, 3, text),
        lambda backbone, text: TextEmbedder(backbone, text, pooling=("cls", "mean", "max")),
        lambda backbone, text: TokenClassifier(backbone, 3, text),
        MaskedLM,
    ],
    ids=["pooled", "embedded", "tokens", "vocabulary"],
)
def test_outputs_are_those_of_each_text_alone(make, parts):
    check(make(*parts), rtol=1e-4, atol=1e-5)


def test_outputs_follow_weights_that_change_after_the_first_call(parts):
    task = TextClassifier(parts[0], 3, parts[1])
    before = task.predict(TEXTS)
    task.enable_lora(2, ["query", "value"])
    for variable in task.trainable_variables:
        variable.assign(variable + 0.3)
    assert np.abs(task.predict(TEXTS) - before).max() > 1e-2
    check(task, rtol=1e-4, atol=1e-5)


def test_outputs_in_16_bits_are_those_of_each_text_alone():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        task = TextEmbedder(
            make_backbone(),
            TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20),
        )
    finally:
        keras.config.set_dtype_policy(before)
    check(task, rtol=0.05, atol=0.05)


def test_masks_are_filled_as_in_each_text_alone(parts):
    text = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20, ("[MASK]",))
    task = MaskedLM(parts[0], text)
    texts = [f"{words} [MASK] film" for words in TEXTS if len(words) < 40]
    together = task.fill_mask(texts, top_k=2)
    for one, found in zip(texts, together, strict=True):
        for blanks, expected in zip(found, task.fill_mask(one, top_k=2), strict=True):
            assert [a["token"] for a in blanks] == [a["token"] for a in expected]
            np.testing.assert_allclose(
                [a["score"] for a in blanks], [a["score"] for a in expected], rtol=1e-3
            )
