"""Raw examples (texts, sounds) of a task as batches for Keras's training loop."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from inarch.data.columns import refuse_table
from inarch.errors import InputError, InputTypeError
from inarch.preprocessors.raw_texts import is_raw, texts_of
from inarch.runtime.forward import compiles_per_shape
from inarch.tasks import inference
from inarch.tasks.line_batches import open_lines
from inarch.training.class_weights import weigh_batch
from inarch.training.datasets import (
    as_tuple,
    check_readable,
    default_batch_size,
    is_prepared,
    list_to_array,
    prepared,
    split_off,
)
from inarch.training.open_axes import with_open_axes
from inarch.training.training_batches import Batch, Order, TextBatches, pack_batches

if TYPE_CHECKING:
    from inarch.tasks.task import Task


def fit_arguments(task: Task, x: Any, y: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `keras.Model.fit`, with raw examples as batches of inputs.

    Args:
        given: the arguments other than `x` and `y`, by name.
    """
    kwargs = dict(given)
    weigh = task.weigh_classes(kwargs.pop("class_weight", None))
    if task.preprocessor is None:
        return {**prepared_arguments(x, y, kwargs), "class_weight": weigh}
    if is_prepared(x):
        data = prepared_validation(task, kwargs.pop("validation_data", None), kwargs)
        data = with_open_axes(data, task)
        given = prepared_arguments(x, y, kwargs)
        return {**given, "class_weight": weigh, "validation_data": data}
    refuse_table("x", x)
    weighed = partial(weigh_batch, weigh)
    weight = kwargs.pop("sample_weight", None)
    batch_size, shuffle = kwargs.pop("batch_size", None), kwargs.pop("shuffle", None)
    x = open_lines(task, x, batch_size, shuffle is not False)
    kwargs["validation_data"], x, y, weight = split_validation(task, x, y, weight, kwargs)
    kwargs["shuffle"] = False  # Keras shuffles arrays alone; the data set here shuffles itself.
    if kwargs.get("steps_per_epoch") and task.examples(x) is None:
        x = prepared(x, lambda batch: weighed(prepare(task, batch)), counted=False)
        return {"x": x, **kwargs}
    order: Order = "given" if shuffle is False else "shuffled"
    x, y = make_dataset(task, x, y, weight, batch_size, order, to_train=True)
    if weigh is not None:
        x = prepared(x, weighed)
    kwargs["validation_data"] = with_open_axes(kwargs["validation_data"], task)
    return {"x": with_open_axes(x, task), "y": y, **kwargs}


def evaluate_arguments(task: Task, x: Any, y: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `keras.Model.evaluate`; see `fit_arguments`."""
    kwargs = dict(given)
    cached = kwargs.get("_use_cached_eval_dataset")  # a validation within `fit`, prepared there
    if task.preprocessor is not None and not is_prepared(x) and not cached:
        weight, batch_size = kwargs.pop("sample_weight", None), kwargs.pop("batch_size", None)
        x, y = make_dataset(task, x, y, weight, batch_size, _order_of(kwargs.get("steps")))
        x = with_open_axes(x, task)
    return prepared_arguments(x, y, kwargs)


def prepared_arguments(x: Any, y: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of Keras's methods for prepared inputs, with arrays for listed targets."""
    found = {"x": x, "y": list_to_array("y", y), **given}
    if "sample_weight" in found:
        found["sample_weight"] = list_to_array("sample_weight", found["sample_weight"])
    if "validation_data" in found:
        found["validation_data"] = convert_validation(found["validation_data"])
    return found


def convert_validation(data: Any) -> Any:
    """Return `validation_data` of prepared inputs with arrays for listed targets."""
    if not isinstance(data, tuple | list):
        return data
    return (*data[:1], *map(list_to_array, ("y", "sample_weight"), data[1:]))


def make_dataset(
    task: Task,
    x: Any,
    y: Any,
    weight: Any,
    batch_size: int | None,
    order: Order,
    to_train: bool = False,
) -> Any:
    """Return `(data set, y)` for raw examples, or for a data set whose batches hold some.

    Args:
        order: of the examples, where they aren't a data set.
        to_train: whether texts with targets of tokens may be packed, which keeps the loss of a
            batch, but not the number of its rows, by which Keras weighs it in that of an epoch.

    Raises:
        InputError: there are no examples.
        InputTypeError: `x` is neither; or it is a data set, and `y` is given.
    """
    preprocessor = task.preprocessor
    rows = default_batch_size(batch_size, preprocessor.batch_size)
    x = open_lines(task, x, batch_size, order == "shuffled")
    check_readable(x, preprocessor.example_noun)
    examples = task.examples(x)
    if examples is None:
        if y is not None:
            raise InputTypeError(
                f"x is a {type(x).__name__} that isn't {preprocessor.example_noun}, so it is read "
                "as a data set, whose batches hold the targets: give a list of "
                f"{preprocessor.example_noun}, or no y"
            )
        return prepared(x, partial(prepare, task)), y
    if not examples:
        raise InputError(f"x holds no {preprocessor.example_noun}")
    examples, y, weight = task.training_rows(examples, y, weight)
    make = task.collate(examples, y, weight)
    if to_train and packs_to_train(task):
        make = pack_batches(make, task.backbone.max_length, exact=not compiles_per_shape())
    return TextBatches(len(examples), make, rows, order), None


def packs_to_train(task: Task) -> bool:
    """Return whether the loss of a batch is the same where its texts are packed into rows.

    Under a distribution rows aren't packed: their number must suit the devices.
    """
    if keras.distribution.distribution() is not None:
        return False
    reduction = getattr(task.loss, "reduction", None)
    counts_tokens = reduction in ("mean_with_sample_weight", "sum")
    return task.has_token_targets and counts_tokens and inference.can_pack(task)


def prepare(task: Task, batch: Any) -> Batch:
    """Return a batch of a data set as inputs; a prepared one unchanged."""
    batch = as_tuple(batch)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if is_prepared(x):
        return batch
    return one_batch(task, x, y, weight, drop_none=True)


def one_batch(task: Task, x: Any, y: Any, weight: Any, drop_none: bool = False) -> Batch:
    """Return `(x, y, sample_weight)` of one batch of raw examples, or of prepared arrays."""
    if task.preprocessor is None or is_prepared(x):
        return tuple(prepared_arguments(x, y, {"sample_weight": weight}).values())
    check_readable(x, task.preprocessor.example_noun)
    examples = task.examples(x, of_batch=True)
    if examples is None:
        return x, y, weight
    y = y.numpy() if hasattr(y, "numpy") else y
    examples, y, weight = task.training_rows(examples, y, weight)
    make = task.collate(examples, y, weight)
    batch = make(np.arange(len(examples)), np.random.default_rng(np.random.randint(2**31)))
    return batch if drop_none else (*batch, None, None)[:3]


def split_validation(
    task: Task, x: Any, y: Any, weight: Any, kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Take the validation arguments of `fit` out of `kwargs`.

    Returns:
        `(validation_data, x, y, sample_weight)`: the data as inputs, given or split off the end.
    """
    data, share = kwargs.pop("validation_data", None), kwargs.pop("validation_split", 0.0)
    if share:
        preprocessor = task.preprocessor
        (x, y, weight), data = split_off(
            share, task.examples(x), y, weight, preprocessor.example_noun
        )
    return prepared_validation(task, data, kwargs), x, y, weight


def prepared_validation(task: Task, data: Any, given: Mapping[str, Any]) -> Any:
    """Return the `validation_data` of `fit` as inputs, whatever the data to train on are.

    Args:
        given: the other arguments of `fit`, by name.
    """
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(parts)
    if data is None:
        return data
    if is_prepared(x):
        return convert_validation(data)
    rows = given.get("validation_batch_size")
    order = _order_of(given.get("validation_steps"))
    return make_dataset(task, x, y, weight, rows, order)[0]


def _order_of(steps: int | None) -> Order:
    """Return the order to evaluate in, of which only the first `steps` batches may be evaluated."""
    return "any" if steps is None else "given"


def inputs_to_predict(x: Any, steps: int | None) -> list[Any]:
    """Return texts, of a list or of the batches of a data set; or its batches of prepared inputs.

    Args:
        steps: batches to read of a data set.
    """
    if is_raw(x):
        return texts_of(x)
    check_readable(x, "texts")
    batches = [
        keras.utils.unpack_x_y_sample_weight(as_tuple(batch))[0]
        for batch in itertools.islice(x, steps)
    ]
    if any(isinstance(batch, Mapping) for batch in batches):
        return batches
    return [text for batch in batches for text in texts_of(batch)]
