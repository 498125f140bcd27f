"""A task as a function of batches of columns, for engines that run it in other processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from inarch.data.columns import column_names, values_of
from inarch.errors import InputError, InputTypeError
from inarch.tasks import workflows
from inarch.tasks.task import Task
from inarch.validation import shown


class BatchPredictor:
    """A task that adds its answers to batches of columns, in workers of Ray, Spark or Beam.

    What is pickled are these arguments alone: a process loads the model at its first batch, once.
    The class itself is what `ray.data.Dataset.map_batches` takes as an actor, an instance is a
    function of one batch, and its method `map` one of an iterator of them, as Spark's
    `mapInPandas` and `mapInArrow` call it.

    An answer is that of the task's `stream`: of embedders a vector, of a classifier the classes
    with their scores, of a reranker the score of a pair.

    Args:
        preset: a folder that every worker sees, a built-in name, or a hub id.
        column: the column of texts; or two, of queries and documents, or questions and contexts.
        output_column: the new column of answers.
        error_column: a new column of messages, null where there is an answer, so that a text that
            can't be answered is given null and stops nothing; by default it raises its error.
        task: class of the task, such as `TextEmbedder`; by default the one that the checkpoint was
            made for (`inarch.load`).
        task_options: arguments of its `from_preset`, such as `dtype`.
        options: arguments of the task's own method, such as `batch_size` or `top_k`.

    Raises:
        InputTypeError: `column` isn't one name or two, or another name is no string.
        InputError: a new column would take the name of another.
    """

    def __init__(
        self,
        preset: str | os.PathLike,
        column: str | Sequence[str] = "text",
        *,
        output_column: str = "answer",
        error_column: str | None = None,
        task: type[Task] | None = None,
        task_options: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        columns = [column] if isinstance(column, str) else column
        names = [*columns] if isinstance(columns, list | tuple) else []
        if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
            raise InputTypeError(f"column is {shown(column)}; give the name of a column, or two")
        made = [output_column] if error_column is None else [output_column, error_column]
        for name in made:
            if not isinstance(name, str):
                raise InputTypeError(f"a new column is {shown(name)}; give a name")
        if len({*names, *made}) < len(names) + len(made):
            raise InputError(f"of the columns {', '.join([*names, *made])} two have one name")
        self.preset = os.fspath(preset)
        self.columns, self.made = tuple(names), tuple(made)
        self.task_class, self.task_options = task, dict(task_options or {})
        self.options = options

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "task"}

    @cached_property
    def task(self) -> Task:
        """The task, loaded when it is first used.

        Raises:
            InputError: the checkpoint is of no task.
        """
        load: Any = workflows.load if self.task_class is None else self.task_class.from_preset
        found = load(self.preset, **self.task_options)
        if not isinstance(found, Task):
            raise InputError(
                f"{self.preset} holds no task, and opens as {type(found).__name__}; name one: "
                "task=TextEmbedder"
            )
        return found

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the column of answers, and of errors if there is one.

        Args:
            batch: a dict of columns, a pandas frame, or an Arrow table or record batch; the result
                is of the same kind.

        Raises:
            InputTypeError: `batch` is of another kind.
            InputError: it has no such column, or has one of the name of a new one.
            InputError, InputTypeError: a text can't be answered, and there is no `error_column`.
        """
        names = column_names(batch)
        if names is None:
            raise InputTypeError(f"batch is {shown(batch)}; give a dict of columns, or a table")
        for name in self.columns:
            if name not in names:
                raise InputError(f"the batch has no column {name!r}; it has {', '.join(names)}")
        for name in self.made:
            if name in names:
                raise InputError(f"the batch has a column {name!r} already; name another one")
        columns = [list(values_of(batch[name])) for name in self.columns]
        examples = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        new = self._made(examples)
        if isinstance(batch, Mapping):
            return {**batch, **{name: _array(values) for name, values in new.items()}}
        if hasattr(batch, "assign"):  # pandas
            return batch.assign(**new)
        import pyarrow

        for name, values in new.items():
            # An error is a string also in a batch that has none, as files of one column need it.
            kind = pyarrow.string() if name in self.made[1:] else None
            batch = batch.append_column(name, pyarrow.array(values, kind))
        return batch

    def map(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield each batch of an iterable with its answers."""
        for batch in batches:
            yield self(batch)

    def _made(self, examples: list[Any]) -> dict[str, list[Any]]:
        """Return the new columns."""
        if len(self.made) == 1:
            return {self.made[0]: list(self.task.stream(examples, **self.options))}
        errors: list[str | None] = [None] * len(examples)

        def note(number: int, example: Any, error: Exception) -> None:
            errors[number] = str(error)

        answers = list(self.task.stream(examples, on_error=note, **self.options))
        return dict(zip(self.made, (answers, errors), strict=True))


def _array(values: list[Any]) -> np.ndarray:
    """Return answers as an array: of numbers where all are of one shape, else of objects."""
    shapes = {v.shape if isinstance(v, np.ndarray | np.generic) else None for v in values}
    if len(shapes) == 1 and None not in shapes:
        return np.stack(values)
    found = np.empty(len(values), object)
    found[:] = values
    return found
