"""Answers for a stream of examples of any length, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from typing import Any

from inarch.errors import InputError, InputTypeError

# Examples that are answered together.
CHUNK = 1024

OnError = Callable[[int, Any, Exception], Any]


def stream(
    answers: Callable[[list[Any]], Sequence[Any]],
    examples: Iterable[Any],
    on_error: OnError | None = None,
    chunk: int = CHUNK,
) -> Iterator[Any]:
    """Yield the answer to each of `examples`, in order.

    At most three chunks are in memory. The second is encoded while the first is computed, in
    another thread; the iterable is read in the caller's.

    Args:
        answers: from a list of examples to an answer for each.
        examples: read as far as answers are asked for, and two chunks more.
        on_error: called with the number, counted from 0, the example and the error of one that
            can't be answered; what it returns is the answer. Without it the error is raised when
            its turn comes, and names the number.
        chunk: examples that are answered together.

    Raises:
        InputError, InputTypeError: of an example that can't be answered, after the answers to all
            before it. So is whatever `examples` raises.
    """
    rest = iter(examples)
    starts = count(step=chunk)
    with ThreadPoolExecutor(2, "inarch-stream") as threads:
        waiting: deque[tuple[int, list[Any], Future[Sequence[Any]]]] = deque()
        failure: Exception | None = None
        is_first = True
        while True:
            while len(waiting) < (1 if is_first else 2) and failure is None:
                part, failure = _read(rest, chunk)
                if not part:
                    break
                waiting.append((next(starts), part, threads.submit(answers, part)))
            if not waiting:
                break
            start, part, future = waiting.popleft()
            # What the first chunk compiles, the next ones find.
            is_first = False
            yield from _answered(start, part, future, answers, on_error)
        if failure is not None:
            raise failure


def _read(rest: Iterator[Any], size: int) -> tuple[list[Any], Exception | None]:
    """Return the next examples, and what kept the iterator from giving more."""
    part: list[Any] = []
    try:
        for example in islice(rest, size):
            part.append(example)
    except Exception as error:
        return part, error
    return part, None


def _answered(
    start: int,
    part: list[Any],
    future: Future[Sequence[Any]],
    answers: Callable[[list[Any]], Sequence[Any]],
    on_error: OnError | None,
) -> Iterator[Any]:
    try:
        found = future.result()
    except (InputError, InputTypeError):
        found = None
    if found is not None:
        yield from found
        return
    for number, example in enumerate(part, start):  # one by one, to tell which it is
        try:
            (answer,) = answers([example])
        except (InputError, InputTypeError) as error:
            if on_error is None:
                raise type(error)(f"example {number}: {error}") from error
            answer = on_error(number, example, error)
        yield answer
