"""The texts that a command works on: from its arguments, a file, or standard input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import typer

from inarch.errors import CheckpointFileError, InputError, MissingExtraError

Text = str | tuple[str, str]
# What is between the cells of a table, by the suffix of its file.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Rows of a Parquet file that are read together.
PARQUET_ROWS = 1024
# A cell is a text, of any length.
csv.field_size_limit(2**31 - 1)


def _unknown() -> float | None:
    return None


@dataclass(frozen=True)
class TextSource:
    """Texts in the order of a source, read when they are taken.

    Attributes:
        name: of the source, for messages.
        rows: the texts; in the place of one that can't be read, the error that says why.
        share: returns the share of the source that has been read; None where that isn't known.
    """

    name: str
    rows: Iterator[Text | InputError]
    share: Callable[[], float | None] = _unknown


def read_texts(arguments: Sequence[str] | None, path: Path | None, field: str) -> list[Text]:
    """Read all texts of `open_texts`, each of which has to be readable.

    Raises:
        InputError, CheckpointFileError: as `open_texts`, or a row can't be read.
    """
    texts: list[Text] = []
    for row in open_texts(arguments, path, field).rows:
        if isinstance(row, InputError):
            raise row
        texts.append(row)
    return texts


def open_texts(arguments: Sequence[str] | None, path: Path | None, field: str) -> TextSource:
    """Open the arguments, else a file, else standard input as a source of texts.

    A `.jsonl` or `.parquet` file gives its `field` of each row, a string or a pair of strings; a
    `.csv` or `.tsv` file its column of that name, which its first row gives; any other file one
    text per line, blank lines included, so that results keep to their lines.

    Raises:
        InputError: the file has no such column.
        CheckpointFileError: the file can't be read.
    """
    if arguments and path:
        raise typer.BadParameter("give texts as arguments or as --input FILE, not both")
    if arguments:
        return TextSource("the arguments", iter(arguments))
    if path is None or str(path) == "-":
        if sys.stdin.isatty():
            raise typer.BadParameter("no text: give it as arguments, as --input FILE or by a pipe")
        return TextSource("standard input", _lines(sys.stdin.buffer, "standard input"))
    if path.suffix == ".parquet":
        return _parquet(path, field)
    try:
        file = path.open("rb")
        size = os.fstat(file.fileno()).st_size
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e
    if path.suffix in DELIMITERS:
        rows = _table_column(file, path, field)
    elif path.suffix == ".jsonl":
        rows = _json_field(file, path, field)
    else:
        rows = _lines(file, str(path))

    def share() -> float | None:
        if file.closed:  # with its last row
            return 1.0
        return file.tell() / size if size else None

    return TextSource(str(path), rows, share)


def _decoded(file: BinaryIO, newline: str) -> io.TextIOWrapper:
    """Open UTF-8 as text, with a surrogate for each byte that isn't; see `_is_utf_8`."""
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=newline)


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(file: BinaryIO, name: str) -> Iterator[Text | InputError]:
    try:
        # Not splitlines: a form feed or a Unicode line separator is part of a text.
        for number, line in enumerate(_decoded(file, "\n"), 1):
            if _is_utf_8(line):
                yield line.removesuffix("\n").removesuffix("\r")
            else:
                yield InputError(f"{name}:{number} is not UTF-8; convert it first")
    except OSError as e:
        raise CheckpointFileError(f"{name} can't be read: {e.strerror or e}") from e


def _json_field(file: BinaryIO, path: Path, field: str) -> Iterator[Text | InputError]:
    for number, line in enumerate(_lines(file, str(path)), 1):
        if isinstance(line, InputError):
            yield line
        else:
            yield _of_json(str(line), field, f"{path}:{number}")


def _of_json(line: str, field: str, where: str) -> Text | InputError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        return InputError(f"{where} is not JSON: {e}")
    if not isinstance(row, dict) or field not in row:
        return InputError(f"{where} has no {field!r}; name the right one by --field")
    return _text(row[field], where)


def _table_column(file: BinaryIO, path: Path, field: str) -> Iterator[Text | InputError]:
    """Return a column of a table with a header row; a quoted cell may have line ends in it."""
    # Line ends as they are: those of a quoted cell are part of it.
    rows = csv.reader(_decoded(file, ""), delimiter=DELIMITERS[path.suffix], strict=True)
    names = _next_cells(rows, path)
    if isinstance(names, InputError):
        raise names
    if (names or []).count(field) != 1:
        found = ", ".join(map(repr, names or [])) or "none"
        raise InputError(
            f"{path} should have one column {field!r}; its first row names {found}; choose by "
            "--field"
        )
    return _cells(rows, path, names or [], field)


def _cells(rows: Any, path: Path, names: list[str], field: str) -> Iterator[Text | InputError]:
    place = names.index(field)
    while (row := _next_cells(rows, path)) is not None:
        if isinstance(row, InputError):
            yield row
        elif not row:
            continue  # an empty line, as at the end
        elif len(row) != len(names):
            yield InputError(
                f"{path}:{rows.line_num} has {len(row)} cells, and the first row {len(names)}; "
                "put a text with a separator in it in quotes"
            )
        elif not _is_utf_8(row[place]):
            yield InputError(f"{path}:{rows.line_num} is not UTF-8; convert it first")
        else:
            yield row[place]


def _next_cells(rows: Any, path: Path) -> list[str] | InputError | None:
    """Return the next row of a table, what is wrong with it, or None after the last one."""
    try:
        return next(rows, None)
    except csv.Error as e:
        return InputError(f"{path}:{rows.line_num} can't be read as a table: {e}")
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e


def _parquet(path: Path, field: str) -> TextSource:
    arrow, parquet = pyarrow_modules()
    done = 0

    def rows() -> Iterator[Text | InputError]:
        nonlocal done
        try:
            for batch in table.iter_batches(PARQUET_ROWS, columns=[field]):
                for value in batch.column(0).to_pylist():
                    yield _text(value, f"{path}, row {done}")
                    done += 1
        except (OSError, arrow.ArrowInvalid) as e:
            raise CheckpointFileError(f"{path} can't be read as Parquet: {e}") from e

    try:
        table = parquet.ParquetFile(path)
    except (OSError, arrow.ArrowInvalid) as e:
        raise CheckpointFileError(f"{path} can't be read as Parquet: {e}") from e
    if field not in table.schema_arrow.names:
        names = ", ".join(table.schema_arrow.names)
        raise InputError(f"{path} has no column {field!r} but {names}; choose by --field")
    total = table.metadata.num_rows
    return TextSource(str(path), rows(), lambda: done / total if total else None)


def _text(value: Any, where: str) -> Text | InputError:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return value[0], value[1]
    return InputError(f"{where} has {str(value)[:40]!r}, neither a string nor a pair of strings")


def pyarrow_modules() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as e:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'inarch[parquet]'") from e
    return pyarrow, parquet
