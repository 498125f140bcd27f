"""Laws of `MaskedLM`: blanks filled in, and learned from hidden tokens."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InarchError, InputError
from inarch.tasks import MaskedLM, TextPreprocessor

from ..compiled import compiled
from .conftest import TEXTS, VOCABULARY, learner

pytestmark = pytest.mark.turns(3)


@pytest.fixture
def masked(backbone, preprocessor):
    return MaskedLM(
        backbone, TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",))
    )


def test_filling_in_agrees_with_the_logits_at_the_mask(masked):
    texts = ["the [MASK] sat", "[MASK] dog [MASK] on"]
    filled = masked.fill_mask(texts, top_k=3)
    assert [len(f) for f in filled] == [1, 2]
    logits = masked.predict(texts)
    for row, (text, blanks) in enumerate(zip(texts, filled, strict=True)):
        ids = masked.preprocessor([text])["token_ids"][0]
        for place, best in zip(np.flatnonzero(ids == 4), blanks, strict=True):
            scores = np.exp(logits[row, place].astype("float64"))
            scores /= scores.sum()
            assert [b["token_id"] for b in best] == np.argsort(-scores)[:3].tolist()
            assert best[0]["score"] == pytest.approx(scores.max(), rel=1e-4)
            assert best[0]["token"] == VOCABULARY[best[0]["token_id"]]
    assert all("sat" in best["text"] for best in filled[0][0])


def test_a_text_without_a_mask_is_named(masked):
    with pytest.raises(InputError, match="text 1"):
        masked.fill_mask(["the [MASK]", "no blank"])


def test_logits_beyond_a_text_are_zero_and_the_rest_is_the_models(masked):
    out = masked.predict(["the cat", "a dog sat on the road"])
    assert out.shape == (2, 8, len(VOCABULARY))
    assert not out[0, 4:].any()
    assert out[0, :4].any(-1).all()


def test_only_hidden_tokens_count_in_the_loss(masked):
    make = masked.collate(TEXTS, None, None)
    x, truth, hidden = make(np.arange(len(TEXTS)), np.random.default_rng(0))
    special = np.isin(truth, [0, 2, 3])
    assert hidden.sum() > 0
    assert not hidden[special].any()
    assert not (x["token_ids"] != truth)[hidden == 0].any()
    masked.compile(optimizer=keras.optimizers.SGD(0.0))
    reported = masked.evaluate(x, truth, sample_weight=hidden, verbose=0, return_dict=True)
    logits = ops.convert_to_numpy(compiled(masked)(x)).astype("float64")
    logits -= logits.max(-1, keepdims=True)
    losses = np.log(np.exp(logits).sum(-1))
    losses -= np.take_along_axis(logits, truth[..., None], -1)[..., 0]
    assert reported["loss"] == pytest.approx(losses[hidden == 1].mean(), rel=1e-3)


def test_the_share_hidden_and_how_is_the_papers(masked):
    masked.mask_rate = 0.5
    texts = ["the cat sat on the mat and the dog ran on the road"] * 400
    x, truth, hidden = masked.collate(texts, None, None)(np.arange(400), np.random.default_rng(0))
    candidates = ~np.isin(truth, [0, 2, 3])
    assert hidden[candidates].mean() == pytest.approx(0.5, abs=0.03)
    changed = x["token_ids"][hidden == 1]
    assert (changed == 4).mean() == pytest.approx(0.8, abs=0.03)
    assert (changed == truth[hidden == 1]).mean() == pytest.approx(0.1, abs=0.03)


def test_words_are_hidden_whole_where_it_is_asked(masked):
    masked.mask_rate, masked.whole_word_mask = 0.3, True
    texts = [("the filming was xyz", "xyz sat")] * 300
    x, truth, hidden = masked.collate(texts, None, None)(np.arange(300), np.random.default_rng(0))
    (encoding,) = masked.encode(texts[:1])
    assert encoding.tokens == [
        "[CLS]", "the", "film", "##ing", "was", "x", "##y", "##z", "[SEP]", "x", "##y", "##z",
        "sat", "[SEP]",
    ]  # fmt: skip
    hidden = hidden[:, :14] == 1
    for word in ([2, 3], [5, 6, 7], [9, 10, 11]):
        assert (hidden[:, word].all(1) == hidden[:, word].any(1)).all()
        assert hidden[:, word].mean() == pytest.approx(0.3, abs=0.09)
    assert not hidden[:, [0, 8, 13]].any()
    assert (hidden[:, 5] != hidden[:, 9]).any()


def test_one_text_in_is_one_result_out(masked):
    text, pair = "the [MASK] sat", ("[MASK] dog", "the [MASK] sat")

    def tokens(blanks):
        return [[answer["token"] for answer in best] for best in blanks]

    together = masked.fill_mask([text, pair], top_k=2)
    assert tokens(masked.fill_mask(text, top_k=2)) == tokens(together[0])
    assert tokens(masked.fill_mask(pair, top_k=2)) == tokens(together[1])
    assert [len(blanks) for blanks in together] == [1, 2]


def test_targets_are_what_is_chosen_among(masked):
    text = "the [MASK] sat on the [MASK]"
    every = masked.fill_mask(text, top_k=1000)
    for blank, answers in zip(every, masked.fill_mask(text, targets=["dog", "cat"]), strict=True):
        assert [a["token"] for a in answers] == [
            a["token"] for a in blank if a["token"] in ("cat", "dog")
        ]
        assert all(a in blank for a in answers)
    assert masked.fill_mask(text, targets="Cat") == masked.fill_mask(text, targets=["cat"])
    assert len(masked.fill_mask(text, top_k=1, targets=["cat", "dog"])[0]) == 1
    with pytest.warns(UserWarning, match="'filming' is no token of the vocabulary: 'film'"):
        answers = masked.fill_mask(text, targets=["filming"])
    assert answers[0][0]["token"] == "film"


@pytest.mark.parametrize(
    ("targets", "names"),
    [([], "targets is \\[\\]"), ([""], "targets has ''"), ([3], "text 0 is a int")],
)
def test_targets_that_are_none_are_named(targets, names, masked):
    with pytest.raises(InarchError, match=names):
        masked.fill_mask("the [MASK]", targets=targets)


def test_training_fills_the_blank(preprocessor):
    keras.utils.set_random_seed(0)
    task = MaskedLM(
        learner(),
        TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",)),
        mask_rate=0.3,
    )
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    task.fit(["the cat sat on the mat"] * 32, epochs=60, batch_size=32, verbose=0)
    assert task.fill_mask(["the [MASK] sat on the mat"], top_k=1)[0][0][0]["token"] == "cat"


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "a", True])
def test_a_number_of_answers_that_is_none_is_named(top_k, masked):
    with pytest.raises(InputError, match=f"top_k is {top_k!r}"):
        masked.fill_mask(["the [MASK]"], top_k=top_k)
