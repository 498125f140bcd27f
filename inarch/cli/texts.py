"""The texts that a command works on: from its arguments, a file, or standard input."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from inarch.errors import CheckpointFileError, InputError, MissingExtraError

Text = str | tuple[str, str]
# What is between the cells of a table, by the suffix of its file.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
# A cell is a text, of any length.
csv.field_size_limit(2**31 - 1)


def read_texts(arguments: Sequence[str] | None, path: Path | None, field: str) -> list[Text]:
    """Read texts from the arguments, else from a file, else from lines of standard input.

    A `.jsonl` or `.parquet` file gives its `field` of each row, a string or a pair of strings; a
    `.csv` or `.tsv` file its column of that name, which its first row gives; any other file one
    text per line, blank lines included, so that results keep to their lines.

    Raises:
        InputError: two sources at once, or text that isn't UTF-8.
        CheckpointFileError: the file can't be read.
    """
    if arguments and path:
        raise typer.BadParameter("give texts as arguments or as --input FILE, not both")
    if arguments:
        return list(arguments)
    if path is None or str(path) == "-":
        if sys.stdin.isatty():
            raise typer.BadParameter("no text: give it as arguments, as --input FILE or by a pipe")
        return list(_lines(sys.stdin.buffer.read(), "standard input"))
    if path.suffix == ".parquet":
        return _column(path, field)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e
    if path.suffix in DELIMITERS:
        return _table_column(data, path, field)
    lines = _lines(data, str(path))
    if path.suffix != ".jsonl":
        return list(lines)
    return [_of_json(line, field, f"{path}:{i}") for i, line in enumerate(lines, 1)]


def _table_column(data: bytes, path: Path, field: str) -> list[Text]:
    """Read a column of a table with a header row; a quoted cell may have line ends in it."""
    rows = csv.reader(
        io.StringIO(_decoded(data, str(path)), newline=""),
        delimiter=DELIMITERS[path.suffix],
        strict=True,
    )
    try:
        names = next(rows, [])
        if names.count(field) != 1:
            found = ", ".join(map(repr, names)) or "none"
            raise InputError(
                f"{path} should have one column {field!r}; its first row names {found}; choose by "
                "--field"
            )
        place = names.index(field)
        texts: list[Text] = []
        for row in rows:
            if not row:
                continue  # an empty line, as at the end
            if len(row) != len(names):
                raise InputError(
                    f"{path}:{rows.line_num} has {len(row)} cells, and the first row {len(names)}; "
                    "put a text with a separator in it in quotes"
                )
            texts.append(row[place])
    except csv.Error as e:
        raise InputError(f"{path}:{rows.line_num} can't be read as a table: {e}") from e
    return texts


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise InputError(f"{where}:{line} is not UTF-8; convert it first") from e


def _lines(data: bytes, where: str) -> list[str]:
    text = _decoded(data, where)
    # Not splitlines: a form feed or a Unicode line separator is part of a text.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]


def _of_json(line: str, field: str, where: str) -> Text:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise InputError(f"{where} is not JSON: {e}") from e
    if not isinstance(row, dict) or field not in row:
        raise InputError(f"{where} has no {field!r}; name the right one by --field")
    return _text(row[field], where)


def _column(path: Path, field: str) -> list[Text]:
    arrow, parquet = pyarrow_modules()
    try:
        table = parquet.ParquetFile(path)
        if field not in table.schema_arrow.names:
            names = ", ".join(table.schema_arrow.names)
            raise InputError(f"{path} has no column {field!r} but {names}; choose by --field")
        values = table.read([field]).column(field).to_pylist()
    except (OSError, arrow.ArrowInvalid) as e:
        raise CheckpointFileError(f"{path} can't be read as Parquet: {e}") from e
    return [_text(value, f"{path}, row {i}") for i, value in enumerate(values)]


def _text(value: Any, where: str) -> Text:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return value[0], value[1]
    raise InputError(f"{where} has {str(value)[:40]!r}, neither a string nor a pair of strings")


def pyarrow_modules() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as e:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'inarch[parquet]'") from e
    return pyarrow, parquet
