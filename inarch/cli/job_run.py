"""The course of a job: texts are answered and written chunk by chunk."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from inarch.cli import output
from inarch.cli.job import Job
from inarch.cli.texts import Text, TextSource
from inarch.errors import InputError


def run_job(
    job: Job,
    source: TextSource,
    answers: Callable[[list[Text]], Sequence[Any]],
    rows: Callable[[int, Text | None, Any], list[output.Row]],
    chunk: int,
) -> None:
    """Answer the texts that are left and write the results.

    Args:
        answers: from texts to an answer for each.
        rows: from the number of a text, the text (None where it can't be read) and its answer
            (None where there is none) to the rows of the output.
        chunk: how many texts are answered and written together.

    Raises:
        InputError: a text can't be read or answered, and no file lists those.
        CheckpointFileError: the files can't be written.
    """
    show = _progress(source, job.mark.rows)
    while part := list(islice(source.rows, chunk)):
        lines: list[output.Row] = []
        bad: list[output.Row] = []
        found = _answered(part, answers)
        for number, (row, answer) in enumerate(found, job.mark.rows):
            text = None if isinstance(row, InputError) else row
            if isinstance(answer, Exception):
                if not job.lists_bad_rows:
                    raise InputError(
                        f"{source.name}, row {number} (from 0): {answer}"
                        f"{job.kept(', once the row is mended, or') or ';'} give --bad-rows FILE "
                        "to list such rows and leave them out"
                    ) from answer
                bad.append({"row": number, "text": text, "error": str(answer)})
                answer = None
            lines += rows(number, text, answer)
        job.add(part, lines, bad)
        show(job.mark.rows)
    job.finish()
    show(None)
    if job.mark.bad_rows:
        output.complain(
            f"warning: {job.mark.bad_rows:,} of {job.mark.rows:,} texts have no answer: "
            f"{job.mark.bad_file} says why"
        )


def _answered(
    part: list[Text | InputError], answers: Callable[[list[Text]], Sequence[Any]]
) -> Iterator[tuple[Text | InputError, Any]]:
    """Yield rows with their answers, in the place of one that there isn't its error."""
    from inarch.tasks.stream import stream

    texts = [row for row in part if not isinstance(row, InputError)]
    found = stream(answers, texts, lambda number, text, error: error, max(len(texts), 1))
    for row in part:
        yield row, row if isinstance(row, InputError) else next(found)


def _progress(source: TextSource, done: int) -> Callable[[int | None], None]:
    """Return a function that shows how many texts are done, on a terminal; None ends the line."""
    if not sys.stderr.isatty():
        return lambda rows: None
    return partial(_show, source, done, source.share() or 0.0, time.monotonic())


def _show(source: TextSource, first: int, share: float, start: float, rows: int | None) -> None:
    if rows is None:
        print(file=sys.stderr)
        return
    seconds = max(time.monotonic() - start, 1e-9)
    line = f"{rows:,} texts, {(rows - first) / seconds:,.0f} a second"
    now = source.share()
    if now is not None and now > share:
        left = round(seconds * max(1 - now, 0) / (now - share))
        line += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)
