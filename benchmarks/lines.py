"""Hand-written lines of a folder: of its `.py` files, blank lines and docstrings aside."""

from __future__ import annotations

import ast
from pathlib import Path

COUNTED = ("__init__.py", "backbone.py", "checkpoint.py", "decoder.py", "text.py")
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def written_lines(folder: Path) -> int:
    """How many lines of graph and table were written by hand; comments count.

    A table of the authors' own format, which few have, is a module of its own, and isn't counted.
    """
    files = sorted(path for path in folder.rglob("*.py") if path.name in COUNTED)
    return sum(_of_file(path.read_text("utf-8")) for path in files)


def _of_file(text: str) -> int:
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(bool(line.strip()) and number not in docstrings for number, line in lines)
