"""Snapshots of weights, which show without reading them that they have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from inarch.layers.prepacked import count_fused_updates


class WeightSnapshot:
    """Weights of a moment, to be compared with those of a later one.

    It takes no memory as long as the weights stay the same, and then the time of some instructions
    for each variable.

    Args:
        variables: Keras variables that have values.
    """

    def __init__(self, variables: Iterable[Any]):
        self._seen = [(variable, _mark(variable)) for variable in variables]

    def is_current(self, variables: Iterable[Any]) -> bool:
        """Return whether these are the same variables, with the values that they had.

        On torch a change through `tensor.data` isn't noticed, as it isn't by torch's own gradients.
        """
        now = list(variables)
        return len(now) == len(self._seen) and all(
            variable is seen and _is_same(mark, _mark(variable))
            for variable, (seen, mark) in zip(now, self._seen, strict=True)
        )


def _mark(variable: Any) -> Any:
    """Return what is another thing after the variable has been given a value."""
    value = variable.value
    backend = keras.backend.backend()
    if backend == "torch":
        count_fused_updates()
        return value, value._version
    if backend == "tensorflow":
        # While this view of the memory is held, TensorFlow writes new values to another place.
        return np.asarray(value.read_value())
    return value  # which never changes


def _is_same(before: Any, now: Any) -> bool:
    if isinstance(before, tuple):
        return before[0] is now[0] and before[1] == now[1]
    if isinstance(before, np.ndarray):
        place = "__array_interface__"
        is_same_place = getattr(before, place)["data"] == getattr(now, place)["data"]
        return is_same_place or np.array_equal(before, now)  # on a GPU each view is a copy
    return before is now
