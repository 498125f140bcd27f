"""A package imports only from those below it; what is imported for types alone doesn't count."""

import ast
from pathlib import Path

import pytest

import inarch

ROOT = Path(inarch.__file__).parent
# From the top down. Packages of one line know nothing of each other.
TIERS = [
    {"cli"},
    {"port"},
    {"workflows"},
    {"tasks"},
    {"sentence_transformers"},
    {"answers"},
    {"training"},
    {"preprocessors"},
    {"verify", "speech"},
    {"models", "generation"},
    {"runtime", "losses"},
    {"layers", "text", "audio", "data", "metrics"},
    {"checkpoints"},
]
HEIGHT = {name: -tier for tier, names in enumerate(TIERS) for name in names}
# Imports in a function: a tokenizer opens a folder as a model does, by the registry of presets.
IN_FUNCTIONS = {("text/tokenizer_doors.py", "models")}


def imported(node):
    """Yield the packages of inarch that a tree of code imports, but for its types."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module == "inarch":
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        first, _, rest = node.module.partition(".")
        yield from [rest.partition(".")[0]] if first == "inarch" else []
    elif isinstance(node, ast.Import):
        names = (alias.name.split(".") for alias in node.names)
        yield from (parts[1] for parts in names if parts[0] == "inarch" and len(parts) > 1)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def upward(package):
    """Return the imports of a package that aren't from below it, as (file, package)."""
    return {
        (path.relative_to(ROOT).as_posix(), other)
        for path in (ROOT / package).rglob("*.py")
        for other in imported(ast.parse(path.read_text("utf-8")))
        if other in HEIGHT and other != package and HEIGHT[other] >= HEIGHT[package]
    }


def test_every_package_has_its_place():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == HEIGHT.keys()


@pytest.mark.parametrize("package", sorted(HEIGHT))
def test_a_package_imports_from_those_below_it(package):
    assert upward(package) - IN_FUNCTIONS == set()


def test_the_import_in_a_function_is_there():
    assert upward("text") == IN_FUNCTIONS
