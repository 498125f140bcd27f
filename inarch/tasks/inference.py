"""Batches of encoded texts through a task's compiled forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inarch.data import PackedBatch, PlannedBatch, by_length, packed_batches
from inarch.errors import InputError
from inarch.preprocessors.preprocessor import TextPreprocessor, TokenRow
from inarch.preprocessors.raw_texts import Text
from inarch.preprocessors.windows import Window, encode_windows
from inarch.runtime.forward import (
    as_float32,
    as_float32_later,
    callback_list,
    compiles_per_shape,
)
from inarch.training.datasets import check_token_ids
from inarch.validation import check_count

if TYPE_CHECKING:
    from inarch.tasks.task import Task

# Texts whose windows are in memory at once: a window takes some hundred bytes for each token.
CHUNK = 256

# Tokens of a batch for each of its `batch_size`.
TOKENS = 64


def preprocessor_of(task: Task) -> TextPreprocessor:
    """Return the preprocessor of a task; InputError where it has none."""
    preprocessor = task.preprocessor
    if preprocessor is None:
        raise InputError("this task has no preprocessor; feed prepared arrays")
    return preprocessor


def check_vocabulary(task: Task, encodings: Sequence[TokenRow]) -> None:
    """Raise InputError where a text has a token that the model doesn't have."""
    rows = task.backbone.argument("vocabulary_size")
    if rows is not None and preprocessor_of(task).tokenizer.vocabulary_size > rows:
        check_token_ids(encodings, rows)


def window_chunks(
    task: Task, texts: Sequence[Text], stride: int | None = None, cut: int = 1
) -> Iterator[list[Window]]:
    """Yield the windows of texts in order, those of a few hundred texts at a time.

    For the arguments see `encode_windows`.
    """
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        windows = encode_windows(preprocessor_of(task), part, stride, cut, start)
        check_vocabulary(task, windows)
        yield windows


def can_pack(task: Task) -> bool:
    """Return whether several texts in a row of the backbone compute what each computes alone."""
    return not task.backbone.padding_affects_output and "padding_mask" in task.input


def plan(
    task: Task, encodings: Sequence[TokenRow], batch_size: int
) -> list[PackedBatch | PlannedBatch]:
    """Return batches in which no text's numbers depend on the others."""
    lengths = [len(e.ids) for e in encodings]
    exact = not compiles_per_shape()
    if not can_pack(task):
        limit = preprocessor_of(task).sequence_length
        return list(by_length(lengths, batch_size, limit, exact, padded=False))
    check_count("batch_size", batch_size)
    wide = len(lengths) > 1 and (task.output_shape[-1] or 1) > task.backbone.hidden_dim
    return list(packed_batches(lengths, TOKENS * batch_size, task.backbone.max_length, exact, wide))


def one_batch(task: Task, encodings: Sequence[TokenRow]) -> PlannedBatch:
    """Return all of `encodings` as one batch, in their order."""
    lengths = [len(e.ids) for e in encodings]
    limit = preprocessor_of(task).sequence_length
    rows = len(encodings)
    (batch,) = by_length(lengths, rows, limit, exact=not compiles_per_shape())
    return PlannedBatch(np.arange(rows), rows, batch.length)


def run(
    task: Task,
    forward: Callable[..., Iterator[tuple[PlannedBatch, Any]]],
    encodings: Sequence[TokenRow],
    batches: Sequence[PackedBatch | PlannedBatch],
    verbose: Any,
    callbacks: Any,
) -> Iterator[tuple[PlannedBatch, np.ndarray]]:
    """Yield the parts of each batch of `encodings` with the outputs of `forward` for their rows.

    On backends that compute asynchronously, a batch is computed while the outputs of the one before
    it are used.
    """
    is_one = len(batches) == 1 and isinstance(batches[0], PlannedBatch)
    if is_one and not callbacks and verbose in (0, "auto"):  # there is nothing to wait for
        ((part, tensor),) = forward(encodings, batches[0])
        yield part, as_float32(tensor)[: len(part.indices)]
        return
    bar = callback_list(task, callbacks, verbose, len(batches))
    bar.on_predict_begin()
    waiting: list[tuple[PlannedBatch, Any, Callable[[], np.ndarray]]] = []
    for step in range(len(batches) + 1):
        started = []
        if step < len(batches):
            bar.on_predict_batch_begin(step)
            for part, tensor in forward(encodings, batches[step]):
                started.append((part, tensor, as_float32_later(tensor)))
        for part, _, outputs_of in waiting:
            yield part, outputs_of()[: len(part.indices)]
        if step:
            outputs = [tensor for _, tensor, _ in waiting]
            logs = {"outputs": outputs if len(outputs) > 1 else outputs[0]}
            bar.on_predict_batch_end(step - 1, logs)
        waiting = started
    bar.on_predict_end()


def token_outputs(
    task: Task, encodings: Sequence[TokenRow], batch_size: int, verbose: Any, callbacks: Any
) -> np.ndarray:
    """Return outputs of tokens, float32 `[texts, longest, width]`, zero beyond the end of each."""
    longest = max((len(e.ids) for e in encodings), default=0)
    found = np.zeros((len(encodings), longest, task.output_shape[-1]), np.float32)

    def place(index: int, output: np.ndarray) -> None:
        length = len(encodings[index].ids)
        found[index, :length] = output[:length]

    task.map_outputs(place, encodings, batch_size, verbose, callbacks)
    return found
