"""Packing of token ids into rows of a fixed length, as plain functions of arrays and lists.

Names, arguments and results are those of KerasHub's preprocessing layers of the same names. Here
they need no Keras: they run in workers of grain and of torch's loaders, and within
`tf.numpy_function`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.validation import check_count, check_flag, one_of, shown

Value = int | str
Row = list[Any]


class PreprocessingFunction:
    """Base class of functions with settings, which are dataclasses."""

    def get_config(self) -> dict[str, Any]:
        """Return the settings, of which `from_config` makes an equal function."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the function whose `get_config` is given."""
        return cls(**config)


def rows_of(inputs: Any, name: str = "inputs") -> tuple[list[Row], bool]:
    """Return the rows of a batch, and whether it is one; a single row is a batch of one.

    Args:
        inputs: ids or tokens, as a list, an array or a tensor of one row; or several rows, of any
            lengths.
        name: of the argument, for errors.

    Raises:
        InputTypeError: an entry is neither a whole number nor a string, or rows and single values
            are mixed.
    """
    values = _as_list(inputs)
    if not isinstance(values, list):
        raise InputTypeError(f"{name} is {shown(inputs)}; give a row of token ids, or several rows")
    rows = [_as_list(value) for value in values]
    nested = [isinstance(row, list) for row in rows]
    if any(nested) and not all(nested):
        raise InputTypeError(f"{name} mixes rows and single values: {shown(values)}; give one kind")
    batched = bool(rows) and all(nested)
    return [_checked_row(row, name) for row in (rows if batched else [rows])], batched


def _as_list(value: Any) -> Any:
    """Return a list, tuple, array or tensor as a list; anything else as it is."""
    for method in ("to_list", "tolist"):  # ragged tensors; arrays and tensors
        if hasattr(value, method):
            return getattr(value, method)()
    if hasattr(value, "numpy"):
        return value.numpy().tolist()
    return list(value) if isinstance(value, list | tuple) else value


def _checked_row(row: Row, name: str) -> Row:
    return row if {*map(type, row)} <= {int} else [_checked(value, name) for value in row]


def _checked(value: Any, name: str) -> Value:
    if isinstance(value, bytes):  # a string of TensorFlow's
        return value.decode("utf-8")
    if isinstance(value, str) or (isinstance(value, Integral) and not isinstance(value, bool)):
        return value  # type: ignore[return-value]
    raise InputTypeError(f"{name} holds {shown(value)}; give token ids, or tokens as strings")


def _values(name: str, value: Any) -> Row:
    """Return one or several special values as a list; none for None."""
    if value is None:
        return []
    given = list(value) if isinstance(value, list | tuple) else [value]
    for each in given:
        if isinstance(each, bool) or not isinstance(each, Integral | str):
            raise InputTypeError(
                f"{name} is {shown(value)}; give an id, a token, or a list of them"
            )
    return given


def _array(rows: Sequence[Row], batched: bool) -> np.ndarray:
    """Return rows of one length as an int32 array, or one of strings."""
    array = np.array(rows if batched else rows[0])
    return array if array.dtype.kind == "U" else array.astype(np.int32)


def _filler(pad_value: Value | None, *rows: Row) -> Value:
    """Return the value of padding: by default 0, and an empty string among strings."""
    if pad_value is not None:
        return pad_value
    return "" if any(isinstance(value, str) for row in rows for value in row[:1]) else 0


def _check_room(length: int, needed: int) -> None:
    if needed > length:
        raise InputError(
            f"sequence_length is {length}, with no room for the {needed} start and end values; "
            f"give at least {needed}"
        )


@dataclasses.dataclass(frozen=True)
class StartEndPacker(PreprocessingFunction):
    """Function that adds start and end values to rows, and truncates and pads them to one length.

    Args:
        sequence_length: length of the result.
        start_value, end_value: one id or token, or a list of them, to put before and after a row;
            None for none. A row that is too long is cut at its end, which these are kept at.
        pad_value: id or token after the end; by default 0, and an empty string for tokens.
        return_padding_mask: whether calls return `(rows, mask)`.

    Raises:
        InputError: `sequence_length` is no length.
        InputTypeError: a value is neither an id nor a token.
    """

    sequence_length: int
    start_value: Value | Sequence[Value] | None = None
    end_value: Value | Sequence[Value] | None = None
    pad_value: Value | None = None
    return_padding_mask: bool = False

    def __post_init__(self) -> None:
        check_count("sequence_length", self.sequence_length)
        check_flag("return_padding_mask", self.return_padding_mask)
        for name in ("start_value", "end_value", "pad_value"):
            _values(name, getattr(self, name))

    def __call__(
        self,
        inputs: Any,
        sequence_length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> Any:
        """Return an array `[sequence_length]` for one row, `[rows, sequence_length]` for several.

        Args:
            inputs: ids or tokens of one row, or of several, as lists, arrays or tensors.
            sequence_length: length of the result in place of the one that is set.
            add_start_value, add_end_value: whether the values are put here.

        Returns:
            int32 ids, or tokens; with `return_padding_mask` also whether each is not padding, bool
            and of the same shape.

        Raises:
            InputError: there is no room for the start and end values.
        """
        rows, batched = rows_of(inputs)
        length = self.sequence_length if sequence_length is None else sequence_length
        check_count("sequence_length", length)
        start = _values("start_value", self.start_value) if add_start_value else []
        end = _values("end_value", self.end_value) if add_end_value else []
        _check_room(length, room := len(start) + len(end))
        packed = [[*start, *row[: length - room], *end] for row in rows]
        filler = _filler(self.pad_value, *packed)
        filled = [row + [filler] * (length - len(row)) for row in packed]
        result = _array(filled, batched)
        if not self.return_padding_mask:
            return result
        mask = np.arange(length) < np.array([len(row) for row in packed])[:, None]
        return result, mask if batched else mask[0]


@dataclasses.dataclass(frozen=True)
class MultiSegmentPacker(PreprocessingFunction):
    """Function that packs segments into one row, with special values around and between them.

    The result is `start first sep second end padding` (Devlin et al., 2018, arXiv:1810.04805).

    Args:
        sequence_length: length of the result.
        start_value: one id or token, or a list of them, before the first segment.
        end_value: the same after the last segment.
        sep_value: the same after every other segment; `end_value` where it is None.
        pad_value: id or token of padding; by default 0, and an empty string for tokens.
        truncate: how segments that are too long share the room: "round_robin" takes a token of each
            in turn, "waterfall" fills the first segment before the second.
        padding_side: "right" or "left".

    Raises:
        InputError: `sequence_length`, `truncate` or `padding_side` can't be used.
        InputTypeError: a value is neither an id nor a token.
    """

    sequence_length: int
    start_value: Value | Sequence[Value] | None
    end_value: Value | Sequence[Value] | None
    sep_value: Value | Sequence[Value] | None = None
    pad_value: Value | None = None
    truncate: Literal["round_robin", "waterfall"] = "round_robin"
    padding_side: Literal["right", "left"] = "right"

    def __post_init__(self) -> None:
        check_count("sequence_length", self.sequence_length)
        one_of(("round_robin", "waterfall")).check("truncate", self.truncate)
        one_of(("right", "left")).check("padding_side", self.padding_side)
        for name in ("start_value", "end_value", "sep_value", "pad_value"):
            _values(name, getattr(self, name))

    def __call__(
        self,
        inputs: Any,
        sequence_length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return packed rows and their segment ids, `[rows, sequence_length]` each; or of one row.

        Args:
            inputs: a tuple of segments, or one segment; each of them ids or tokens of one row, or
                of several, as lists, arrays or tensors.
            sequence_length: length of the result in place of the one that is set.
            add_start_value, add_end_value: whether the values are put here.

        Returns:
            int32 ids, or tokens; and int32 segment ids, 0 for the first segment with its start and
            end, 1 for the second with its end, and so on; 0 for padding.

        Raises:
            InputError: there are no segments, they are of different numbers of rows, or there is no
                room for the special values.
        """
        segments, batched = self._segments(inputs)
        length = self.sequence_length if sequence_length is None else sequence_length
        check_count("sequence_length", length)
        end = _values("end_value", self.end_value)
        sep = end if self.sep_value is None else _values("sep_value", self.sep_value)
        start = _values("start_value", self.start_value) if add_start_value else []
        ends = [sep] * (len(segments) - 1) + [end if add_end_value else []]
        room = length - len(start) - sum(map(len, ends))
        _check_room(length, length - room)
        share = round_robin if self.truncate == "round_robin" else waterfall
        tokens, ids = [], []
        for row in zip(*segments, strict=True):
            kept = share([len(part) for part in row], room)
            parts = [part[:count] + last for part, count, last in zip(row, kept, ends, strict=True)]
            tokens.append([*start, *(token for part in parts for token in part)])
            ids.append([0] * len(start) + [i for i, part in enumerate(parts) for _ in part])
        filler = _filler(self.pad_value, *tokens)
        return (
            _array([self._padded(row, length, filler) for row in tokens], batched),
            _array([self._padded(row, length, 0) for row in ids], batched),
        )

    def _segments(self, inputs: Any) -> tuple[list[list[Row]], bool]:
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        found = [rows_of(segment, f"segment {i}") for i, segment in enumerate(given)]
        if not found:
            raise InputError("inputs has no segments; give at least one")
        if len({batched for _, batched in found}) > 1:
            raise InputError("inputs mixes single rows and batches; give segments of one kind")
        counts = [len(rows) for rows, _ in found]
        if len(set(counts)) > 1:
            raise InputError(f"the segments have {counts} rows; give as many rows for each")
        return [rows for rows, _ in found], found[0][1]

    def _padded(self, row: Row, length: int, filler: Value) -> Row:
        padding = [filler] * (length - len(row))
        return row + padding if self.padding_side == "right" else padding + row


def round_robin(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each segment are kept, where each in turn gets one more."""
    kept = [0] * len(lengths)
    while waiting := [i for i, length in enumerate(lengths) if kept[i] < length]:
        turns = min(room // len(waiting), *(lengths[i] - kept[i] for i in waiting))
        given = waiting if turns else waiting[:room]
        for i in given:
            kept[i] += turns or 1
        room -= len(given) * (turns or 1)
        if not turns:
            break
    return kept


def waterfall(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each segment are kept, where the first is filled first."""
    kept = []
    for length in lengths:
        kept.append(min(length, room))
        room -= kept[-1]
    return kept
