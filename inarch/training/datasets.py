"""Raw text and data sets of raw text as data sets for Keras's training loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import keras
import numpy as np

from inarch.data.columns import column_names, refuse_table, text_column, values_of
from inarch.errors import InputError, InputTypeError
from inarch.preprocessors.preprocessor import TokenRow
from inarch.preprocessors.raw_texts import is_raw, is_text_group
from inarch.training.training_batches import Batch
from inarch.validation import check_count, check_rate, shown


class MappedDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches go through `prepare`."""

    def __init__(self, dataset: keras.utils.PyDataset, prepare: Callable[[Any], Batch]):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self._dataset = dataset
        self._prepare = prepare

    def __len__(self) -> int:
        return self._dataset.num_batches  # type: ignore[return-value]

    def __getitem__(self, index: int) -> Batch:
        return self._prepare(self._dataset[index])

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


class IterableDataset(keras.utils.PyDataset):
    """An iterable of batches (tf.data, grain, torch's loader) that starts anew each epoch."""

    def __init__(self, batches: Any, prepare: Callable[[Any], Batch], counted: bool):
        super().__init__()
        self._batches = batches
        self._prepare = prepare
        self._length = _length(batches) if counted else None
        self._iterator: Iterator[Any] | None = None

    @property
    def num_batches(self) -> int | None:
        """Number of batches of an epoch; None where the caller gives the number of steps."""
        return self._length

    def __getitem__(self, index: int) -> Batch:
        if index == 0 or self._iterator is None:
            self._iterator = iter(self._batches)
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = iter(self._batches)
            batch = next(self._iterator)
        return self._prepare(batch)


def _length(batches: Any) -> int:
    """Return the number of batches; where the data set has none, they are counted."""
    try:
        return len(batches)
    except TypeError:
        return sum(1 for _ in batches)


def prepared(batches: Any, prepare: Callable[[Any], Batch], counted: bool = True) -> Any:
    """Return a data set of raw text as one of inputs; prepared batches stay unchanged.

    `counted` is False where the number of steps is given, so that an endless one can be fed.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return MappedDataset(batches, prepare)
    if isinstance(batches, Iterator):  # can be read once only
        return (prepare(batch) for batch in batches)
    return IterableDataset(batches, prepare, counted)


def as_tuple(batch: Any) -> Any:
    """Return a list or tuple of a data set's batch as `(x, ...)`; texts alone are `x`."""
    if isinstance(batch, list | tuple):
        bare = all(isinstance(item, str | bytes) for item in batch)
        if isinstance(batch, list) and not bare and all(map(is_text_group, batch)):
            raise InputError(
                "a batch that is a list of groups of strings may be pairs or columns; let the data "
                "set yield (pairs,) with pairs a list of (text, text)"
            )
        return (list(batch),) if bare else tuple(batch)
    return batch


def is_prepared(x: Any) -> bool:
    """Return whether `x` is arrays by the names of the inputs.

    Raises:
        InputTypeError: it is columns by name, of which one holds texts.
    """
    if not isinstance(x, Mapping):
        return False
    if raw := [name for name, column in x.items() if is_raw(column)]:
        name = text_column(raw)
        raise InputTypeError(
            f"x has the column {name!r} of texts; give the texts themselves: x[{name!r}]"
        )
    return True


def list_to_array(name: str, given: Any) -> Any:
    """Return a list of numbers, which Keras doesn't take, as an array; all else as it is.

    Args:
        name: of the argument, for errors.

    Raises:
        InputError: a list has rows of several lengths.
        InputTypeError: a list holds something else than numbers.
    """
    if not isinstance(given, list) or any(hasattr(value, "shape") for value in given):
        return given
    array = array_of(name, given, "an array")
    if array.dtype.kind not in "biuf":
        raise InputTypeError(
            f"{name} holds {shown(given[0])}; next to prepared inputs give numbers, or give the "
            "texts themselves"
        )
    return array


def split_off(
    share: Any, examples: Sequence[Any] | None, y: Any, weight: Any, noun: str = "texts"
) -> tuple[tuple[Any, Any, Any], tuple[Any, ...]]:
    """Split the last examples off `(x, y, sample_weight)`; return the others, and the last.

    Args:
        share: of the examples, to be the last ones.
        examples: all of them, in order; None for a data set, which can't be split.
        y: their targets, or None.
        weight: their weights, or None.
        noun: what the examples are.

    Raises:
        InputError: there are no examples, there are other numbers of targets or weights, or one of
            the two parts would be empty.
    """
    check_rate("validation_split", share)
    if examples is None:
        raise InputError(f"validation_split needs a list of {noun}; give validation_data")
    given = {"targets": y, "sample weights": weight}
    rows = {n: _rows(v) for n, v in given.items() if v is not None}
    for name, values in rows.items():
        if len(values) != len(examples):
            raise InputError(f"there are {len(examples)} {noun} and {len(values)} {name}")
    cut = int(len(examples) * (1 - share))
    if not 0 < cut < len(examples):
        raise InputError(
            f"validation_split={share} of {len(examples)} {noun} leaves none to train on; give a "
            "smaller share, or validation_data"
        )

    def part(where: slice) -> tuple[Any, Any, Any]:
        y, weight = (rows[name][where] if name in rows else None for name in given)
        return examples[where], y, weight

    return part(slice(cut)), part(slice(cut, None))


def _rows(values: Any) -> Any:
    """Return targets or weights by position, whatever labels a data frame gives its rows."""
    values = values_of(values)
    if hasattr(values, "numpy") or hasattr(values, "to_numpy"):
        values = np.asarray(values)
    return values


def default_batch_size(batch_size: int | None, default: int = 32) -> int:
    """Return the batch size, Keras's own default where it isn't given."""
    if batch_size is None:
        return default
    check_count("batch_size", batch_size)
    return batch_size


def array_of(name: str, values: Any, way_out: str = "a list with one for each text") -> np.ndarray:
    """Return the argument `name` as an array of rows.

    Raises:
        InputTypeError: it is a single value.
        InputError: it has rows of several lengths.
    """
    if column_names(values) is not None and not hasattr(values, "to_numpy"):
        refuse_table(name, values)
    try:
        array = np.asarray(values_of(values))
    except ValueError:
        raise InputError(
            f"{name} is {shown(values)}, rows of several lengths; give {way_out}, all of one length"
        ) from None
    if not array.ndim:
        raise InputTypeError(f"{name} is {shown(values)}; give {way_out}")
    return array


def weights_of(sample_weight: Any, count: int) -> np.ndarray | None:
    """Return the weights of `count` examples as an array, checked; None if none are given."""
    if sample_weight is None:
        return None
    weights = array_of("sample_weight", sample_weight)
    if len(weights) != count:
        raise InputError(f"there are {count} texts and {len(weights)} sample weights")
    wrong = np.argwhere(~np.isfinite(weights)) if weights.dtype.kind == "f" else np.array([])
    if len(wrong):
        value, text = weights[tuple(wrong[0])], int(wrong[0][0])
        raise InputError(f"sample_weight has {value} for text {text}; leave the text out")
    return weights


def check_readable(x: Any, noun: str) -> None:
    """Raise InputTypeError where `x` can be neither examples, called `noun`, nor a data set."""
    refuse_table("x", x)
    if x is None or isinstance(x, Number):
        raise InputTypeError(f"x is {x!r}; give {noun}, prepared arrays or a data set")


def check_token_ids(encodings: Sequence[TokenRow], vocabulary_size: int) -> None:
    """Raise InputError where a text has a token that the model doesn't have."""
    for i, encoding in enumerate(encodings):
        if max(encoding.ids, default=0) >= vocabulary_size:
            text = getattr(encoding, "index", i)  # a text may have several windows
            raise InputError(
                f"text {text} has token id {max(encoding.ids)}, and the model has "
                f"{vocabulary_size} tokens: the tokenizer belongs to another model"
            )


def named_arguments(method: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the positional arguments after `x` and `y` by their names."""
    return dict(zip(list(inspect.signature(method).parameters)[3:], args, strict=False))
