"""A task as a function of batches of columns, for engines that run it in other processes."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from inarch.answers.answer_columns import answer_array, arrow_answers
from inarch.data.columns import column_names, values_of
from inarch.errors import InputError, InputTypeError
from inarch.tasks.task import Task
from inarch.validation import shown
from inarch.workflows import presets

# Tasks of this process, by the identity of the predictor whose unpickled copies share one.
_shared: dict[str, Task] = {}
_loading = threading.Lock()


class BatchPredictor:
    """A task that adds its answers to batches of columns, in workers of Ray, Spark or Beam.

    What is pickled are these arguments alone: a process loads the model at its first batch, once,
    and all copies that it unpickles share it.
    The class itself is what `ray.data.Dataset.map_batches` takes as an actor, an instance is a
    function of one batch, and its method `map` one of an iterator of them, as Spark's
    `mapInPandas` and `mapInArrow` call it.

    An answer is that of the task's `stream`: of embedders a vector, of a classifier the classes
    with their scores, of a reranker the score of a pair. A column of them has one type in every
    batch, also in an empty one: where no answer shows it, the task answers an example of its own.

    Args:
        preset: a folder that every worker sees, a built-in name, or a hub id.
        column: the column of texts; or two, of queries and documents, or questions and contexts.
        output_column: the new column of answers.
        error_column: a new column of messages, null where there is an answer, so that a text that
            can't be answered is given null (NaN in arrays of floats) and stops nothing; by default
            it raises its error.
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
        new = [output_column] if error_column is None else [output_column, error_column]
        for name in new:
            if not isinstance(name, str):
                raise InputTypeError(f"a new column is {shown(name)}; give a name")
        if len({*names, *new}) < len(names) + len(new):
            raise InputError(
                f"of the columns {', '.join([*names, *new])} two have one name; give another "
                "output_column or error_column"
            )
        self.preset = os.fspath(preset)
        self.columns, self.new_columns = tuple(names), tuple(new)
        self.task_class, self.task_options = task, dict(task_options or {})
        self.options = options
        self._identity, self._is_copy = uuid.uuid4().hex, False
        self._sample: Any = None  # an answer, by which the type of others is known

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "task"}
        return state | {"_is_copy": True, "_sample": None}

    @cached_property
    def task(self) -> Task:
        """The task, loaded when it is first used.

        Raises:
            InputError: the checkpoint is of no task.
        """
        if not self._is_copy:
            return self._load()
        with _loading:
            if self._identity not in _shared:
                _shared[self._identity] = self._load()
            return _shared[self._identity]

    def _load(self) -> Task:
        load: Any = presets.load if self.task_class is None else self.task_class.from_preset
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
                raise InputError(
                    f"the batch has no column {name!r}; it has {', '.join(names)}: give one of "
                    "them as column"
                )
        for name in self.new_columns:
            if name in names:
                raise InputError(f"the batch has a column {name!r} already; name another one")
        columns = [list(values_of(batch[name])) for name in self.columns]
        examples = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        answers, errors = self._answers(examples)
        if self._sample is None:
            self._sample = self._find_sample(answers)
        return self._with_columns(batch, answers, errors)

    def map(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield each batch of an iterable with its answers."""
        for batch in batches:
            yield self(batch)

    def _answers(self, examples: list[Any]) -> tuple[list[Any], list[str | None]]:
        """Return the answer to each example, and its error; None where there isn't one."""
        errors: list[str | None] = [None] * len(examples)
        if len(self.new_columns) == 1:
            return list(self.task.stream(examples, **self.options)), errors

        def note(number: int, example: Any, error: Exception) -> None:
            errors[number] = str(error)

        return list(self.task.stream(examples, on_error=note, **self.options)), errors

    def _find_sample(self, answers: list[Any]) -> Any:
        """Return an answer that shows the type of all; None where the task has none."""
        for answer in answers:
            if answer is not None and (not isinstance(answer, list) or answer):
                return answer
        text = getattr(getattr(self.task.preprocessor, "tokenizer", None), "mask_token", None)
        example = text or "a"
        pair = example if len(self.columns) == 1 else (example, example)
        found = self.task.stream([pair], on_error=lambda *error: None, **self.options)
        return next(iter(found), None)

    def _with_columns(self, batch: Any, answers: list[Any], errors: list[str | None]) -> Any:
        """Return a batch of any kind with its new columns."""
        output, *others = self.new_columns
        if not isinstance(batch, Mapping) and not hasattr(batch, "assign"):
            import pyarrow

            batch = batch.append_column(output, arrow_answers(answers, self._sample))
            for name in others:
                # A string also in a batch that has none, as files of one column need it.
                batch = batch.append_column(name, pyarrow.array(errors, pyarrow.string()))
            return batch
        column = answer_array(answers, self._sample)
        new = {output: column, **{name: answer_array(errors, None) for name in others}}
        if isinstance(batch, Mapping):
            return {**batch, **new}
        # A column of pandas has one axis: vectors are objects in it.
        return batch.assign(**new | ({output: answers} if column.ndim > 1 else {}))
