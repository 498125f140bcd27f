"""Code blocks of a page, and the check of a block of Python against its comments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r":([a-z-]+):[ ]*(.*)\n")
NOT_RUN = "needs-hub"


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        kind: the text after the fence, such as `python` or `{code-block} python`.
        options: of a directive, by name.
        text: its lines, options left out.
        line: number of the line before the text.
    """

    kind: str
    options: dict[str, str]
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.options.get("class") != NOT_RUN


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    whole = page.read_text("utf-8")
    for found in BLOCK.finditer(whole):
        options, text, start = {}, found[2], found.start(2)
        while found[1].startswith("{") and (option := OPTION.match(text)):
            options[option[1]] = option[2].replace("\\_", "_")
            text, start = text[option.end() :], start + option.end()
        yield Block(found[1], options, text, whole.count("\n", 0, start))


def execute(block: Block, page: str, names: dict[str, Any]) -> None:
    """Run a block statement by statement; `# -> value` is the value of an expression."""
    lines = block.text.splitlines()
    for node in ast.increment_lineno(ast.parse(block.text), block.line).body:
        assert isinstance(node, ast.stmt)
        expected = lines[(node.end_lineno or 0) - block.line - 1].partition("# -> ")[2]
        if expected:
            assert isinstance(node, ast.Expr), (
                f"{page}:{node.lineno} gives a value for no expression"
            )
            value = eval(compile(ast.Expression(node.value), page, "eval"), names)
            assert repr(value) == expected, f"{page}:{node.lineno}: it is {value!r}"
        else:
            exec(compile(ast.Module([node], []), page, "exec"), names)
