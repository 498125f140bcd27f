"""Steps of a check that look at files: the folder, the golden files, and the pages of the docs."""

from __future__ import annotations

from collections.abc import Iterator

from inarch.models.loading import Checkpoint
from inarch.port import laws
from inarch.port.outcome import Outcome, Tally
from inarch.port.subjects import NotRun, Subjects
from inarch.validation import listed
from inarch.verify.config_account import unaccounted, unread
from inarch.verify.golden import LIMIT
from inarch.workflows.verification import GOLDEN_HEADS


def folder(subjects: Subjects, tally: Tally) -> Outcome:
    """Import the folder, and hold its formats to its table and to those of other folders."""
    known = subjects.architecture
    lines = laws.foreign_formats(known)
    types = ", ".join(known.model_types)
    return Outcome(f"{known.backbone.__name__} reads {types}", tuple(lines))


def config(subjects: Subjects, tally: Tally) -> Outcome:
    """Hold the config map to the fields that the reference reads, and to the constructor."""
    known = subjects.architecture
    lines, reads = laws.unmapped_arguments(known), subjects.reads
    count = tally.fields
    for name, variant in known.goldens().items():
        for source in variant.sources:
            wrong = [f"{source.model_type}: {line}" for line in unaccounted(source, reads[name])]
            wrong += [
                f"{source.model_type}: the map has {field!r}, which is never read"
                for field in unread(source, reads[name])
            ]
            fields = sum(map(len, reads[name].modeling.values())) + len(source.config)
            count.total += fields
            count.right += max(fields - len(wrong), 0)
            lines += wrong
        if name in subjects.goldens:
            lines += laws.other_defaults(variant, subjects.goldens[name], name == known.name)
    return Outcome(f"{count.total} fields and entries accounted for", tuple(lines))


def golden(subjects: Subjects, tally: Tally) -> Outcome:
    """Hold the golden files to the folder: its formats, sizes, arguments and heads."""
    lines, absent = [], []
    for name, known in subjects.architecture.goldens().items():
        path = subjects.golden_path(name)
        stored = subjects.goldens.get(name)
        if name in subjects.unreadable:
            lines.append(subjects.unreadable[name])
        elif stored is None:
            absent.append(str(path))
        else:
            source = known.sources[0]
            if stored.model_type != source.model_type:
                lines.append(f"{path} is of {stored.model_type}, not of {source.model_type}")
                continue
            lines += _outdated(subjects, name)
    if absent and not lines:
        raise NotRun(f"not there yet: {listed(absent)}; `inarch port finish` writes it")
    return Outcome(f"{listed([*subjects.goldens])} of what the folder says", tuple(lines))


def _outdated(subjects: Subjects, name: str) -> Iterator[str]:
    """Iterate over what a golden file has otherwise than its folder."""
    known, stored = subjects.architecture.goldens()[name], subjects.goldens[name]
    source, path = known.sources[0], subjects.golden_path(name)
    (subject,) = (s for s in subjects.all if s.name == name)
    with Checkpoint(subject.folder) as checkpoint:
        arguments = checkpoint.arguments()
    for argument, value in known.tiny.items():
        found = arguments.get(argument)
        if found != (tuple(value) if isinstance(value, list) else value):
            yield f"{path} has {argument}={found!r}, and [tiny] {value!r}"
    wanted = {"", *(head for head in GOLDEN_HEADS if head in source.heads)}
    if stored.runs.keys() != wanted:
        runs = ", ".join(filter(None, stored.runs)) or "none"
        heads = ", ".join(filter(None, sorted(wanted))) or "none"
        yield f"{path} has the heads {runs}, and the map {heads}"
    if (size := path.stat().st_size) > LIMIT:
        yield f"{path} has {size:,} bytes, of {LIMIT:,} allowed"


def sizes(subjects: Subjects, tally: Tally) -> Outcome:
    """Hold the folder's files to their sizes."""
    lines = laws.oversized(subjects.folder)
    size = laws.architecture_size(subjects.folder)
    return Outcome(f"{size} statements and entries, of {laws.MAX_SIZE}", tuple(lines))


def presets(subjects: Subjects, tally: Tally) -> Outcome:
    """Hold the built-in names to what each of them needs."""
    lines = laws.faulty_presets(subjects.architecture)
    return Outcome(f"{len(subjects.architecture.presets)} presets", tuple(lines))


def decided(subjects: Subjects, tally: Tally) -> Outcome:
    """Look for marks of a draft that nobody has decided on."""
    return Outcome("no mark of a draft is left", tuple(laws.undecided(subjects.folder)))
