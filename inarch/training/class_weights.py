"""`class_weight` of `fit`: weights of examples by their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.training.class_targets import find_class, known_classes
from inarch.validation import shown


def resolve_class_weight(class_weight: Any, labels: Sequence[str]) -> dict[int, float]:
    """Return weights by class number, from weights by the number or the name of a class.

    Raises:
        InputTypeError: `class_weight` isn't a mapping.
        InputError: a key is no class, or two are the same; or a weight is no number from 0 up.
    """
    if not isinstance(class_weight, Mapping):
        raise InputTypeError(
            f"class_weight is {shown(class_weight)}; give a weight for each class, by its name or "
            "its number: {label: weight}"
        )
    numbers = {label: i for i, label in enumerate(labels)}
    found: dict[int, float] = {}
    for key, weight in class_weight.items():
        number = find_class(key, numbers)
        if number is None:
            raise InputError(
                f"class_weight has the key {shown(key)}, which is no class; the classes are "
                f"{known_classes(labels)}, or 0 to {len(labels) - 1}"
            )
        if number in found:
            raise InputError(
                f"class_weight has the class {labels[number]!r} twice, by its name and its number"
            )
        if not isinstance(weight, int | float | np.number) or not 0 <= weight < np.inf:
            raise InputError(
                f"class_weight has {shown(weight)} for {shown(key)}; give a number from 0 up"
            )
        found[number] = float(weight)
    return found


def weigh_batch(
    class_weight: Mapping[int, float] | None, batch: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return a batch `(x, y)` with the weights of its classes.

    A class without a weight weighs 1, as Keras has it.

    Args:
        class_weight: weights by class number; the batch stays as it is without them.
        batch: inputs, and class numbers `[rows]` or `[rows, 1]`, of any dtype since Keras rounds
            them, or rows of probabilities `[rows, classes]`.

    Raises:
        InputError: the batch has weights already.
    """
    if class_weight is None:
        return batch
    x, y, *own = batch
    if own and own[0] is not None:
        raise InputError(
            "class_weight and sample_weight are given at once; give sample_weight alone, "
            "multiplied by the weight of each text's class"
        )
    numbers = keras.ops.convert_to_numpy(y)
    if numbers.ndim > 1:
        numbers = numbers[..., 0] if numbers.shape[-1] == 1 else numbers.argmax(-1)
    weights = [class_weight.get(int(n), 1.0) for n in np.round(numbers).flat]
    return x, y, np.array(weights, np.float32).reshape(numbers.shape)
