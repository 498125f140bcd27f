"""Thresholds of scores, from which on a text has a class where it may have several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from inarch.errors import InputError
from inarch.training.class_targets import known_classes
from inarch.validation import shown


def class_thresholds(thresholds: Any, labels: Sequence[str]) -> list[float]:
    """Return the threshold of each class, from one number, one for each, or a mapping by name.

    Raises:
        InputError: one isn't a number from 0 to 1; or they aren't those of the classes.
    """
    known = known_classes(labels)
    if isinstance(thresholds, Mapping):
        wrong = [name for name in {**thresholds, **dict.fromkeys(labels)} if name not in labels]
        missing = [label for label in labels if label not in thresholds]
        if wrong or missing:
            what = f"has {wrong[0]!r}" if wrong else f"doesn't have {missing[0]!r}"
            raise InputError(f"thresholds {what}; give a number for each of {known}")
        thresholds = [thresholds[label] for label in labels]
    elif _is_number(thresholds):
        thresholds = [thresholds] * len(labels)
    elif not isinstance(thresholds, list | tuple | np.ndarray) or len(thresholds) != len(labels):
        raise InputError(
            f"thresholds is {shown(thresholds)}; give a number, or one for each of {known}"
        )
    for label, number in zip(labels, thresholds, strict=True):
        if not _is_number(number) or not 0 <= number <= 1:
            raise InputError(
                f"thresholds has {shown(number)} for {label!r}; give a number from 0 to 1"
            )
    return [float(number) for number in thresholds]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.number) and not isinstance(value, bool)
