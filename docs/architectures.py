"""Write one page per architecture from its folder: config, presets, weight map, verification.

The documentation's build runs it. `python docs/architectures.py README.md` writes that file's
table of architectures anew.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from inarch.checkpoints.maps.entries import ZEROS, Derived, Entry, Rule, Tied, Zeros
from inarch.checkpoints.maps.fields import ConfigEntry, Constant, Field, Ignored, MustMatch
from inarch.checkpoints.maps.per_layer import EveryNthBut, PerLayer
from inarch.checkpoints.maps.source import Source
from inarch.models.registry import Architecture, architectures
from inarch.verify.report_text import layer_table, number
from inarch.workflows.verification import verify_golden

DOCS = Path(__file__).parent
GOLDENS = DOCS.parent / "tests" / "golden"
FAULTS = DOCS / "faults.md"
# What was measured on a published checkpoint, with the command, where there is such a page.
MEASURED = DOCS / "measured"
ROWS = re.compile(r"^\| folder .*?(?=\n\n)", re.MULTILINE | re.DOTALL)


def write(folder: Path) -> None:
    """Write an index and the pages into `folder`."""
    folder.mkdir(exist_ok=True)
    found = architectures()
    rows = [
        (f"[{name}]({name}.md)", f"`{a.backbone.__name__}`", _formats(a), _others(a))
        for name, a in found.items()
    ]
    table = _table(("architecture", "class", "model_type", "other formats"), rows)
    names = "\n".join(found)
    contents = f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    (folder / "index.md").write_text(f"# Architectures\n\n{INTRO}\n{table}\n{contents}", "utf-8")
    for name, architecture in found.items():
        (folder / f"{name}.md").write_text("\n".join(_page(architecture)), "utf-8")
    classes = "\n".join(_class(a.backbone, a.sources[0].heads) for a in found.values())
    (folder / "backbones.txt").write_text(f"```{{eval-rst}}\n{classes}```\n", "utf-8")


def with_table(readme: str) -> str:
    """Return the README with the rows of its table of architectures as the folders are."""
    rows = [
        (
            f"`inarch/models/{name}`", f"`{a.backbone.__name__}`", _formats(a), _others(a),
            ", ".join(f"`{head}`" for head in _heads(a.backbone, a.sources[0].heads)),
            len(a.presets),
        )
        for name, a in architectures().items()
    ]  # fmt: skip
    names = ("folder", "backbone", "`model_type`", "other formats", "heads", "presets")
    return ROWS.sub(lambda _: _table(names, rows).rstrip(), readme)


INTRO = """Each page is made from the architecture's own folder: from the table that loads and
writes its checkpoints, and from the report of its verification.
"""
NAMES = """In the tables of the formats *theirs* is a name in the checkpoint, *ours* an argument or
a variable of the model. [The map language](../map-language.md) explains the entries and their axes.
"""


def _page(architecture: Architecture) -> Iterator[str]:
    cls = architecture.backbone
    yield f"# {architecture.name}\n"
    yield f"`{cls.__module__}.{cls.__name__}`\n"
    yield _first_paragraph(cls)
    yield "## Presets\n"
    yield _table(
        ("name, id on the hub", "parameters", "licence", "what it is"),
        [
            (f"`{p.name}`<br>`{p.hub}`", f"{p.parameters:,}", p.licence, p.description)
            for p in architecture.presets.values()
        ],
    )
    yield "## Verification\n"
    for name in architecture.goldens():
        yield from _verified(name, architecture.name)
    written = architecture.sources[0]
    yield NAMES
    for source in architecture.sources:
        yield f"## Format: {source.model_type}\n"
        yield f"Class of the bare model: `{source.architecture}`. Prefix: `{source.prefix}`.\n"
        if source is not written and source.weights == written.weights:
            yield f"The weight map is that of {written.model_type}.\n"
        yield from _format(source, source is written or source.weights != written.weights)
    for author_format in architecture.author_formats:
        yield f"## Format: {author_format.name}\n"
        files = ", ".join(f"`{name}`" for name in author_format.files)
        yield (
            f"A folder with {files} is read in this format, and saved in Hugging Face's: "
            "[Author formats](../author-formats.md).\n"
        )
        yield from _format(author_format.table, True)


def _formats(architecture: Architecture) -> str:
    return ", ".join(f"`{source.model_type}`" for source in architecture.sources)


def _others(architecture: Architecture) -> str:
    return "; ".join(author_format.name for author_format in architecture.author_formats)


def _heads(cls: type, known: Iterable[str]) -> list[str]:
    return [name for name in known if hasattr(cls, name)]


def _class(cls: type, known: Iterable[str]) -> str:
    """Return a backbone's entry in the API reference."""
    members = ", ".join(_heads(cls, known))
    return f".. autoclass:: inarch.{cls.__name__}\n   :members: {members}\n"


def _first_paragraph(cls: type) -> str:
    first, _, rest = (inspect.getdoc(cls) or "").partition("\n\n")
    return f"{first}\n\n{rest.partition('Args:')[0].strip()}\n".replace("`\n`", "` `")


# --- verification ------------------------------------------------------------------------------


def _verified(name: str, folder: str) -> Iterator[str]:
    """Yield the verification by a golden file, that of the folder or of one of its formats."""
    if name != folder:
        yield f"### {name}\n"
    report = verify_golden(GOLDENS / f"{name}.safetensors")
    yield (
        "Each layer against the reference, on the [golden file](../verify.md#golden-files); 1 is "
        f"as good as the reference's own float32, above {report.threshold:g} is wrong. The "
        f"reference is transformers {report.about['transformers']}.\n"
    )
    yield _table(
        ("layer", "largest noise ratio", "on the reference's own values"),
        [
            (f"`{r.layer or 'outputs'}`", number(r.worst.ratio), number(r.local_ratio))
            for r in layer_table(report)
        ],
    )
    found = re.search(rf"^## {name}\n\n(.+)\n", FAULTS.read_text("utf-8"), re.MULTILINE)
    if found:
        yield (
            f"[Faults](../faults.md#{name}) are put into the model to verify the verification. "
            f"{found[1]}\n"
        )
    if (MEASURED / f"{name}.md").is_file():
        yield f"```{{include}} ../measured/{name}.md\n```\n"


# --- a format ----------------------------------------------------------------------------------


def _format(source: Source, whole: bool) -> Iterator[str]:
    yield "### Config\n"
    yield _table(("theirs", "ours", "default"), [_field(entry) for entry in source.config])
    if not whole:
        return
    yield "### Weights\n"
    yield from _weights(source.weights)
    for part, entries in source.optional_layers.items():
        yield f"With `{part}=True`, true where the file has these:\n"
        yield from _weights(entries)
    for name, head in source.heads.items():
        yield f"### Head: {name}\n"
        yield f"The head of {', '.join(f'`{a}`' for a in head.architectures)}.\n"
        if head.config:
            yield _table(("theirs", "ours", "default"), [_field(entry) for entry in head.config])
        yield from _weights(head.weights)
        if head.tied:
            yield "With tied embeddings:\n"
            yield from _weights(head.tied)
        if head.untied:
            yield "Without tied embeddings:\n"
            yield from _weights(head.untied)


def _field(entry: ConfigEntry) -> tuple[str, str, str]:
    if isinstance(entry, Field):
        values = entry.values
        renamed = values and any(a != b for a, b in values.items())
        choices = f" (one of {len(values)} known values)" if values and renamed else ""
        default = "required" if entry.is_required else f"`{entry.default!r}`"
        if isinstance(entry, PerLayer) and entry.older:
            default = f"by `{entry.older.theirs}`"
        if isinstance(entry, EveryNthBut):
            default = f"none, of those by `{entry.step.theirs}`"
        return f"`{entry.theirs}`", f"`{entry.ours}`{choices}", default
    if isinstance(entry, Constant):
        return "no field", f"`{entry.ours}`", f"`{entry.value!r}`"
    if isinstance(entry, Ignored):
        return ", ".join(f"`{n}`" for n in entry.theirs), f"no part: {entry.reason}", ""
    if isinstance(entry, MustMatch):
        return f"`{entry.theirs}`", "refused unless it is what other fields imply", ""
    others = " or ".join(f"`{value!r}`" for value in entry.values)
    return f"`{entry.theirs}`", f"refused unless {others}", f"`{entry.values[0]!r}`"


def _weights(entries: Iterable[Entry]) -> Iterator[str]:
    """Return a table of the entries outside the layers, and one for each stack of layers."""
    for (theirs, ours, count), group in itertools.groupby(entries, _stack):
        if theirs:
            layers = f"layer of `{count}`" if "[" in count else "layer"
            yield f"For each {layers}, below `{theirs}` and `{ours}`:\n"
        rows = [_entry(entry, len(theirs), len(ours)) for entry in group]
        yield _table(("theirs", "axes", "ours"), rows)


def _stack(entry: Entry) -> tuple[str, str, str]:
    """Return the begin of the names on each side, up to the layer's number, and its count."""
    starts = (re.match(r".*\{i\}.", names[0]) for names in (entry.theirs, _ours(entry)) if names)
    begun = [start[0] for start in starts if start]
    count = next((count.text for name, count in entry.indices if name == "i"), "")
    return (begun[0], begun[1], count) if len(begun) == 2 else ("", "", "")


def _ours(entry: Entry) -> tuple[str, ...]:
    return entry.ours if isinstance(entry, Rule | Zeros) else ()


def _entry(entry: Entry, theirs_from: int, ours_from: int) -> tuple[str, str, str]:
    theirs = "<br>".join(f"`{name[theirs_from:]}`" for name in entry.theirs) or "nothing"
    ours = "<br>".join(
        "nothing: zeros" if name == ZEROS else f"`{name[ours_from:]}`" for name in _ours(entry)
    )
    if isinstance(entry, Rule):
        return theirs, f"`{entry.pattern}`", ours + (" (in some configs)" if entry.when else "")
    if isinstance(entry, Tied):
        return theirs, "tied", f"a copy of `{entry.to.removeprefix('.')}`"
    if isinstance(entry, Derived):
        return theirs, "derived", entry.reason
    if isinstance(entry, Zeros):
        return theirs, "zeros", f"{ours}: {entry.reason}"
    return theirs, "unused", entry.reason


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
