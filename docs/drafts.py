"""Write the page of what drafts get right, from stored measurements and from the folders.

`python docs/drafts.py docs/drafts.md [ROWS]` takes in rows that
`benchmarks/port_drafts.py` has measured, if a file of them is given, and writes the page anew.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import inarch.models
from inarch.models.registry import Architecture, architectures
from inarch.port.laws import architecture_size

DOCS = Path(__file__).parent
STORED = DOCS / "measured" / "drafts.json"
FAULTS = DOCS / "faults.md"
BACKENDS = ("jax", "torch", "tensorflow")
MODELS = Path(inarch.models.__path__[0])
# Longer reasons are cut.
MAX_CAUSE = 110
PERCENT = re.compile(r"(\d+)%")

HEAD = """# What a draft gets right

`make drafts` has [`inarch port new`](contribute/wanted.md#a-draft-of-the-folder) draft each of
these architectures of transformers from its `model_type` alone, while the folder that is here is
hidden; of ESM and DeBERTa also from the switches of published checkpoints, which aren't the
defaults, and of Nomic BERT from the fields that its authors' files have besides. Nothing is edited.
The rest is measured in the folders as they are: `make tables` writes what needs no reference anew,
and a test compares.
"""
HERE = """
## Architectures that are here

A row is a format that has a [golden file](contribute/goldens.md).

- *verified*: what computes the reference's values, layer by layer, in a tiny model with random
  weights: the graph, and heads.
- *map*, *config*: of the entries of the folder's weight map and config map those that the draft has
  too, with the same names, axes, kinds and defaults. Fields that do nothing and that only files of
  former versions have aren't counted, nor are heads of classes that transformers lacks, since
  nothing that a draft reads shows them.
- *DECIDE*, *GUESS*: lines that are left to a person.

{summary}

"""
FOLDERS = """
## The folders

- *statements*: those of the graph, and statements and entries of the maps; at most 130.
- *outside*: modules of the package that import the folder, those of other folders left out.
- *noise ratio*: the largest of any layer on the [golden file](contribute/goldens.md); 1 is as
  good as the reference's own float32, above 8 is wrong.
- *export*: tensors of the golden files' checkpoints that come back byte-equal, through tasks and
  through the backbone.
- *faults*: [kinds that are tried](faults.md), and how many of them are caught, located and
  diagnosed.

"""
OTHERS = """
## Architectures that aren't

*Tensors* counts those of the model without a head that the map has. What isn't computed is left out
of a draft, or its graph isn't confirmed; either way a DECIDE line says so.

{summary}

{headers}

"""


def read() -> dict[str, Any]:
    """Return the stored measurements: of drafts by model type, of checks by golden file."""
    return json.loads(STORED.read_text("utf-8"))


def current(folders: Collection[str] | None = None) -> str:
    """Return the page by the stored measurements and the folders as they are.

    Args:
        folders: those that have rows; by default all.
    """
    return page(read(), folders)


def take_in(stored: dict[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Put measured rows in the place of the stored ones."""
    for row in rows:
        if "golden" in row:
            stored["checks"].setdefault(row["golden"], {})[row["backend"]] = row["noise"]
        elif "headers" in row:
            stored["headers"] = {**row["headers"], "tensors": row["tensors"]}
        elif "export" in row:
            stored["exports"][row["folder"]] = row["export"]
        else:
            stored["drafts"][row["model_type"]] = _short(row)
    for part in stored:
        stored[part] = dict(sorted(stored[part].items()))


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a measured draft."""
    kept = ("verified", "map", "config", "tensors", "DECIDE", "GUESS", "wrong_map", "wrong_config")
    found = {name: row[name] for name in kept if name in row}
    cause = row.get("refused") or row.get("error") or row.get("imports") or ""
    cause = cause or next((one for one in row.get("open", ()) if one.startswith("graph")), "")
    words = cause.removeprefix("graph: the draft doesn't compute what the reference does, ")
    words = words.removeprefix("graph: the draft can't be compared with the reference: ")
    words = re.sub(r"(from )?\S*checkpoint does not match the \S+ weight map: ", "tensors: ", words)
    words = re.sub(r"/tmp/\S*/(?=\S)|\x1b\[\d*m|\\x1b\[\d*m", "", words).replace("|", "/")
    words = " ".join(words.split())
    if len(words) > MAX_CAUSE:
        words = words[:MAX_CAUSE].rpartition(" ")[0] + " ..."
    return found | ({"cause": words} if words else {})


def page(stored: Mapping[str, Any], folders: Collection[str] | None = None) -> str:
    """Return the text of the page; for the arguments see `current`."""
    found = [a for a in architectures().values() if folders is None or a.name in folders]
    here = {
        source.model_type: name
        for architecture in found
        for name, own in architecture.goldens().items()
        for source in own.sources[:1]
    }
    known = {model_type: stored["drafts"].get(model_type, {}) for model_type in here}
    every = {t for a in architectures().values() for t in a.model_types}
    others = {t: row for t, row in stored["drafts"].items() if t not in every}
    return "".join([
        HEAD,
        HERE.format(summary=_summary(known.values(), [a.name for a in found])),
        _table(
            ("golden file", "model_type", "verified", "map", "config", "DECIDE", "GUESS"),
            [(f"`{here[t]}`", f"`{t}`", *_draft_cells(row)) for t, row in known.items()],
        ),
        FOLDERS,
        _table(
            ("folder", "statements", "outside", "noise ratio: JAX", "torch", "TensorFlow", "export",
             "faults", "caught", "located", "diagnosed", "presets"),
            [row for a in found for row in _folder_rows(a, stored)],
        ),
        OTHERS.format(
            summary=_others_summary(others.values()), headers=_headers(stored.get("headers", {}))
        ),
        _table(
            ("model_type", "verified", "tensors", "DECIDE", "GUESS", "what is missing"),
            [_other_cells(t, row) for t, row in others.items()],
        ),
    ])  # fmt: skip


# --- architectures that are here -----------------------------------------------------------------


def _summary(rows: Iterable[Mapping[str, Any]], folders: Iterable[str]) -> str:
    """Return the shares of all entries together."""
    drafted = [row for row in rows if "map" in row]
    shares = {name: _total(row[name] for row in drafted) for name in ("map", "config")}
    sizes = [architecture_size(MODELS / name) for name in folders]
    found = [f"{right} of {every} ({100 * right / every:.1f} %)" if every else "none"
             for right, every in shares.values()]  # fmt: skip
    return (
        f"Together {found[0]} entries of weight maps are right, and {found[1]} of config maps. "
        f"The median folder has {statistics.median(sizes):g} statements.\n\n{_left(drafted)}"
    )


def _left(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many drafts are verified, and the entries that a person writes after those."""
    verified = [row for row in rows if "graph" in row.get("verified", ())]
    totals = (_total((row["map"], row["config"])) for row in verified)
    left = [every - right for right, every in totals]
    return (
        f"{len(left)} formats are verified with no edit. Of their maps a person corrects the "
        f"entries that aren't right: {statistics.median(left or [0]):g} in the median format, and "
        f"{max(left, default=0)} at most."
    )


def _total(counts: Iterable[str]) -> tuple[int, int]:
    pairs = [tuple(map(int, count.split("/"))) for count in counts]
    return sum(right for right, _ in pairs), sum(every for _, every in pairs)


def _draft_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if not row or "map" not in row:
        return (row.get("cause") or "not measured", *["–"] * 4)
    return (_verified(row), *(str(row[name]) for name in ("map", "config", "DECIDE", "GUESS")))


def _verified(row: Mapping[str, Any]) -> str:
    names = ("graph", "masked_lm", "causal_lm", "seq2seq_lm", "text_classifier")
    return ", ".join(name for name in names if name in row.get("verified", ())) or "no"


def _folder_rows(architecture: Architecture, stored: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the row of each golden file of a folder, the first with what is the folder's."""
    faults = FAULTS.read_text("utf-8")
    for name in architecture.goldens():
        is_first = name == architecture.name
        own = (architecture_size(MODELS / name), len(outside(name))) if is_first else ("", "")
        checks = stored["checks"].get(name, {})
        noise = (f"{checks[b]:.2g}" if b in checks else "–" for b in BACKENDS)
        found = re.search(rf"^## {name}\n\n(\d+) kinds: (.+)\n", faults, re.MULTILINE)
        shares = [f"{n} %" for n in PERCENT.findall(found[2])] if found else ["–"] * 3
        yield [
            f"`{name}`" if is_first else f"with `{name}`", *own, *noise,
            stored["exports"].get(name, "–") if is_first else "", found[1] if found else "–",
            *shares, len(architecture.presets) if is_first else "",
        ]  # fmt: skip


def outside(name: str) -> list[str]:
    """Return the modules of the package, but for those of other folders, that import a folder."""
    folders = {MODELS / folder for folder in architectures()}
    module = f"inarch.models.{name}"
    found = []
    for path in sorted(MODELS.parent.rglob("*.py")):
        if folders.isdisjoint(path.parents) and module in path.read_text("utf-8"):
            names = (
                n
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                for n in _imported(node)
            )  # fmt: skip
            if any(n == module or n.startswith(f"{module}.") for n in names):
                found.append(str(path.relative_to(MODELS.parent)))
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


# --- others --------------------------------------------------------------------------------------


def _others_summary(rows: Iterable[Mapping[str, Any]]) -> str:
    found = list(rows)
    right = [row for row in found if "graph" in row.get("verified", ())]
    refused = [row for row in found if "tensors" not in row]
    placed, every = _total(row["tensors"] for row in found if "tensors" in row)
    return (
        f"Of {len(found)} model types {len(right)} compute the reference's values without an "
        f"edit, and of {len(refused)} no tiny reference runs, so that a header has to show the "
        f"tensors. {placed} of {every} tensors of the others have a place in a map."
    )


def _headers(counts: Mapping[str, Any]) -> str:
    """Return what `benchmarks/port_headers.py` has counted."""
    if not counts:
        return "Headers alone are not measured."
    tensors = counts["tensors"]
    share = 100 * tensors["explained"] / tensors["every"]
    return (
        f"From a header and a config alone, without transformers: of {counts['types']} model types "
        f"that it can build here, {counts['types'] - counts.get('failed', 0)} get a folder that "
        f"imports. {counts['built']} of these are built of bricks, which is no proof, and the "
        f"model of {counts['missing']} raises `MissingLayerError` with the tensors for which a "
        f"layer must be written. `inspect` explains at least 90 % of the tensors of "
        f"{counts['explained']} of them, and {share:.1f} % of all "
        "(`python benchmarks/port_headers.py`)."
    )


def _other_cells(model_type: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = (row.get(name, "–") for name in ("tensors", "DECIDE", "GUESS"))
    return (f"`{model_type}`", _verified(row), *counts, row.get("cause", "–"))


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(names)
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    measured = read() if STORED.is_file() else {"drafts": {}, "checks": {}, "exports": {}}
    for file in sys.argv[2:]:
        lines = Path(file).read_text("utf-8").splitlines()
        take_in(measured, [json.loads(line) for line in lines if line.startswith("{")])
        STORED.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", "utf-8")
    Path(sys.argv[1]).write_text(page(measured), "utf-8")
