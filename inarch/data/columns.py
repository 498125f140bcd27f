"""Columns of data frames, Arrow tables and data sets as lists, by what they offer, not by class.

So no such library is imported, nor needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from inarch.errors import InputTypeError

# What the known tables have one of: a shape (frames, Arrow, data sets), or a lazy one's methods.
_OF_TABLES = ("shape", "collect_schema", "to_pandas", "toPandas", "with_format")


def column_names(x: Any) -> list[str] | None:
    """Return the names of a table's columns; None where `x` is no table.

    Tables are mappings of columns, frames of pandas and polars, Arrow tables and record batches,
    a `datasets.Dataset`, and whatever else gives a column by its name. A `PyDataset` or a loader
    with an attribute `columns` is none: it gives batches.
    """
    if isinstance(x, Mapping):
        return [str(name) for name in x]
    names = getattr(x, "column_names", None)  # Arrow, and datasets
    if names is None and not isinstance(x, type):
        names = getattr(x, "columns", None)  # pandas and polars
    if names is None or callable(names) or not isinstance(names, Iterable):
        return None
    names = list(names)
    return [str(name) for name in names] if _has_columns(x, names) else None


def _has_columns(x: Any, names: Sequence[Any]) -> bool:
    if isinstance(x, keras.utils.PyDataset):
        return False
    if any(hasattr(x, attribute) for attribute in _OF_TABLES):
        return True
    try:
        return bool(names) and x[names[0]] is not None
    except (TypeError, LookupError, ValueError, AttributeError):
        return False


def refuse_table(name: str, x: Any) -> None:
    """Raise InputTypeError where `x` is a table, whose column it should have been."""
    names = column_names(x)
    if names is None:
        return
    column = text_column(names) if names else "text"
    listed = ", ".join(map(repr, names[:8])) or "none"
    raise InputTypeError(
        f"{name} is a {type(x).__name__} with the columns {listed}; give the column that is meant, "
        f"such as {name}[{column!r}], and pairs as list(zip(...)) of two columns"
    )


def text_column(names: Sequence[str]) -> str:
    """Return the column that probably holds the texts, for advice."""
    usual = ("text", "texts", "sentence", "sentences", "review", "content")
    return next((name for name in names if str(name).lower() in usual), names[0])


def is_column(x: Any) -> bool:
    """Return whether `x` is one column: a Series, Index, Arrow array, or a column of `datasets`.

    NumPy's arrays and tensors aren't, since they may as well be prepared inputs.
    """
    if isinstance(x, str | bytes | list | tuple | Mapping) or column_names(x) is not None:
        return False
    if hasattr(x, "to_pylist"):
        return True
    # pandas and polars; arrays and tensors of numbers have `tolist` too, but no `to_list`.
    if hasattr(x, "to_list") or _is_pandas_array(x):
        return True
    return isinstance(x, Sequence) and type(x).__module__.split(".")[0] == "datasets"


def values_of(x: Any) -> Any:
    """Return a column as a list of Python's values; anything else as it is."""
    if not is_column(x):
        return x
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(x, method):
            return getattr(x, method)()
    values = x[:]  # at once, which is quicker than value by value
    return values if isinstance(values, list) else list(values)


def is_missing(value: Any) -> bool:
    """Return whether a value of a column is missing: None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _is_pandas_array(x: Any) -> bool:
    return type(x).__module__.startswith("pandas.") and hasattr(x, "tolist")
