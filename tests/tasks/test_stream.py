"""A stream gives answers in order, reads ahead only a little, and names what has no answer."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import InputError
from inarch.tasks.stream import stream


def doubled(part):
    if any(x is None for x in part):
        raise InputError("it is None")
    return [2 * x for x in part]


@given(st.integers(0, 30), st.integers(1, 8))
def test_answers_come_in_order_whatever_the_chunks(count, chunk):
    assert list(stream(doubled, iter(range(count)), chunk=chunk)) == [2 * i for i in range(count)]


def test_it_reads_no_more_than_two_chunks_ahead():
    read = []

    def examples():
        for i in range(100):
            read.append(i)
            yield i

    answers = stream(doubled, examples(), chunk=4)
    assert not read
    for i in range(100):
        assert next(answers) == 2 * i
        assert len(read) <= i + 1 + 3 * 4


def test_the_next_chunk_is_begun_while_one_is_computed():
    both = threading.Barrier(2, timeout=20)

    def meet(part):
        if part[0]:  # but for the first, which compiles what the others use
            both.wait()
        return part

    assert list(stream(meet, range(5), chunk=1)) == [0, 1, 2, 3, 4]


def test_an_example_that_cant_be_answered_is_named_after_the_answers_before_it():
    answers = stream(doubled, [1, 2, 3, None, 5], chunk=2)
    assert [next(answers) for _ in range(3)] == [2, 4, 6]
    with pytest.raises(InputError, match="example 3: it is None"):
        next(answers)


def test_an_example_that_cant_be_answered_may_be_put_aside():
    aside = []

    def put_aside(number, example, error):
        aside.append((number, example, str(error)))
        return "?"

    answers = stream(doubled, [1, None, 3, None], put_aside, chunk=3)
    assert list(answers) == [2, "?", 6, "?"]
    assert aside == [(1, None, "it is None"), (3, None, "it is None")]


def test_what_the_iterable_raises_comes_after_the_answers_to_what_it_gave():
    def examples():
        yield from (1, 2, 3)
        raise RuntimeError("the file ended")

    answers = stream(doubled, examples(), chunk=2)
    assert [next(answers) for _ in range(3)] == [2, 4, 6]
    with pytest.raises(RuntimeError, match="the file ended"):
        next(answers)


def test_other_errors_are_raised_as_they_are():
    def broken(part):
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError, match="a defect"):
        next(stream(broken, [1]))


def test_a_stream_that_is_left_ends_its_threads():
    answers = stream(doubled, iter(range(10_000)), chunk=10)
    next(answers)
    answers.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("inarch-stream")]
