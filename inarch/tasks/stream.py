"""Answers to a stream of examples of any length, in order and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from inarch.data.columns import refuse_table
from inarch.errors import InputError, InputTypeError
from inarch.validation import check_count, shown

# Examples that are read and answered together, where nothing else is given.
CHUNK = 1024

OnError = Callable[[int, Any, Exception], Any]
Answers = Callable[[list[Any]], Sequence[Any]]


def stream(
    answers: Answers, examples: Iterable[Any], on_error: OnError | None = None, chunk: int = CHUNK
) -> Iterator[Any]:
    """Return an iterator of the answer to each of `examples`, in order.

    Args:
        answers: from a list of examples, perhaps an empty one, to an answer for each.
        examples: read a chunk at a time, when the answers to those before have been taken.
        on_error: called with the number, counted from 0, the example and the error of one that
            can't be answered; what it returns is the answer. Without it the error is raised.
        chunk: how many examples are read and answered together.

    Raises:
        InputTypeError: `examples` is one text, a table, or no iterable; `on_error` can't be called.
        InputError: `chunk` isn't a whole number from 1 up.
    """
    refuse_table("examples", examples)
    if isinstance(examples, str | bytes | Mapping) or not isinstance(examples, Iterable):
        raise InputTypeError(
            f"examples is {shown(examples)}; give an iterable of examples, for one: [example]"
        )
    if on_error is not None and not callable(on_error):
        raise InputTypeError(
            f"on_error is {shown(on_error)}; give a function of a number, an example and an error"
        )
    check_count("chunk", chunk)
    return _chunk_by_chunk(answers, iter(examples), on_error, chunk)


def _chunk_by_chunk(
    answers: Answers, rest: Iterator[Any], on_error: OnError | None, chunk: int
) -> Iterator[Any]:
    start, failure = 0, None
    while failure is None:
        part: list[Any] = []
        try:
            for example in islice(rest, chunk):
                part.append(example)
        except Exception as error:
            failure = error
        if not part:
            break
        found = _answered(part, answers)
        errors = [error for error in found if isinstance(error, _Unanswered)]
        if len(errors) == len(part) and len({str(error.reason) for error in errors}) == 1:
            _check_call(answers, errors[0].reason)
        for number, (example, answer) in enumerate(zip(part, found, strict=True), start):
            if not isinstance(answer, _Unanswered):
                yield answer
            elif on_error is not None:
                yield on_error(number, example, answer.reason)
            else:
                raise type(answer.reason)(f"example {number}: {answer.reason}") from answer.reason
        start += len(part)
    if failure is not None:
        raise failure


class _Unanswered:
    """Error in the place of the answer to an example that can't be answered."""

    def __init__(self, reason: InputError | InputTypeError):
        self.reason = reason


def _check_call(answers: Answers, error: InputError | InputTypeError) -> None:
    """Raise the error of all examples where it is of the call: where it comes without any, too."""
    try:
        answers([])
    except (InputError, InputTypeError) as own:
        if str(own) == str(error):
            raise


def _answered(part: list[Any], answers: Answers) -> list[Any]:
    """Return an answer for each example; halves of a part show which it is that has none."""
    try:
        return list(answers(part))
    except (InputError, InputTypeError) as error:
        if len(part) == 1:
            return [_Unanswered(error)]
    half = len(part) // 2
    return _answered(part[:half], answers) + _answered(part[half:], answers)
