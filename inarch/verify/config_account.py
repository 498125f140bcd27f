"""Hold a config map to the reads that a golden file records."""

from __future__ import annotations

from inarch.checkpoints.maps.common_fields import ANYWHERE, COMMON
from inarch.checkpoints.maps.config_map import FILLED
from inarch.checkpoints.maps.fields import ConfigEntry, Field, Ignored, MustBe
from inarch.checkpoints.maps.foreign_fields import foreign_fields
from inarch.checkpoints.maps.source import Source
from inarch.verify.config_reads import BASE, ConfigReads


def unaccounted(source: Source, reads: ConfigReads) -> list[str]:
    """Return a line for each field that the reference reads and the config map lacks.

    Tokens of the inputs and text generation need no entry unless modeling code reads them, nor
    does a field that is refused for what other architectures do with it.
    """
    own = _names(_entries(source))
    anywhere, common = own | _names(ANYWHERE), own | _names(COMMON) | FILLED.keys()
    lines = []
    for head, fields in reads.modeling.items():
        who = "the base model" if head == BASE else f"head {head}"
        for name in fields:
            default = f", else {reads.absent[name]!r}" if name in reads.absent else ""
            if name not in anywhere:
                lines.append(f"{who} reads {name!r}{default}")
    for name in reads.elsewhere:
        if name not in common and not foreign_fields().has(name):
            lines.append(f"code for all models reads {name!r}")
    known = {e.theirs: e.aliases for e in _entries(source) if isinstance(e, Field)}
    for alias, name in reads.aliases.items():
        if name in known and alias not in known[name]:
            lines.append(f"{alias!r} is taken for {name!r}, which has no such alias")
    return lines


def unread(source: Source, reads: ConfigReads) -> list[str]:
    """Return each field that the map computes or fixes and that the reference never reads.

    One with a reason is none of them.
    """
    read = {*reads.elsewhere, *(name for names in reads.modeling.values() for name in names)}
    return [
        entry.theirs
        for entry in _entries(source)
        if isinstance(entry, Field | MustBe)
        and _root(entry.theirs) not in read
        and not entry.reason
    ]


def _entries(source: Source) -> tuple[ConfigEntry, ...]:
    return (*source.config_map.entries, *source.config_map.elsewhere)


def _root(name: str) -> str:
    """Return the field of the config itself that a field is, or that holds it."""
    return name.partition(".")[0]


def _names(entries: tuple[ConfigEntry, ...]) -> set[str]:
    names: set[str] = set()
    for entry in entries:
        if isinstance(entry, Ignored):
            names.update(map(_root, entry.theirs))
        elif isinstance(entry, Field):
            names.update(map(_root, entry.known_names))
        elif isinstance(entry, MustBe):
            names.add(_root(entry.theirs))
    return names
