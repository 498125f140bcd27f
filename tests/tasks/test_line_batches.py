"""Laws of training on lines: packed texts fill a sequence, and nothing is lost or truncated."""

import keras
import numpy as np
import pytest

from inarch.data import TextLines
from inarch.errors import InputError
from inarch.tasks import MaskedLM, TextClassifier, TextPreprocessor
from inarch.tasks.line_batches import LineBatches, packed
from inarch.text import Tokenizer, WordPieceTokenizer

from .conftest import VOCABULARY, learner

pytestmark = pytest.mark.turns(3)

LINES = ["the cat sat", "a dog ran on the road.", "bad", "the film was not very good!", "mat"] * 20
LONG = " ".join(LINES)


def preprocessor(length=20, **options):
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), length, **options)


def words(texts):
    return " ".join(texts).split()


TOKENIZERS = {
    kind: Tokenizer.train([*LINES, "Größe 映画 👩‍👧"], kind, 320)
    for kind in ("wordpiece", "bpe", "unigram")
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("lines", [LINES, [LONG], ["mat", LONG, "bad", LONG]], ids=len)
def test_packed_texts_fill_the_sequence_and_lose_nothing(kind, lines):
    made = TextPreprocessor(
        TOKENIZERS[kind], 24, prompts={"p": "a film: "}, default_prompt_name="p"
    )
    texts = list(packed(lines, made))
    assert words(texts) == words(lines)
    whole = TextPreprocessor(TOKENIZERS[kind], 1000, prompts=made.prompts, default_prompt_name="p")
    lengths = [len(e.ids) for e in whole.encode(texts)]
    assert max(lengths) <= 24
    # A line of at most 10 tokens was the next one.
    assert np.mean(lengths[:-1]) > 24 - 10 / 2 - 2


def test_a_word_longer_than_a_sequence_is_cut_within():
    texts = list(packed(["abcdefghijklmnopqrst" * 3], preprocessor(12)))
    assert "".join(texts) == "abcdefghijklmnopqrst" * 3
    assert [len(e.ids) for e in preprocessor(100).encode(texts)] == [12] * 6


def test_no_room_for_text_is_named():
    with pytest.raises(InputError, match="sequence_length=2 has no room"):
        list(packed(LINES, preprocessor(2)))


def test_batches_are_all_texts_in_a_new_order_each_time(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(map(str, range(100))))
    batches = LineBatches(TextLines(path, pack=False, shuffle_buffer=30), preprocessor(), 8, True)
    first, second = ([text for batch in batches for text in batch] for _ in range(2))
    assert sorted(first, key=int) == sorted(second, key=int) == [str(i) for i in range(100)]
    assert first != second
    assert len(batches) == 13
    keras.utils.set_random_seed(3)
    again = list(batches)
    keras.utils.set_random_seed(3)
    assert list(batches) == again
    in_order = LineBatches(TextLines(path, pack=False), preprocessor(), 8, False)
    assert [text for batch in in_order for text in batch] == [str(i) for i in range(100)]
    filled = LineBatches(TextLines(path), preprocessor(), 2, True)
    assert len(filled) == len(list(filled)) == len(list(filled))


@pytest.fixture(scope="module")
def masked():
    # Of 16 tokens at most, so that all batches have one shape, by which TensorFlow reads them.
    return MaskedLM(learner(), preprocessor(16))


def test_a_file_trains_as_its_texts_do(masked, tmp_path, monkeypatch):
    path, held_out = tmp_path / "train.txt", tmp_path / "held_out.txt"
    path.write_text("\n".join(LINES))
    held_out.write_text("\n".join(LINES[:10]))
    seen = []  # TensorFlow's training loop reads the first batches twice
    encode = masked.encode
    monkeypatch.setattr(masked, "encode", lambda texts: seen.append(list(texts)) or encode(texts))

    def texts_of(run, *args, **kwargs):
        seen.clear()
        result = run(*args, verbose=0, **kwargs)
        return {text for texts in seen for text in texts}, result

    texts = {*packed(LINES, masked.preprocessor)}
    held = {*packed(LINES[:10], masked.preprocessor)}
    found, history = texts_of(masked.fit, path, batch_size=8, epochs=2, validation_data=held_out)
    assert found == texts | held
    assert len(history.history["val_loss"]) == 2
    assert texts_of(masked.evaluate, str(held_out))[0] == held
    found, _ = texts_of(masked.fit, TextLines(path, pack=False), batch_size=25)
    assert found == {*LINES}
    texts_of(masked.fit, path, batch_size=4, steps_per_epoch=3, epochs=2)
    assert {len(texts) for texts in seen} == {4}
    assert len(seen) >= 6


@pytest.mark.parametrize(
    ("x", "options", "names"),
    [
        ("the cat sat", {}, "'the cat sat' is no file"),
        (TextLines(lambda: [" "]), {}, "holds no text"),
        (TextLines(lambda: LINES), {"validation_split": 0.5}, "give validation_data"),
    ],
)
def test_what_cannot_be_trained_on_is_named(x, options, names, masked):
    with pytest.raises(InputError, match=names):
        masked.fit(x, verbose=0, **options)


def test_lines_have_no_targets():
    classifier = TextClassifier(learner(), 2, preprocessor())
    with pytest.raises(InputError, match="TextClassifier needs a target for each text"):
        classifier.fit(TextLines(lambda: LINES))
