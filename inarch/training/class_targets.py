"""Targets of a classifier: class numbers, names of classes, or rows of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inarch.data.columns import is_missing, values_of
from inarch.errors import InputError
from inarch.validation import shown


def class_numbers(y: np.ndarray, labels: Sequence[str], noun: str = "text") -> np.ndarray:
    """Return class numbers, int32 `[texts]`, from numbers or from names of classes.

    Args:
        noun: what errors call an example.

    Raises:
        InputError: one is no class; it is named with its text.
    """
    count = len(labels)
    if y.dtype.kind in "USO":
        numbers = {label: i for i, label in enumerate(labels)}
        return np.array(
            [_number(label, f"{noun} {i}", numbers) for i, label in enumerate(y.tolist())]
        )
    broken = np.flatnonzero(y != np.floor(y))
    if len(broken):
        raise InputError(
            f"label {y[broken[0]]} of {noun} {broken[0]} is neither a whole number nor the name "
            f"of a class; there are {count} classes, 0 to {count - 1}"
        )
    wrong = np.flatnonzero((y < 0) | (y >= count))
    if len(wrong):
        raise InputError(
            f"label {y[wrong[0]]} of {noun} {wrong[0]} is out of range: there are "
            f"{count} classes, 0 to {count - 1}"
        )
    return y.astype(np.int32)


def _number(label: Any, example: str, numbers: Mapping[str, int]) -> int:
    number = find_class(label, numbers)
    if number is None:
        raise InputError(f"label {label!r} of {example} is none of {known_classes(numbers)}")
    return number


def find_class(label: Any, numbers: Mapping[str, int]) -> int | None:
    """Return the number of a class that is given by its name or its number; None for no class.

    Args:
        numbers: the number of each class, by its name.
    """
    if isinstance(label, str):
        return numbers.get(label)
    return int(label) if is_whole(label) and 0 <= label < len(numbers) else None


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, of NumPy or not, which true and false aren't."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def known_classes(labels: Iterable[str]) -> str:
    """Return the names of classes as an error lists them."""
    return ", ".join(map(repr, list(labels)[:20]))


def number_rows(y: np.ndarray, width: int) -> np.ndarray:
    """Return targets that are numbers as float32 `[texts, width]`.

    Raises:
        InputError: one isn't a number, or a finite one; or a text has another number of them.
    """
    try:
        rows = y.astype(np.float64).reshape(len(y), -1)
    except (TypeError, ValueError):
        values = enumerate(y.ravel().tolist())
        place, wrong = next((pair for pair in values if not _is_numeric(pair[1])), (0, y))
        text = place * len(y) // max(y.size, 1)
        raise InputError(f"y has {shown(wrong)} for text {text}; give numbers") from None
    if rows.shape[-1] != width and len(rows):
        each = "one number" if width == 1 else f"{width} numbers"
        raise InputError(f"y has {rows.shape[-1]} numbers for each text; give {each}")
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
        text, place = wrong[0].tolist()
        raise InputError(f"y has {rows[text, place]} for text {text}; leave the text out")
    return rows.astype(np.float32)


def _is_numeric(value: Any) -> bool:
    try:
        np.asarray(value).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def label_rows(y: Any, labels: Sequence[str]) -> np.ndarray:
    """Return float32 `[texts, classes]`, 1 where a text has a class, for several labels at once.

    Takes such rows as they are, or for each text a list of the names of its classes.

    Raises:
        InputError: a target is neither; or it is one class number, or one name, which could be
            meant otherwise.
    """
    y = values_of(y)
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    rows = y if isinstance(y, np.ndarray) and y.dtype.kind in "biuf" else _listed(y, labels)
    if rows.ndim == 1 and len(labels) == 1:
        rows = rows[:, None]
    if rows.ndim != 2:
        raise InputError(
            f"y has {shown(rows.flat[0].item() if rows.size else None)} for text 0, a number; in "
            f"{_advice(labels)}"
        )
    if rows.shape[-1] != len(labels):
        raise InputError(
            f"y has rows of {rows.shape[-1]} numbers, and there are {len(labels)} classes; in "
            f"{_advice(labels)}"
        )
    outside = np.argwhere(~((rows >= 0) & (rows <= 1)))
    if len(outside):
        text, place = outside[0].tolist()
        raise InputError(
            f"y has {shown(rows[text, place].item())} for text {text}, which is not from 0 to 1; "
            f"in {_advice(labels)}"
        )
    return rows.astype(np.float32)


def check_loss_reads_rows(loss: Any, y: np.ndarray) -> None:
    """Raise InputError where the loss in force takes one number for each text."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", "")
    if str(name).startswith("sparse_categorical"):
        raise InputError(
            f"y has the shape {y.shape}, a row for each text; give the number or the name of "
            "each text's class (y.argmax(-1) where the rows are one-hot), or compile with "
            "loss=keras.losses.CategoricalCrossentropy(from_logits=True), or build with "
            "problem_type='multi_label_classification' where a text has several classes"
        )


def _advice(labels: Sequence[str]) -> str:
    few = list(labels[:2])
    return (
        "multi-label classification a text has any number of classes, so give a list of names for "
        f"each text, such as {few}, or a row with 0 or 1 for each of the {len(labels)} classes; "
        "where each has one, set problem_type='single_label_classification'"
    )


def _listed(y: Any, labels: Sequence[str]) -> np.ndarray:
    numbers = {label: i for i, label in enumerate(labels)}
    targets = list(y)
    if not any(_has_names(target) for target in targets):
        try:
            return np.asarray(targets, np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"y is {shown(y)}, which is no row of {len(labels)} numbers for each text; in "
                f"{_advice(labels)}"
            ) from None
    rows = np.zeros((len(targets), len(labels)), np.float32)
    for text, target in enumerate(targets):
        if isinstance(target, str) or is_missing(target) or not hasattr(target, "__iter__"):
            raise InputError(f"y has {shown(target)} for text {text}; in {_advice(labels)}")
        for name in target:
            if not isinstance(name, str) or name not in numbers:
                raise InputError(
                    f"label {name!r} of text {text} is none of {known_classes(labels)}"
                )
            rows[text, numbers[name]] = 1
    return rows


def _has_names(target: Any) -> bool:
    if isinstance(target, str):
        return True
    return not isinstance(target, np.ndarray | float | int) and (
        hasattr(target, "__iter__") and (not len(target) or any(isinstance(n, str) for n in target))
    )
