"""Examples of several texts as batches for a loss of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from inarch.answers.answer_changes import vector_changes
from inarch.errors import InputError
from inarch.losses.embedding import EmbeddingLoss, check_finite
from inarch.runtime.mini_batches import call_in_mini_batches
from inarch.tasks.inference import preprocessor_of
from inarch.tasks.task_mixin import TaskMixin
from inarch.training.datasets import array_of, weights_of
from inarch.training.training_batches import MakeBatch, make_batches

if TYPE_CHECKING:
    from inarch.tasks.task import Task


class VectorTraining(TaskMixin):
    """Training of a task of vectors, by losses of `EmbeddingLoss`'s family or by targets."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        call: Callable[[Any], Any] = partial(super().call, training=training, mask=mask, **kwargs)
        size = getattr(getattr(self, "loss", None), "mini_batch_size", None)
        if size is None or not training:
            return call(inputs)
        return call_in_mini_batches(self, call, inputs, size)

    def answer_changes(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        return vector_changes(before, after)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        loss = getattr(self, "loss", None) or self.objective().loss
        if isinstance(loss, EmbeddingLoss):
            return collate_columns(self, loss, texts, y, sample_weight)
        return super().collate(texts, y, sample_weight)


def columns_of(examples: Sequence[Any]) -> list[list[str]]:
    """Return the first texts of all examples, the second ones, and so on.

    Raises:
        InputError: the examples have different numbers of texts.
    """
    groups = [(e,) if isinstance(e, str) else tuple(e) for e in examples]
    counts = [len(group) for group in groups]
    if len(set(counts)) > 1:
        other = next(i for i, count in enumerate(counts) if count != counts[0])
        raise InputError(
            f"example 0 has {counts[0]} texts and example {other} has {counts[other]}; all of one "
            "fit need the same number, such as (anchor, positive, negative)"
        )
    return [list(column) for column in zip(*groups, strict=True)]


def collate_columns(
    task: Task, loss: EmbeddingLoss, examples: Sequence[Any], y: Any, sample_weight: Any
) -> MakeBatch:
    """Return a function from the indices of a batch to `(x, y)` or `(x, y, sample_weight)`.

    `x` has the first texts of all examples, then their second ones, and so on.

    Raises:
        InputError: the examples, or their targets or weights, aren't what the loss reads.
    """
    count, dim = len(examples), task.output_shape[-1]
    columns = columns_of(examples)
    loss.check_columns(len(columns))
    loss.check_dimension(dim)
    if y is not None:
        y = array_of("y", y)
        if len(y) != count:
            raise InputError(f"there are {count} examples and {len(y)} targets")
        check_finite(y)
    targets = loss.targets(y, count, len(columns), dim)
    weights = weights_of(sample_weight, count)
    if weights is not None and not loss.weighs_examples:
        raise InputError(
            f"sample_weight is given, and {type(loss).__name__} has one value for a whole batch; "
            "leave it out"
        )
    prompt = preprocessor_of(task).default_prompt_name
    encoded = [task.encode(column, prompt) for column in columns]

    return make_batches(
        lambda indices: task.padded([column[i] for column in encoded for i in indices]),
        targets,
        weights,
    )


def check_vectors(y: np.ndarray, loss: Any, dim: int) -> None:
    """Raise InputError where `y` can't be vectors for a loss of Keras's, or has NaN for any loss.

    Keras itself would stretch targets of one number to all of a vector's.
    """
    check_finite(y)
    of_keras = isinstance(loss, str) or type(loss).__module__.startswith("keras.")
    if of_keras and y.shape[1:] != (dim,):
        raise InputError(
            f"y has the shape {list(y.shape)}, and the model's vectors have {dim} numbers; give "
            f"[{len(y)}, {dim}]: vectors of a teacher of another width must be projected first"
        )
