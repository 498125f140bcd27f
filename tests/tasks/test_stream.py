"""A stream gives answers in order, reads a chunk at a time, and names what has no answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import InputError, InputTypeError
from inarch.tasks import (
    QuestionAnswerer,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    ZeroShotClassifier,
)
from inarch.tasks.stream import stream
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone


def doubled(part):
    if any(x is None for x in part):
        raise InputError("it is None")
    return [2 * x for x in part]


@given(st.integers(0, 30), st.integers(1, 8))
def test_answers_come_in_order_whatever_the_chunks(count, chunk):
    assert list(stream(doubled, iter(range(count)), chunk=chunk)) == [2 * i for i in range(count)]


def test_a_chunk_is_read_when_the_answers_before_it_are_taken():
    read = []

    def examples():
        for i in range(100):
            read.append(i)
            yield i

    answers = stream(doubled, examples(), chunk=4)
    assert not read
    for i in range(100):
        assert next(answers) == 2 * i
        assert len(read) == i - i % 4 + 4


def test_an_example_that_cant_be_answered_is_named_after_the_answers_before_it():
    answers = stream(doubled, [1, 2, 3, None, 5], chunk=2)
    assert [next(answers) for _ in range(3)] == [2, 4, 6]
    with pytest.raises(InputError, match="example 3: it is None"):
        next(answers)


def test_an_example_that_cant_be_answered_may_be_put_aside():
    aside, calls = [], []

    def counted(part):
        calls.append(len(part))
        return doubled(part)

    def put_aside(number, example, error):
        aside.append((number, example, str(error)))
        return "?"

    examples = [*range(40), None, *range(41, 100)]
    answers = list(stream(counted, examples, put_aside, chunk=64))
    assert answers == [2 * x if x is not None else "?" for x in examples]
    assert aside == [(40, None, "it is None")]
    assert len(calls) < 16  # and not one for each neighbour


def test_what_is_wrong_with_all_is_of_the_call_and_of_no_example():
    def refuse(part):
        raise InputError("top_k is 0")

    with pytest.raises(InputError, match="^top_k is 0"):
        list(stream(refuse, [1, 2, 3], lambda *example: None))


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_examples_that_are_all_bad_alike_are_put_aside_each(chunk):
    aside = []
    found = stream(doubled, [None] * 5, lambda *example: aside.append(example[0]), chunk)
    assert list(found) == [None] * 5
    assert aside == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="^example 0: it is None"):
        list(stream(doubled, [None] * 5, chunk=chunk))


def test_an_error_of_a_call_without_examples_does_not_hide_theirs():
    def refuse(part):
        raise InputError(f"{len(part)} is too few")

    assert list(stream(refuse, [1], lambda number, example, error: str(error))) == ["1 is too few"]


def test_what_the_iterable_raises_comes_after_the_answers_to_what_it_gave():
    def examples():
        yield from (1, 2, 3)
        raise RuntimeError("the file ended")

    answers = stream(doubled, examples(), chunk=2)
    assert [next(answers) for _ in range(3)] == [2, 4, 6]
    with pytest.raises(RuntimeError, match="the file ended"):
        next(answers)


def test_an_on_error_that_is_no_function_is_refused_before_anything_is_read():
    with pytest.raises(InputTypeError, match="on_error is 'skip'"):
        stream(doubled, iter([1]), on_error="skip")


@pytest.mark.parametrize("examples", ["a text", b"bytes", {"text": ["a"]}, 3])
def test_what_holds_no_examples_is_refused_before_it_is_read(examples):
    with pytest.raises(InputTypeError):
        stream(doubled, examples)


# --- of tasks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts():
    return make_backbone(), TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


TEXTS = ["the film", "a cat sat", "", "good good good", "the dog ran on the road"]


def test_vectors_of_a_stream_are_those_of_a_list(parts):
    embedder = TextEmbedder(*parts)
    found = list(embedder.stream(iter(TEXTS), chunk=2))
    np.testing.assert_allclose(found, embedder.embed(TEXTS), atol=1e-5)
    with pytest.raises(InputError, match="precision is 'int8'"):
        list(embedder.stream(TEXTS, precision="int8"))


def test_classes_of_a_stream_are_those_of_a_list(parts):
    backbone, text = parts
    labels = ["entailment", "neutral", "contradiction"]
    classifier = TextClassifier(backbone, 3, text, labels=labels)
    names = [[a["label"] for a in answers] for answers in classifier.stream(TEXTS, chunk=3)]
    assert names == [[a["label"] for a in answers] for answers in classifier.classify(TEXTS)]
    chosen = ["film", "cat"]
    task = ZeroShotClassifier(classifier)
    found = [[a["label"] for a in answers] for answers in task.stream(TEXTS[:2], chosen, chunk=1)]
    assert found == [[a["label"] for a in answers] for answers in task.classify(TEXTS[:2], chosen)]


def test_answers_of_a_stream_are_those_of_a_list(parts):
    task = QuestionAnswerer(*parts)
    pairs = [("who sat", text) for text in TEXTS[:2]]
    expected = task.answer(*map(list, zip(*pairs, strict=True)))
    found = list(task.stream(pairs, chunk=1))
    assert [a["answer"] for a in found] == [a["answer"] for a in expected]
    with pytest.raises(InputTypeError, match="example 0: text 0 is a NoneType"):
        list(task.stream([None]))


@pytest.mark.parametrize(
    ("make", "example"),
    [
        (TextEmbedder, "a"),
        (lambda *parts: TextClassifier(parts[0], 3, parts[1]), "a"),
        (QuestionAnswerer, ("who sat", "a cat")),
    ],
    ids=["embed", "classify", "answer"],
)
def test_of_a_task_a_bad_option_is_of_the_call_and_missing_texts_are_examples(parts, make, example):
    task = make(*parts)
    with pytest.raises(InputError, match="^batch_size is 0"):
        list(task.stream([example] * 2, on_error=lambda *bad: None, batch_size=0))
    found = list(task.stream([None, None], on_error=lambda *bad: str(bad[2])))
    assert [("NoneType" in error) for error in found] == [True, True]
