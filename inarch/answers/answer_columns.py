"""Answers as columns of arrays and of Arrow tables, of one type in every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def answer_array(answers: Sequence[Any], sample: Any) -> np.ndarray:
    """Return answers as an array: of numbers where they are scores or vectors, else of objects.

    Args:
        answers: None stands for one that there isn't; of floats it becomes NaN.
        sample: an answer of this kind; None where no one is known.
    """
    if isinstance(sample, np.ndarray | np.generic) and sample.ndim <= 1:
        missing = np.full_like(sample, np.nan) if sample.dtype.kind == "f" else None
        rows = [missing if answer is None else answer for answer in answers]
        if all(row is not None for row in rows):
            return np.array(rows, sample.dtype).reshape(len(rows), *sample.shape)
    found = np.empty(len(answers), object)
    found[:] = answers
    return found


def arrow_answers(answers: Sequence[Any], sample: Any) -> Any:
    """Return answers as an Arrow array, of the type of `sample` where their own isn't known.

    Args:
        answers: None stands for one that there isn't, and becomes null.
        sample: an answer of this kind; None where no one is known.
    """
    import pyarrow

    values = [_nested(answer) for answer in answers]
    found = pyarrow.array(values)
    if _is_known(found.type) or sample is None:
        return found
    return pyarrow.array(values, pyarrow.array([_nested(sample)]).type)


def _nested(answer: Any) -> Any:
    """Return vectors of tokens as a list of vectors, which Arrow takes; others as they are."""
    is_matrix = isinstance(answer, np.ndarray) and answer.ndim > 1
    return [_nested(row) for row in answer] if is_matrix else answer


def _is_known(type: Any) -> bool:
    """Return whether an Arrow type has no part of which all values are null."""
    import pyarrow

    if pyarrow.types.is_list(type):
        return _is_known(type.value_type)
    if pyarrow.types.is_struct(type):
        return all(_is_known(field.type) for field in type)
    return not pyarrow.types.is_null(type)
