"""Data sets for TensorFlow whose batches may differ in length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from inarch.keras_private import read_batches


def with_open_axes(dataset: Any, model: keras.Model) -> Any:
    """Return a `PyDataset` as one whose batches may have any length on TensorFlow.

    Keras takes the axes in which batches differ from the first two, and fails at a later one of
    another length. Here they are the axes that the model's inputs leave open, and those of targets
    and weights that are as long. The data set's workers make the batches, as in Keras. Other
    backends, and other data sets, need nothing.
    """
    if keras.backend.backend() != "tensorflow" or not isinstance(dataset, keras.utils.PyDataset):
        return dataset
    count = dataset.num_batches
    if not count:
        return dataset
    first = dataset[0]
    x = first[0] if isinstance(first, tuple) else None
    inputs = model.input
    if not isinstance(x, Mapping) or not isinstance(inputs, Mapping) or not x.keys() <= {*inputs}:
        return dataset
    first = _given(first)
    if not all(hasattr(part, "shape") for part in (*x.values(), *first[1:])):
        return dataset  # of nested targets
    return _tf_dataset(dataset, count, first, inputs)


def _given(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a batch without the targets and weights at its end that are None."""
    while batch[-1] is None:
        batch = batch[:-1]
    return batch


def _tf_dataset(
    dataset: keras.utils.PyDataset, count: int, first: tuple[Any, ...], inputs: Mapping[str, Any]
) -> Any:
    import tensorflow as tf

    x, *rest = first
    open_axes = {name: [size is None for size in inputs[name].shape] for name in x}
    lengths = {
        size for name in x for size, is_open in zip(x[name].shape, open_axes[name], strict=True)
        if is_open
    }  # fmt: skip

    def spec(array: Any, is_open: list[bool]) -> Any:
        pairs = zip(array.shape, is_open, strict=True)
        return tf.TensorSpec([None if loose else size for size, loose in pairs], array.dtype)

    def batches() -> Iterator[Any]:
        dataset.on_epoch_begin()
        for batch in read_batches(dataset, count):
            yield _given(batch)
        dataset.on_epoch_end()

    signature = (
        {name: spec(x[name], open_axes[name]) for name in x},
        *(spec(a, [not axis or s in lengths for axis, s in enumerate(a.shape)]) for a in rest),
    )
    made = tf.data.Dataset.from_generator(batches, output_signature=signature)
    counted = made.apply(tf.data.experimental.assert_cardinality(count))
    return counted.prefetch(tf.data.AUTOTUNE)
