"""Run the pages of the guide where its architecture doesn't exist yet, as a reader would.

`python guide.py PAGE...` in a scratch copy of the repository. Of each page, in order:

- a `code-block` with a caption is written to the end of the file that the caption names;
- one of `diff` changes that file: a line with `-` becomes the one with `+`, or goes;
- `python` runs, and `# -> value` is held to what an expression gives; after a change of a file it
  begins anew;
- `console` runs, and the lines after each command are held to what it prints. What differs from
  machine to machine may differ: measured times and ratios, the bars that show them, and what
  follows a bar. A last line `...` means any further ones.

Exits with 1 at the first block that does something else, and prints what. With `--files` before the
pages, files are written and changed, and nothing runs.
"""

from __future__ import annotations

import difflib
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from blocks import Block, blocks, execute

BAR = re.compile("[█│▏▎▍▌▋▊▉]")
COMMAND = re.compile(r"^\$ ", re.MULTILINE)


def forget(names: dict[str, Any]) -> None:
    """Begin Python anew, so that the next import sees the files as they are now."""
    names.clear()
    names["__name__"] = "__main__"
    for name in [n for n in sys.modules if n == "inarch" or n.startswith("inarch.")]:
        del sys.modules[name]


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def change(path: Path, text: str) -> None:
    """Put `+` lines in the place of the `-` lines, which must be in the file once."""
    sides = {
        sign: "".join(line[1:] for line in text.splitlines(True) if line[0] in (sign, " "))
        for sign in "-+"
    }
    whole = path.read_text("utf-8")
    assert whole.count(sides["-"]) == 1, f"{path} has these lines {whole.count(sides['-'])} times"
    path.write_text(whole.replace(sides["-"], sides["+"]), "utf-8")


def steady(line: str) -> str:
    """Return a line without the parts that differ from machine to machine."""
    if bar := BAR.search(line):
        line = re.sub(r"(?<!\w)\d[\d.]*(e[+-]\d+)?(?!\w)", "#", line[: bar.start()])
    line = re.sub(r"\d+(\.\d+)?e[+-]\d+|\d+\.\d+", "#", line)
    return re.sub(r"\s+", " ", line).strip()


def command(line: str) -> tuple[int, str]:
    """Run a command and return its status and its output."""
    program, *arguments = shlex.split(line)
    if program == "inarch":
        from typer.testing import CliRunner

        from inarch.cli.app import app

        result = CliRunner().invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output
    assert program in ("python", "cp"), f"{program!r} is no command of the guide"
    program = sys.executable if program == "python" else program
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def converse(block: Block) -> None:
    """Run each command of a block and compare what it prints."""
    for entry in COMMAND.split(block.text)[1:]:
        line, _, expected = entry.partition("\n")
        code, printed = command(line.partition("  # ")[0])
        lines, wanted = printed.splitlines(), expected.splitlines()
        if wanted[-1:] == ["..."]:
            wanted.pop()
            lines = lines[: len(wanted)]
        if [*map(steady, lines)] != [*map(steady, wanted)] and (wanted or code):
            shown = difflib.unified_diff(wanted, lines, "the page", "the command", lineterm="")
            raise AssertionError("\n".join([f"$ {line} (exit code {code})", *shown]))


def run(page: Path, files_alone: bool = False) -> None:
    names: dict[str, Any] = {}
    forget(names)
    for block in blocks(page):
        target = block.options.get("caption")
        try:
            if not block.runs or block.kind in ("text", "{figure}", "{toctree}", "{note}"):
                continue
            if block.kind == "{code-block} diff" and target:
                change(Path(target), block.text)
                forget(names)
            elif block.kind.startswith("{code-block} ") and target:
                append(Path(target), block.text)
                forget(names)
            elif files_alone:
                continue
            elif block.kind == "python":
                execute(block, str(page), names)
            elif block.kind == "console":
                converse(block)
            else:
                raise AssertionError(f"nothing is known of blocks of kind {block.kind!r}")
        except Exception as e:
            where = f"{page.name}, the block at line {block.line}"
            trace = "" if isinstance(e, AssertionError) else f"\n{traceback.format_exc()}"
            sys.exit(f"{where}: {type(e).__name__}: {e}{trace}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    files_alone = "--files" in sys.argv
    for argument in sys.argv[1 + files_alone :]:
        run(Path(argument), files_alone)
