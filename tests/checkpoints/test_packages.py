"""The packages of checkpoints import only those below them, and nothing that computes a model."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import inarch.checkpoints

ROOT = Path(inarch.checkpoints.__file__).parent
BELOW = {"io": {"io"}, "formats": {"io", "formats"}, "maps": {"io", "formats", "maps"}}
# Of the library, what all of its packages may import.
COMMON = {
    "errors",
    "file_names",
    "files",
    "json_fields",
    "paths",
    "protobuf",
    "rights",
    "validation",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("package", BELOW)
def test_a_package_imports_only_those_below_it(package):
    for path in (ROOT / package).glob("*.py"):
        ours = [name.split(".")[1:] for name in imported(path) if name.startswith("inarch.")]
        for first, *rest in ours:
            known = rest[0] in BELOW[package] if first == "checkpoints" else first in COMMON
            assert known, (path.name, first, *rest)


def test_maps_readers_and_writers_need_no_keras():
    modules = [
        ".".join(("inarch.checkpoints", *path.relative_to(ROOT).with_suffix("").parts))
        for path in ROOT.rglob("*.py")
        if path.stem != "__init__"
    ]
    code = (
        f"import sys, {', '.join(modules)}; print({{'keras', 'torch', 'jax'}} & {{*sys.modules}})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
