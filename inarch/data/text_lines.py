"""Lines of text files, read as they are needed, so that a file may be larger than the memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.validation import check_count, check_flag, shown

Item = TypeVar("Item")
# A line of more characters is read in parts.
LONGEST_LINE = 100_000


@dataclasses.dataclass(frozen=True)
class TextLines:
    """Iterable of the lines of text files, without blank ones, that can be read again and again.

    `MaskedLM.fit` takes it in place of a list of texts, and `Tokenizer.train` does.

    Args:
        source: path of a UTF-8 text file, or a list of paths; or texts from elsewhere, as an
            iterable that starts anew each time, or a function that returns one.
        pack: whether training joins consecutive lines to texts that fill a sequence, and cuts
            longer ones at words; if not, each line is a text, truncated where it is too long.
        shuffle_buffer: texts that are kept in memory to draw the next one from, where they are
            shuffled.

    Raises:
        InputTypeError: `source` is none of these.
        InputError: a path leads to no file, or `source` can be read only once.
    """

    source: Any
    pack: bool = True
    shuffle_buffer: int = 10_000

    def __post_init__(self) -> None:
        check_flag("pack", self.pack)
        check_count("shuffle_buffer", self.shuffle_buffer)
        for path in _paths(self.source) or ():
            if not os.path.isfile(path):
                raise InputError(
                    f"{shown(os.fspath(path))} is no file; give the path of a text file, or texts "
                    "in a list"
                )
        if isinstance(self.source, Iterator):
            raise InputError(
                f"source is a {type(self.source).__name__}, which can be read only once; give a "
                "function that returns it anew, for each epoch"
            )
        if not isinstance(self.source, str | os.PathLike | Iterable | Callable):  # type: ignore[arg-type]
            raise InputTypeError(
                f"source is {shown(self.source)}; give a path, paths, or an iterable of texts"
            )

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, without their ends.

        Raises:
            InputError: a file can't be read, or isn't UTF-8.
            InputTypeError: a text from elsewhere isn't a string.
        """
        paths = _paths(self.source)
        if paths is not None:
            for path in paths:
                yield from _lines(Path(path))
            return
        for index, text in enumerate(self.source() if callable(self.source) else self.source):
            if not isinstance(text, str):
                raise InputTypeError(f"text {index} is {shown(text)}; each must be a string")
            if text.strip():
                yield text


def _paths(source: Any) -> Sequence[str | os.PathLike] | None:
    """Return the paths that a source is; None where it is texts.

    A list of strings is paths: texts in a list need no reading in parts.
    """
    if isinstance(source, str | os.PathLike):
        return [source]
    if isinstance(source, list | tuple) and source:
        return source if all(isinstance(s, str | os.PathLike) for s in source) else None
    return None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST_LINE):
                if line.strip():
                    yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} isn't UTF-8 text: byte {error.object[error.start]:#04x} ({error.reason}); "
            "save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}") from error


def shuffled(items: Iterable[Item], size: int, rng: np.random.Generator) -> Iterator[Item]:
    """Yield items in random order, each drawn from a buffer of `size` that is filled up again."""
    buffer: list[Item] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        place = int(rng.integers(size))
        yield buffer[place]
        buffer[place] = item
    for place in rng.permutation(len(buffer)):
        yield buffer[place]
