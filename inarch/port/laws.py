"""Laws of an architecture's folder that its files alone show, each as the lines that break it.

The conformance suite holds every folder to them, and `inarch port check` the one that is made.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inarch.checkpoints.maps.author_formats import AuthorFormat
from inarch.checkpoints.maps.fields import Field, Mapped
from inarch.checkpoints.maps.source import Source
from inarch.models import registry
from inarch.models.registry import Architecture
from inarch.port.decisions import DECIDE, GUESS
from inarch.verify.golden import Golden

# The most statements and table entries that an architecture may have.
MAX_SIZE = 130
MAX_LINES, MAX_FUNCTION = 300, 60
# What `inarch port new` writes next to a line that a person has to decide on.
MARK = re.compile(rf"# ((?:{DECIDE}|{GUESS})\b.*)")


def foreign_formats(architecture: Architecture) -> list[str]:
    """Return what is wrong with the formats that a folder makes.

    Its table lists each of them, none of them is another folder's, and none has the classes of
    another's.

    Raises:
        ConfigError: it makes none of a model type of its table, or two.
    """
    others = {t: a for a in registry.architectures().values() for t in a.model_types
              if a.name != architecture.name}  # fmt: skip
    made = [v for v in vars(architecture.module("checkpoint")).values() if isinstance(v, Source)]
    lines = [
        f"checkpoint.py makes a Source of model_type {source.model_type!r}, which "
        f"model_types of {registry.TABLE} lacks"
        for source in {id(s): s for s in made}.values()
        if source.model_type not in (*others, *architecture.model_types)
    ]
    for source in architecture.sources:
        mine = _classes(source)
        for model_type, other in others.items():
            theirs = other.sources[other.model_types.index(model_type)]
            if shared := sorted(mine & _classes(theirs)):
                lines.append(
                    f"the Source of {source.model_type!r} names {', '.join(shared)}, of "
                    f"{theirs.model_type!r} in {other.name}: it is copied from there"
                )
    modules = [architecture.module(path.stem) for path in folder_of(architecture).glob("*.py")]
    known = {id(found) for found in architecture.author_formats}
    for value in (v for module in modules if module for v in vars(module).values()):
        own = isinstance(value, AuthorFormat) and value.table.model_type in architecture.model_types
        if own and id(value) not in known:
            lines.append(f"author_formats of {registry.TABLE} lacks the module of {value.name}")
    return list(dict.fromkeys(lines))


def _classes(source: Source) -> set[str]:
    heads = (name for head in source.heads.values() for name in head.architectures)
    return {source.architecture, *heads}


def unmapped_arguments(architecture: Architecture) -> list[str]:
    """Return the arguments that a config map or the backbone lacks, where the other has them."""
    signature = inspect.signature(architecture.backbone.__init__).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    arguments = {name for name, one in signature.items() if one.kind not in variable} - {"self"}
    lines = []
    for source in architecture.sources:
        mapped = {entry.ours for entry in source.config if isinstance(entry, Mapped)}
        mapped |= {*source.optional_layers}
        for name in sorted(arguments - mapped):
            lines.append(f"{source.model_type}: no entry gives the backbone's argument {name!r}")
        for name in sorted(mapped - arguments):
            lines.append(f"{source.model_type}: the map gives {name!r}, and the backbone has none")
    return lines


def other_defaults(architecture: Architecture, golden: Golden, is_first: bool) -> list[str]:
    """Return where our defaults are others than the reference's.

    A field that a config must have is the one that published checkpoints have.

    Args:
        is_first: whether the golden file is of the folder's first format, whose defaults the
            backbone's constructor has.
    """
    source = architecture.sources[0]
    required = {e.theirs for e in source.config if isinstance(e, Field) and e.is_required}
    given = {name: value for name, value in source.published.items() if name in required}
    implied = source.config_map.arguments({"model_type": source.model_type, **given})
    meant = source.config_map.arguments({**golden.defaults, **given})
    lines = [
        f"{source.model_type}: {name!r} is {implied[name]!r} by default here, and {value!r} in the "
        "reference"
        for name, value in meant.items()
        if implied[name] != value
    ]
    if not is_first:
        return lines
    signature = inspect.signature(architecture.backbone).parameters
    published = source.config_map.arguments({**golden.defaults, **source.published})
    return lines + [
        f"the backbone's {name}={signature[name].default!r} by default is {value!r} in the "
        f"reference's {source.model_type}"
        for name, value in published.items()
        if signature[name].default not in (value, inspect.Parameter.empty)
    ]


def faulty_presets(architecture: Architecture) -> list[str]:
    """Return what built-in names of published checkpoints lack."""
    if not architecture.presets:
        return [f"{registry.TABLE} names no published checkpoint"]
    lines = []
    for name, preset in architecture.presets.items():
        if preset.hub.count("/") != 1:
            lines.append(f"{name}: hub is {preset.hub!r}; it must be owner/name")
        if not isinstance(preset.parameters, int) or preset.parameters <= 0:
            lines.append(f"{name}: parameters is {preset.parameters!r}; count the backbone's")
        for field in ("licence", "description"):
            if not getattr(preset, field):
                lines.append(f"{name}: {field} is empty")
    return lines


def undecided(folder: Path) -> list[str]:
    """Return the marks of a draft that nobody has decided on yet, each with its place."""
    return [
        f"{path.name}:{number}: {found[1]}"
        for path in sorted([*folder.glob("*.py"), folder / registry.TABLE])
        if path.is_file()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (found := MARK.search(line))
    ]


# --- sizes -------------------------------------------------------------------------------------


def folder_of(architecture: Architecture) -> Path:
    """Return the folder of an architecture."""
    return Path(inspect.getfile(architecture.backbone)).parent


def oversized(folder: Path) -> list[str]:
    """Return what in a folder is larger than it may be."""
    lines = []
    if (size := architecture_size(folder)) > MAX_SIZE:
        lines.append(
            f"backbone.py and checkpoint.py have {size} statements and entries, of {MAX_SIZE}"
        )
    for path in sorted(folder.glob("*.py")):
        text = path.read_text("utf-8")
        if (count := text.count("\n")) > MAX_LINES:
            lines.append(f"{path.name} has {count} lines, of {MAX_LINES}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MAX_FUNCTION:
                    lines.append(f"{path.name}: {node.name} has {count} lines, of {MAX_FUNCTION}")
    return lines


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
    found: Iterable[Any] = (node for node in ast.walk(tree) if isinstance(node, ast.stmt))
    found = (node for node in found if not isinstance(node, ast.Import | ast.ImportFrom))
    return [n for n in found if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
