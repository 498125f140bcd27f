"""Counts that the indices of names run over: `num_layers`, or a part of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.errors import WeightMapError
from inarch.validation import shown

_FORM = re.compile(r"(\w+)(?:\[(not )?(-?\d+|(?:-?\d*:){1,2}-?\d*|[a-z]\w+)\])?")


def count_in(arguments: Mapping[str, Any], name: str) -> Any:
    """Return the count that an argument gives: itself, or how many values it has."""
    value = arguments.get(name)
    return len(value) if isinstance(value, tuple | list) else value


@dataclass(frozen=True)
class Count:
    """Indices that a name runs over.

        "num_layers"             0, 1, ... up to the argument `num_layers` - 1
        "num_layers[1:]"         all but the first; a part as Python slices a list
        "num_layers[::3]"        every third, from the first on
        "num_layers[not ::3]"    the others
        "num_layers[not 0]"      all but one
        "num_layers[is_global]"  those for which the argument `is_global`, a list, is true

    Args:
        text: as it is written.
        argument: the argument of the backbone that counts, or that has a value for each of them.
        part: an index, a slice of the indices, or the argument with a boolean for each of them,
            which may be None for true; all of them where it is None.
        is_excluded: whether the indices are those outside of `part`.
    """

    text: str
    argument: str
    part: int | slice | str | None = None
    is_excluded: bool = False

    @staticmethod
    def parse(text: str) -> Count:
        """Return the count that a text means.

        Raises:
            WeightMapError: it is of another form.
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise WeightMapError(
                f"{shown(text)} is no count; write the name of an argument, with a part of its "
                "indices if not all are meant: 'num_layers', 'num_layers[1:]', "
                "'num_layers[not ::3]', 'num_layers[has_window]'"
            )
        argument, is_excluded, part = found.groups()
        if part is None:
            return Count(text, argument)
        if part.isidentifier():
            return Count(text, argument, part, bool(is_excluded))
        if ":" not in part:
            return Count(text, argument, int(part), bool(is_excluded))
        bounds = [int(bound) if bound else None for bound in part.split(":")]
        if bounds[2:] == [0]:
            raise WeightMapError(f"{text!r} has a step of 0; write 1 or more")
        return Count(text, argument, slice(*bounds), bool(is_excluded))

    def indices(self, arguments: Mapping[str, Any]) -> list[int]:
        """Return the indices in a model of these arguments.

        Raises:
            WeightMapError: the argument is absent or no count, or doesn't have the one index.
        """
        size = count_in(arguments, self.argument)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise WeightMapError(
                f"{self.text!r} counts by the argument {self.argument}, which is {shown(size)}; "
                "it must be a whole number, at least 0"
            )
        indices = list(range(size))
        if self.part is None:
            return indices
        if isinstance(self.part, int) and not -size <= self.part < size:
            raise WeightMapError(
                f"{self.text!r} names the index {self.part}, and {self.argument} is {size}: only 0 "
                f"to {size - 1} exist. Name one of these, or a part such as "
                f"'{self.argument}[{self.part}:]', which may be empty"
            )
        chosen = self._chosen(indices, arguments)
        return [i for i in indices if i not in chosen] if self.is_excluded else chosen

    def _chosen(self, indices: list[int], arguments: Mapping[str, Any]) -> list[int]:
        """Return the indices of the part."""
        if isinstance(self.part, slice):
            return indices[self.part]
        if not isinstance(self.part, str):
            return [indices[self.part or 0]]
        values = arguments.get(self.part)
        if values is None:
            return indices
        if not isinstance(values, tuple | list) or len(values) != len(indices):
            raise WeightMapError(
                f"{self.text!r} goes by the argument {self.part}, which is {shown(values)}; it "
                f"must be a list of a boolean for each of the {len(indices)}, or None"
            )
        return [index for index in indices if values[index]]
