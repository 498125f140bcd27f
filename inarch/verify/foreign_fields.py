"""Write the list of config fields that change numbers in some architecture of transformers.

The list is made from the source files of the installed transformers, which are parsed and not
run:

    python -m inarch.verify.foreign_fields inarch/checkpoints/maps/foreign_fields.toml

Every read of `config.<field>` in a `modeling_*.py` file is classified by where its value goes:

- into the shape of a parameter, or the number of layers ("shape"): a checkpoint that was made with
  another value has other tensors, so the weight map notices;
- into dropout, a loss, the initial weights, or a check that only raises: no part in inference;
- into an epsilon;
- anywhere else ("switch"): activations, attention patterns, positions, scales, branches.

A field is listed where some read is of the last two kinds and none is a shape. `kwargs` that
configuration classes take out by name, such as `rope_theta`, count as switches. A rate of dropout,
a seed and a loss are recognised by their names, since they mostly reach where they are used through
arguments of other names.

In addition the list has the first words that only listed fields have (`rope_...`), and other
names of one field (`attribute_map`).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inarch.checkpoints.maps.common_fields import COMMON
from inarch.errors import MissingExtraError

HEADER = """\
# Config fields that change the numbers of some architecture of transformers {version}.
# Generated, not edited:
#     python -m inarch.verify.foreign_fields inarch/checkpoints/maps/foreign_fields.toml
"""
# A first word that so many listed fields of so many architectures share, and no other field has,
# is for all fields that begin with it.
FAMILY, FAMILY_READERS = 3, 50
# Configs of other things than models.
OTHER_CONFIGS = frozenset(["generation_config", "quantization_config", "cache_config"])
IDLE_NAME = re.compile(
    r"dropout|pdrop|layerdrop|drop_(path|rate|prob)|(path|rate|prob)_drop"
    r"|(^|_)(seed|loss|losses)(_|$)"
)

# Calls whose arguments are shapes of parameters, or count layers.
SHAPED = frozenset(
    [
        "BatchNorm1d", "BatchNorm2d", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d",
        "ConvTranspose2d", "Embedding", "GroupNorm", "LayerNorm", "Linear", "Parameter", "RMSNorm",
        "empty", "full", "ones", "rand", "randn", "range", "zeros",
    ]
)  # fmt: skip
# Of a layer with parameters, what its tensors don't show.
UNSEEN = frozenset(["stride", "padding", "dilation", "padding_mode", "max_norm", "scale_grad"])
ARITHMETIC = (ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.IfExp, ast.keyword, ast.Starred)
NUMBERS = frozenset(["int", "float", "round", "min", "max", "len", "list", "tuple", "sum"])
IDLE = "idle"


class Reads:
    """Kinds of the reads of one source file, by field."""

    def __init__(self, source: str):
        self.tree = ast.parse(source)
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self.uses: dict[tuple[ast.AST, str], list[ast.AST]] = defaultdict(list)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                name = _attribute_of_self(node) or getattr(node, "id", None)
                scope = self._scope(node, ast.ClassDef if "." in str(name) else ast.FunctionDef)
                if name and scope:
                    self.uses[scope, name].append(node)

    def uses_by_field(self) -> Iterator[tuple[str, str]]:
        """Yield each read as its field and its category."""
        for node in ast.walk(self.tree):
            name = field_read(node)
            called = getattr(self.parents.get(node), "func", None) is node
            if name is None or name.startswith("_") or called:
                continue
            for kind in self._kinds(node, depth=2):
                yield name, kind

    def _kinds(self, node: ast.AST, depth: int) -> set[str]:
        if self._is_idle(node):
            return {IDLE}
        child, parent = node, self.parents.get(node)
        while isinstance(parent, ARITHMETIC) or (
            isinstance(parent, ast.Call) and child is not parent.func and _name(parent) in NUMBERS
        ):
            if isinstance(parent, ast.IfExp) and child is parent.test:
                return {"switch"}
            child, parent = parent, self.parents.get(parent)
        if isinstance(parent, ast.Call) and child is not parent.func:
            return {_kind_of_argument(parent, child)}
        if isinstance(parent, ast.Subscript) and child is parent.slice:
            return {"switch"}
        if isinstance(parent, ast.Assign | ast.AnnAssign) and child is parent.value:
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            return set().union(*(self._kinds_of_target(t, depth) for t in targets))
        return {"switch"}

    def _kinds_of_target(self, target: ast.expr, depth: int) -> set[str]:
        """Kinds of the uses of what a value is assigned to."""
        name = _attribute_of_self(target) or getattr(target, "id", None)
        if name is None or depth == 0:
            return {"switch"}
        if "drop" in name:
            return {IDLE}
        if "eps" in name.split(".")[-1].split("_"):
            return {"epsilon"}
        kind = ast.ClassDef if "." in name else ast.FunctionDef
        scope = self._scope(target, kind)
        uses = self.uses.get((scope, name), []) if scope else []
        return set().union(*(self._kinds(use, depth - 1) for use in uses)) or {IDLE}

    def _is_idle(self, node: ast.AST) -> bool:
        """Return whether a read has no part in inference, such as that of a loss or a message."""
        child, parent = node, self.parents.get(node)
        while parent is not None:
            if isinstance(parent, ast.FunctionDef) and (
                "init_weights" in parent.name or "reset_param" in parent.name
            ):
                return True
            if isinstance(parent, ast.Raise | ast.Assert | ast.JoinedStr):
                return True
            if isinstance(parent, ast.If):
                if child is parent.test and all(isinstance(n, ast.Raise) for n in parent.body):
                    return True
                if child is not parent.test and "labels" in ast.unparse(parent.test):
                    return True
            child, parent = parent, self.parents.get(parent)
        return False

    def _scope(self, node: ast.AST, kind: type[ast.AST]) -> ast.AST | None:
        parent = self.parents.get(node)
        while parent is not None and not isinstance(parent, kind):
            parent = self.parents.get(parent)
        return parent


def field_read(node: ast.AST) -> str | None:
    """Return the field that a node reads: `config.x`, `self.config.x`, `getattr(config, "x")`."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        return node.attr if _is_config(node.value) else None
    if isinstance(node, ast.Call) and _name(node) == "getattr" and len(node.args) > 1:
        name = node.args[1]
        if isinstance(name, ast.Constant) and _is_config(node.args[0]):
            return str(name.value)
    return None


def _is_config(node: ast.AST) -> bool:
    name = str(getattr(node, "attr", None) or getattr(node, "id", ""))
    return name == "config" or (name.endswith("_config") and name not in OTHER_CONFIGS)


def _kind_of_argument(call: ast.Call, argument: ast.AST) -> str:
    function = _name(call)
    # The argument's own keyword is its parent, which was passed on the way up.
    keyword = argument.arg if isinstance(argument, ast.keyword) else None
    if "drop" in function.lower() or (keyword and "drop" in keyword) or keyword == "padding_idx":
        return IDLE
    if keyword in ("eps", "epsilon") or (function.endswith("Norm") and argument in call.args[1:]):
        return "epsilon"
    if function in SHAPED or function.endswith(("Linear", "Norm")):
        return "switch" if keyword in UNSEEN else "shape"
    return "switch"


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))


def _attribute_of_self(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "self":
        return f"self.{node.attr}"
    return None


@dataclass
class Found:
    """Reads of each field in the source files.

    Attributes:
        categories: of its reads.
        readers: architectures whose code reads it.
        aliases: names that `attribute_map`s give it.
    """

    categories: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    readers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    aliases: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add_model(self, path: Path) -> None:
        for name, kind in Reads(path.read_text("utf-8")).uses_by_field():
            self.categories[name].add(IDLE if IDLE_NAME.search(name) else kind)
            self.readers[name].add(path.parent.name)

    def add_configuration(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name != "from_pretrained":
                for name in filter(None, map(_taken, ast.walk(node))):
                    if not IDLE_NAME.search(name):
                        self.categories[name].add("switch")
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "attribute_map":
                for usual, theirs in ast.literal_eval(node.value).items():
                    self.aliases[theirs].add(usual)


def _taken(node: ast.AST) -> str | None:
    """Return the field that a call takes by its name out of `kwargs`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("kwargs.pop", "kwargs.get"):
        name = node.args[0]
        return str(name.value) if isinstance(name, ast.Constant) else None
    return None


def scan(folder: Path) -> Found:
    """Return the reads of each field in the source files of a transformers package."""
    found = Found()
    for path in sorted(folder.glob("models/*/modeling_*.py")):
        found.add_model(path)
    for path in sorted(folder.glob("models/*/configuration_*.py")):
        found.add_configuration(path)
    found.add_configuration(folder / "modeling_rope_utils.py")
    found.add_model(folder / "masking_utils.py")
    return found


def toml(found: Found, version: str) -> str:
    """Return the text of the list."""
    common = {name for entry in COMMON for name in entry.theirs}
    listed: dict[str, list[str]] = {"switch": [], "epsilon": []}
    for name in sorted(found.categories.keys() - common):
        kind = next((kind for kind in listed if kind in found.categories[name]), None)
        if kind and "shape" not in found.categories[name]:
            listed[kind].append(name)
    every = [name for names in listed.values() for name in names]
    lines = [HEADER.format(version=version)]
    for key, names in {**listed, "family": _families(found, every)}.items():
        lines += [f"{key} = [", *(f'    "{name}",' for name in names), "]", ""]
    lines += ["[aliases]"]
    lines += [f"{n} = {json.dumps(sorted(found.aliases[n]))}" for n in every if n in found.aliases]
    return "\n".join(lines) + "\n"


def _families(found: Found, listed: list[str]) -> list[str]:
    """First words that listed fields alone have."""
    first: dict[str, set[str]] = defaultdict(set)
    for name in found.categories:
        first[name.partition("_")[0]].add(name)
    return sorted(
        word
        for word, names in first.items()
        if len(names) >= FAMILY
        and names <= {*listed}
        and len(set().union(*(found.readers[name] for name in names))) >= FAMILY_READERS
    )


def installed() -> str:
    """Return the text of the list for the installed transformers.

    Raises:
        MissingExtraError: it isn't installed.
    """
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise MissingExtraError("transformers isn't installed: pip install 'inarch[verify]'")
    return toml(scan(Path(spec.origin).parent), importlib.metadata.version("transformers"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(installed(), "utf-8")
