"""Raw text in whatever form a caller has it: texts, pairs, and columns of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from numbers import Number
from typing import Any

import numpy as np

from inarch.data.columns import is_column, is_missing, refuse_table, values_of
from inarch.errors import InputError, InputTypeError
from inarch.validation import shown

# A text, or a pair of texts that a model reads together; a loss may read groups of more.
Text = str | tuple[str, str]


def put_before(prompt: str, texts: Sequence[Text]) -> list[Text]:
    """Return texts with a prompt before each, of a pair before the first."""
    return [prompt + t if isinstance(t, str) else (prompt + t[0], t[1]) for t in texts]


def is_raw(x: Any) -> bool:
    """Return whether `x` is text, or a batch of text, rather than prepared arrays or a data set.

    So is a list that begins with a bare number or None: `texts_of` explains what is wrong with it.
    """
    if isinstance(x, str | bytes):
        return True
    if isinstance(x, list | tuple):
        return not x or x[0] is None or isinstance(x[0], Number) or _first_is_text(x[0])
    if is_column(x):
        return True
    kind = getattr(x, "dtype", None)
    return (kind is not None and str(kind) in ("object", "string", "str")) or (
        isinstance(x, np.ndarray) and x.dtype.kind in "USO"
    )


def is_one_text(x: Any) -> bool:
    """Return whether `x` is one text, or one pair (a tuple of two strings), rather than a list."""
    pair = isinstance(x, tuple) and len(x) == 2 and all(isinstance(part, str) for part in x)
    return isinstance(x, str) or pair


def is_text_group(x: Any) -> bool:
    """Return whether `x` is several strings in one list or tuple."""
    return isinstance(x, list | tuple) and all(map(_is_text, x))


def _first_is_text(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return bool(x) and _is_text(x[0])
    return _is_text(x)


def _is_text(x: Any) -> bool:
    """Return whether `x` is a text; an element of an Arrow column may be one."""
    return isinstance(x, str | bytes) or hasattr(x, "as_py")


def texts_of(x: Any, name: str = "x") -> list[Text]:
    """Return a batch of text as a list of strings, or of tuples of two or more strings.

    Takes lists, NumPy arrays, string tensors, and columns of pandas, polars, Arrow and datasets;
    `name` is the argument's, for errors.

    Raises:
        InputTypeError: a single string, a table, or an element that isn't text.
        InputError: bytes that aren't UTF-8.
    """
    if type(x) is list and _are_strings(x):
        return x[:]  # what the rest finds as well, in a tenth of the time
    refuse_table(name, x)
    x = values_of(x)
    if isinstance(x, str | bytes):
        raise InputTypeError(f"got one string, {x[:40]!r}; give a list of strings: [text]")
    if hasattr(x, "numpy"):
        x = x.numpy()
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, Mapping) or not isinstance(x, Iterable):
        raise InputTypeError(f"got {shown(x)}; give a list of strings")
    return [_text(item, i) for i, item in enumerate(x)]


def _are_strings(x: list[Any]) -> bool:
    """Return whether a list has nothing but strings, or nothing but pairs of them."""
    kinds = {*map(type, x)}
    if kinds == {tuple}:
        return {*map(len, x)} == {2} and {*map(type, chain.from_iterable(x))} == {str}
    return kinds == {str}


def single_texts(x: Any, name: str, refusal: str) -> list[str]:
    """Return a batch of single texts as a list of strings; see `texts_of`.

    Args:
        refusal: of a pair, with `{index}` and `{text}` for its place and what it is.

    Raises:
        InputTypeError: as `texts_of`; or a text is a pair.
    """
    found = texts_of(x, name)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise InputTypeError(refusal.format(index=index, text=shown(text)))
    return found  # type: ignore[return-value]


def _text(item: Any, index: int) -> Text:
    if isinstance(item, str):
        return item
    if isinstance(item, bytes):
        return _decoded(item, index)
    if isinstance(item, list | tuple) and len(item) > 1:
        parts = [_text(part, index) for part in item]
        if all(isinstance(part, str) for part in parts):
            return tuple(parts)  # type: ignore[return-value, arg-type]
    if hasattr(item, "as_py"):  # of an Arrow column, one by one
        return _text(item.as_py(), index)
    if is_missing(item):
        raise InputTypeError(
            f"text {index} is a {type(item).__name__} ({item}), a missing value; leave the row "
            "out, or give '' for it"
        )
    raise InputTypeError(
        f"text {index} is a {type(item).__name__} ({str(item)[:40]!r}); each must be a string or "
        "a pair of strings"
    )


def _decoded(item: bytes, index: int) -> str:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(
            f"text {index} is bytes that aren't UTF-8 ({item[:40]!r}); decode them to a string as "
            "they were encoded, such as item.decode('latin-1')"
        ) from e


def as_texts(name: str, texts: Any) -> tuple[list[str], bool]:
    """Return texts as a list of strings, and whether there is one that wasn't in a list."""
    if isinstance(texts, str):
        return [texts], True
    refusal = f"{name} has a pair at {{index}}, {{text}}; give one text for it"
    return single_texts(texts, name, refusal), False
