"""Size of an architecture's folder: what must be written for it, whatever its formatting."""

from __future__ import annotations

import ast
from pathlib import Path

# The most statements and table entries that an architecture may have.
MAX_SIZE = 130


def architecture_size(folder: Path) -> int:
    """Count statements of backbone.py, and statements and table entries of checkpoint.py.

    An entry of a table is a call, on one line or on five. A table of the authors' own format,
    which few have, is a module of its own, and isn't counted.
    """
    graph, maps = (
        ast.parse((folder / name).read_text("utf-8")) for name in ("backbone.py", "checkpoint.py")
    )
    entries = [node for node in ast.walk(maps) if isinstance(node, ast.Call)]
    return len(_statements(graph)) + len(_statements(maps)) + len(entries)


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """Return all statements but imports and docstrings."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    found = [node for node in found if not isinstance(node, ast.Import | ast.ImportFrom)]
    return [n for n in found if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
