"""Rows of the table, and the settings of the groups that yield them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table; `limit` is the most that `value` may be, None for no promise."""

    what: str
    figures: str
    value: float | None = None
    limit: float | None = None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        if self.limit is None or self.value is None:
            return ""
        return "pass" if self.value <= self.limit else "**miss**"

    @classmethod
    def over(
        cls, what: str, ours: float, theirs: float, limit: float | None = None, unit: str = "s"
    ) -> Row:
        """Return a row of our figure over theirs: seconds, or another unit in whole numbers."""
        digits = 2 if unit == "s" else 0
        figures = f"{ours:.{digits}f} {unit} over {theirs:.{digits}f} {unit}"
        return cls(what, figures, ours / theirs, limit)

    def cells(self) -> tuple[str, ...]:
        value = "" if self.value is None else f"{self.value:.3g}{self.unit}"
        limit = "" if self.limit is None else f"<= {self.limit:.3g}{self.unit}"
        return self.what, self.figures, value, limit, self.verdict


@dataclass(frozen=True)
class Setting:
    """Settings of every group of measurements."""

    repeats: int
    scratch: Path
    minilm: Path | None


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) for name in names)


def absent(what: str, needs: str) -> Row:
    return Row(what, f"not measured: {needs} is not here")
