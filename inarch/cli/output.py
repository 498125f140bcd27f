"""The results of a command: rows as a table, as JSON, or in a file of the format of its suffix."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from inarch.errors import CheckpointFileError
from inarch.files import replace_file

Row = Mapping[str, Any]

# Wide enough for whatever is piped to another program; a terminal's own width counts there.
UNBOUNDED = 10_000


def write(
    rows: Sequence[Row],
    as_json: bool,
    path: Path | None,
    table: Callable[[], None],
    example: Row = MappingProxyType({}),
) -> None:
    """Write rows to a file if one is given, else to standard output as JSON or as a table.

    Args:
        example: a row of the kind of these, by which a file without rows has its columns.
    """
    if path is not None:
        write_file(rows, path, example)
    elif as_json:
        print_json(rows)
    else:
        table()


def complain(message: object) -> None:
    """Print an error or a warning, one line on standard error."""
    typer.echo(f"inarch: {one_line(str(message))}", err=True)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_table(rows: Sequence[Row], right: Sequence[str] = ()) -> None:
    """Print rows as aligned columns under their names; columns in `right` align there."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        justify: Any = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        # Text objects: brackets in a user's text are no markup.
        table.add_row(*(Text(_cell_text(value)) for value in row.values()))
    show(table)


def print_entries(rows: Sequence[Row], first: Sequence[str], below: Sequence[str]) -> None:
    """Print rows of many columns: a paragraph each on a terminal, a line each in a pipe.

    Args:
        first: columns of a paragraph's first line.
        below: columns that are on separate lines.
    """
    if not sys.stdout.isatty():
        print_table(rows)
        return
    width = shutil.get_terminal_size().columns
    for row in rows:
        typer.echo("  ".join(_cell_text(row[name]) for name in first))
        for name in below:
            for line in textwrap.wrap(_cell_text(row[name]), max(width - 4, 20)):
                typer.echo(f"    {line}")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, one per line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(str(value)))
    show(table)


def show(renderable: Any) -> None:
    """Print a renderable of rich, as wide as the terminal; in whole lines where it is piped."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(renderable)
        return
    console = Console(highlight=False, width=UNBOUNDED, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    for line in capture.get().splitlines():
        typer.echo(line.rstrip())


def one_line(message: str) -> str:
    """Return a message on one line; an indented list after a colon stays readable."""
    return re.sub(r"\s*\n\s*", "; ", re.sub(r":\s*\n\s*", ": ", message.strip()))


def _cell_text(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


# --- files -------------------------------------------------------------------------------------


def check_output(path: Path | None) -> Path | None:
    """Refuse a file of an unknown format, or in no folder, before any work is done for it.

    Raises:
        CheckpointFileError: the path is a folder's, or in none.
    """
    if path is None:
        return None
    if path.suffix not in WRITERS:
        suffixes = ", ".join(WRITERS)
        raise typer.BadParameter(f"--output {path} ends in none of {suffixes}")
    if path.is_dir():
        raise CheckpointFileError(f"--output {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise CheckpointFileError(f"--output {path} is in no folder; make {path.parent} first")
    if path.suffix == ".parquet":
        from inarch.cli.texts import pyarrow_modules

        pyarrow_modules()
    return path


def write_file(rows: Sequence[Row], path: Path, example: Row = MappingProxyType({})) -> None:
    """Write rows to `path`, which then holds all of them or what it held before.

    Args:
        example: as of `write`.

    Raises:
        CheckpointFileError: the file can't be written.
    """
    replace_file(path, lambda fresh: WRITERS[path.suffix](rows, fresh, example))


def write_text(text: str, path: Path) -> None:
    """Write a text to `path`, which then holds all of it or what it held before.

    Raises:
        CheckpointFileError: the file can't be written.
    """
    replace_file(path, lambda fresh: fresh.write_text(text, "utf-8"))


def _jsonl(rows: Sequence[Row], path: Path, example: Row) -> None:
    with path.open("wb") as file:
        file.writelines(map(json_line, rows))


def json_line(row: Row) -> bytes:
    """Return a line of a `.jsonl` file; a lone surrogate is escaped in it."""
    line = json.dumps(row, ensure_ascii=False, default=_plain) + "\n"
    return line.encode("utf-8", "backslashreplace")


def _json(rows: Sequence[Row], path: Path, example: Row) -> None:
    text = json.dumps(rows, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", "utf-8")


def _parquet(rows: Sequence[Row], path: Path, example: Row) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    typed = rows or [example]
    columns = {name: [_plain(row[name]) for row in typed] for name in typed[0]}
    parquet.write_table(pyarrow.table(columns).slice(0, len(rows)), path)


def _npy(rows: Sequence[Row], path: Path, example: Row) -> None:
    import numpy as np

    array = _array(rows) if rows else _array([example])[:0]
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _array(rows: Sequence[Row]) -> Any:
    """Return vectors as one array `[rows, dim]`, and rows of other results as a structured array.

    Where a text has any number of values or vectors, each is a record, with the text's number.
    """
    import numpy as np

    lists = [n for n, v in rows[0].items() if isinstance(v, np.ndarray)]
    if lists == ["vector"]:
        return np.stack([row["vector"] for row in rows])
    if lists:
        counts = [len(row[lists[0]]) for row in rows]
        columns = {name: np.concatenate([row[name] for row in rows]) for name in lists}
        fields: list[Any] = [(name, c.dtype, c.shape[1:]) for name, c in columns.items()]
        array = np.zeros(sum(counts), [("text", np.int64), *fields])
        array["text"] = np.repeat(np.arange(len(rows)), counts)
        for name, column in columns.items():
            array[name] = column
        return array
    columns = {name: np.array([_cell(row[name]) for row in rows]) for name in rows[0]}
    array = np.zeros(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        array[name] = column
    return array


WRITERS: dict[str, Callable[[Sequence[Row], Path, Row], None]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".npy": _npy,
}


def _cell(value: Any) -> Any:
    """Return a pair of texts as one, since an array has one value per cell."""
    return " | ".join(value) if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    """Return a NumPy value in a form that JSON and Parquet take."""
    return value.tolist() if hasattr(value, "tolist") else value
