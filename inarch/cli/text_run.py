"""Commands that answer for each of several texts: the options that they share, and their course."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.job import Job, job_files
from inarch.cli.job_run import run_job
from inarch.cli.options import (
    BadRows,
    BatchSize,
    Chunk,
    FieldName,
    IgnoreField,
    Input,
    Json,
    Output,
    Preset,
    Resume,
    Texts,
    TokenizerFrom,
)
from inarch.cli.texts import Text, TextSource, open_texts, read_texts
from inarch.errors import CheckpointError, InputError

# Texts of a chunk of a job where none is given.
CHUNK = 1024
# Options of a job, which commands whose results are not text by text don't have.
JOB_OPTIONS = ("resume", "bad_rows", "chunk")
# Options, besides a command's own, on which answers depend.
OF_ANSWERS = ("preset", "tokenizer", "ignore_field")


@dataclass(frozen=True)
class TextAnswers:
    """Answers of a command to texts, and the rows that they become.

    Attributes:
        answer: from texts to an answer for each.
        results: from an answer to its columns, a row for each result.
        columns: the names of these columns, each with a value of the kind that it holds.
        source: from the number of a text and the text (None where it can't be read) to the columns
            before them.
    """

    answer: Callable[[list[Text]], Sequence[Any]]
    results: Callable[[Any], Iterable[output.Row]]
    columns: output.Row
    source: Callable[[int, Text | None], output.Row] = lambda number, text: {"text": text}

    def example(self) -> output.Row:
        """Return a row of the kind of all."""
        source = {n: "" if value is None else value for n, value in self.source(0, "").items()}
        return {**source, **self.columns}

    def rows(self, number: int, text: Text | None, answer: Any) -> list[output.Row]:
        """Return the rows of an answer; of None one with nothing in its columns."""
        source = self.source(number, text)
        if answer is None:
            return [{**source, **dict.fromkeys(self.columns)}]
        return [{**source, **result} for result in self.results(answer)]


@dataclass(frozen=True)
class TextRun:
    """A run of a command of texts: what its shared options are, and what follows from them.

    The fields are the shared options, in the order of the command line; a command has its own
    between the first two and the others.
    """

    preset: Preset
    arguments: Texts = None
    input: Input = None
    field: FieldName = "text"
    batch_size: BatchSize = 32
    tokenizer: TokenizerFrom = None
    ignore_field: IgnoreField = None
    output_file: Output = None
    as_json: Json = False
    resume: Resume = False
    bad_rows: BadRows = None
    chunk: Chunk = None
    # No options: what the answers depend on; and that they are computed together, of all texts.
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_whole: bool = False

    def check(self) -> None:
        """Refuse options that don't go together.

        Raises:
            InputError: a file is to be read and written.
        """
        for_jobs = {
            "--resume": self.resume,
            "--bad-rows": self.bad_rows is not None,
            "--chunk": self.chunk is not None,
        }
        for name, is_given in for_jobs.items():
            if is_given and not self.is_job:
                raise typer.BadParameter(
                    f"{name} needs results that are written text by text, to --output FILE.jsonl"
                )
        if self.bad_rows is not None:
            for name, path in self._other_files():
                if _is_same(path, self.bad_rows):
                    raise InputError(f"--bad-rows and {name} are both {path}; give two files")

    def _other_files(self) -> Iterator[tuple[str, Path]]:
        """Yield the files of a job that the list of bad rows can't be, each after its name."""
        if self.input is not None:
            yield "--input", self.input
        if self.output_file is not None:
            yield "--output", self.output_file
            for path in job_files(self.output_file):
                yield "a file of the job", path

    @property
    def is_job(self) -> bool:
        """True where results are written chunk by chunk."""
        path = self.output_file
        return path is not None and path.suffix == ".jsonl" and not self.is_whole

    def together(self) -> TextRun:
        """Return this run as one whose answers are computed together, of all texts."""
        run = dataclasses.replace(self, is_whole=True)
        run.check()
        return run

    @cached_property
    def source(self) -> TextSource:
        """The texts of a job, of which those that are done have been taken."""
        source = open_texts(self.arguments, self.input, self.field)
        self.job.skip(source)
        return source

    @cached_property
    def job(self) -> Job:
        """The files of a job."""
        assert self.output_file is not None
        return Job(self.output_file, self.settings, self.resume, self.bad_rows)

    def close(self) -> None:
        """Close the files of a job."""
        if "job" in self.__dict__:
            self.job.close()

    @cached_property
    def texts(self) -> list[Text]:
        """The texts, which are read once, before Keras is imported."""
        return read_texts(self.arguments, self.input, self.field)

    def load(self, *names: str) -> Any:
        """Load the checkpoint as a task of `inarch.tasks`, whose head must be trained.

        Args:
            names: of the task; of several, the one that the checkpoint was made for, or a kind of
                it, else the first one.

        Raises:
            InputError, CheckpointFileError: as `read_texts`, before anything is loaded.
            CheckpointError: the head is fresh.
        """
        _ = self.source if self.is_job else self.texts
        import_keras()
        from inarch import tasks
        from inarch.models.loading import Checkpoint
        from inarch.workflows.presets import class_of

        ignored = self.ignore_field or ()
        task, *others = (getattr(tasks, name) for name in names)
        if others:
            with Checkpoint(self.preset, ignore_fields=ignored) as checkpoint:
                found = class_of(checkpoint)
            task = found if issubclass(found, (task, *others)) else task
        model = task.from_preset(self.preset, tokenizer=self.tokenizer, ignore_fields=ignored)
        headed = getattr(model, "classifier", model)
        if headed.head and headed.fresh_weights:
            raise CheckpointError(
                f"{self.preset} has no trained {headed.head} head, so its answers would be random; "
                "choose a checkpoint that has one (`inarch info` shows it), or train "
                f"{type(headed).__name__}"
            )
        return model

    def write(
        self,
        rows: Sequence[output.Row],
        columns: Sequence[str] | None = None,
        right: Sequence[str] = ("score",),
        shown: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
        example: output.Row = MappingProxyType({}),
    ) -> None:
        """Write the answers, to a file, as JSON, or as a table.

        Args:
            columns: of the table, in order; by default all.
            right: those of them that align right.
            shown: from a value to what the table has for it, by column.
            example: as of `output.write`.
        """

        def table() -> None:
            lines = [
                {n: shown[n](row[n]) if n in shown else row[n] for n in columns or row}
                for row in rows
            ]
            output.print_table(lines, right=right)

        output.write(rows, self.as_json, self.output_file, table, example)

    def answer(
        self,
        answers: TextAnswers,
        columns: Sequence[str] | None = None,
        right: Sequence[str] = ("score",),
        shown: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
    ) -> None:
        """Answer the texts and write the answers, chunk by chunk to a `.jsonl` file.

        Args:
            columns, right, shown: as of `write`.
        """
        if self.is_job:
            run_job(self.job, self.source, answers.answer, answers.rows, self.chunk or CHUNK)
            return
        found = answers.answer(self.texts)
        rows = [
            row
            for number, (text, answer) in enumerate(zip(self.texts, found, strict=True))
            for row in answers.rows(number, text, answer)
        ]
        self.write(rows, columns, right, shown, answers.example())

    def classify(self, answer: Callable[[list[Text]], Sequence[Any]]) -> None:
        """Answer the texts by classes, each a row of its label and score."""
        answers = TextAnswers(answer, lambda classes: classes, {"label": "", "score": 0.0})
        self.answer(answers, ("label", "score", "text"))


def _is_same(one: Path, two: Path) -> bool:
    return one.resolve() == two.resolve() or (one.exists() and two.exists() and one.samefile(two))


def text_command(
    function: Callable[..., None], batch_size: int = 32, is_whole: bool = False
) -> Callable[..., None]:
    """Return the command of a function from a `TextRun` and options of its own.

    Args:
        batch_size: texts of a batch where none is given.
        is_whole: results are not text by text, and are computed together.
    """
    preset, arguments, *rest = inspect.signature(TextRun, eval_str=True).parameters.values()
    left_out = ("settings", "is_whole", *(JOB_OPTIONS if is_whole else ()))
    rest = [
        p.replace(default=batch_size) if p.name == "batch_size" else p
        for p in rest
        if p.name not in left_out
    ]
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = {p.name for p in (preset, arguments, *rest)}

    @functools.wraps(function)
    def command(**options: Any) -> None:
        settings = {p.name: options[p.name] for p in own}
        settings |= {name: options[name] for name in OF_ANSWERS}
        settings["command"] = function.__name__
        given = {name: options.pop(name) for name in shared}
        run = TextRun(**given, settings=settings, is_whole=is_whole)
        run.check()
        try:
            function(run, **options)
        finally:
            run.close()

    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (preset, arguments, *own, *rest)
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command
