"""Commands that answer for each of several texts: the options that they share, and their course."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.options import (
    BatchSize,
    FieldName,
    IgnoreField,
    Input,
    Json,
    Output,
    Preset,
    Texts,
    TokenizerFrom,
)
from inarch.cli.texts import Text, read_texts
from inarch.errors import CheckpointError


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

    @cached_property
    def texts(self) -> list[Text]:
        """The texts, which are read once, before Keras is imported."""
        return read_texts(self.arguments, self.input, self.field)

    def load(self, *names: str) -> Any:
        """Load the checkpoint as a task of `inarch.tasks`, whose head must be trained.

        Args:
            names: of the task; of several, the one that the checkpoint was made for, else the first
                one.

        Raises:
            InputError, CheckpointFileError: as `read_texts`, before anything is loaded.
            CheckpointError: the head is fresh.
        """
        _ = self.texts
        import_keras()
        from inarch import tasks
        from inarch.models.loading import Checkpoint
        from inarch.tasks.workflows import class_of

        ignored = self.ignore_field or ()
        task, *others = (getattr(tasks, name) for name in names)
        if others:
            with Checkpoint(self.preset, ignore_fields=ignored) as checkpoint:
                found = class_of(checkpoint)
            task = found if found in others else task
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
    ) -> None:
        """Write the answers, to a file, as JSON, or as a table.

        Args:
            columns: of the table, in order; by default all.
            right: those of them that align right.
            shown: from a value to what the table has for it, by column.
        """

        def table() -> None:
            lines = [
                {n: shown[n](row[n]) if n in shown else row[n] for n in columns or row}
                for row in rows
            ]
            output.print_table(lines, right=right)

        output.write(rows, self.as_json, self.output_file, table)

    def write_classes(self, found: Sequence[Sequence[output.Row]]) -> None:
        """Write the classes of each text, each a row of its label and score."""
        rows = [
            {"text": text, **answer}
            for text, answers in zip(self.texts, found, strict=True)
            for answer in answers
        ]
        self.write(rows, ("label", "score", "text"))


def text_command(function: Callable[..., None], batch_size: int = 32) -> Callable[..., None]:
    """Return the command of a function from a `TextRun` and options of its own.

    Args:
        batch_size: texts of a batch where none is given.
    """
    preset, arguments, *rest = inspect.signature(TextRun, eval_str=True).parameters.values()
    rest = [p.replace(default=batch_size) if p.name == "batch_size" else p for p in rest]
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = {p.name for p in (preset, arguments, *rest)}

    @functools.wraps(function)
    def command(**options: Any) -> None:
        run = TextRun(**{name: options.pop(name) for name in shared})
        function(run, **options)

    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (preset, arguments, *own, *rest)
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command
