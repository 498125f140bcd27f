"""A `Source` is one published format of one architecture: config map, weight map and heads."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.checkpoints.config import ConfigEntry
from inarch.checkpoints.config_map import ConfigMap, read_fields
from inarch.checkpoints.pattern import Pattern, Shape
from inarch.checkpoints.rule import (
    Derived,
    Entry,
    Rule,
    Tied,
    Unused,
    Zeros,
    expanded,
    holds,
    prefixed,
)
from inarch.checkpoints.weights import TensorInfo
from inarch.errors import ConfigError, WeightMapError

# So many tensors are named in each line of an error.
MOST_NAMED = 12


@dataclass(frozen=True)
class Head:
    """What a task's original adds to the backbone.

    Args:
        architectures: class names in `config.json`; the first is the one a new export gets.
        weights: the head's own weight map. Names are the file's, without the backbone's prefix.
        tied: entries that hold when `tie_word_embeddings` is true, as it is by default.
        untied: entries that hold instead when it is false.
        config: config fields that are this head's.
        needs: parts of the backbone that the head reads.
    """

    architectures: tuple[str, ...]
    weights: list[Entry] = field(default_factory=list)
    tied: list[Entry] = field(default_factory=list)
    untied: list[Entry] = field(default_factory=list)
    config: list[ConfigEntry] = field(default_factory=list)
    needs: tuple[str, ...] = ()

    def entries(self, tie: bool) -> list[Entry]:
        return [*self.weights, *(self.tied if tie else self.untied)]


@dataclass(frozen=True)
class Source:
    """One published format of one architecture.

    Args:
        model_type: the `model_type` of its `config.json`.
        architecture: class name that `config.json` has for the backbone alone.
        prefix: what precedes the backbone's tensors in a file that also holds a head. Files
            with and without it are read.
        config: the config map.
        weights: the backbone's weight map.
        parts: optional pieces of the backbone, such as BERT's pooler. Each is also a boolean
            argument of the backbone: true where the file has the piece.
        heads: by the name of the task that uses them; other heads are known so as to be carried.
        aside: what isn't the model's, such as an optimizer's state: patterns of whole names
            (`"*/adam_m"`), each with the reason.
        published: fields that the published checkpoints set where the original's own defaults
            are others. Our constructor's defaults are these.
    """

    model_type: str
    architecture: str
    prefix: str
    config: list[ConfigEntry]
    weights: list[Entry]
    parts: Mapping[str, list[Entry]] = field(default_factory=dict)
    heads: Mapping[str, Head] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config_map(self) -> ConfigMap:
        elsewhere = (entry for head in self.heads.values() for entry in head.config)
        return ConfigMap(tuple(self.config), tuple(elsewhere), self.model_type)

    def arguments(
        self, config: Mapping[str, Any], names: Iterable[str], ignored: Collection[str] = ()
    ) -> dict[str, Any]:
        """Our backbone's arguments, from their config and the names in their weight file.

        Args:
            ignored: fields that are taken as absent from the config.

        Raises:
            ConfigError: a field can't be computed as it stands, or the file has too few tensors
                for the layers that there should be.
        """
        arguments = self.config_map.arguments(config, ignored=ignored)
        names = set(names)
        for count in {entry.count for entry in self.weights if entry.count}:
            if 0 < len(names) < arguments[count]:
                raise ConfigError(
                    f"{count} is {arguments[count]:,} by the config, and the file has but "
                    f"{len(names):,} tensors; the two are of different models"
                )
        for part, entries in self.parts.items():
            mine = {name for entry in expanded(entries, arguments) for name in entry.theirs}
            arguments[part] = not names.isdisjoint(mine | {self.prefix + name for name in mine})
        return arguments

    def head_arguments(self, head: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Our head's arguments from their config."""
        return read_fields(self.heads[head].config, config)

    def holds_head(self, head: str, config: Mapping[str, Any], names: Iterable[str]) -> bool:
        """Whether a checkpoint holds the weights of `head`.

        The class that wrote it decides where it is one of ours; several heads share names.
        """
        named = config.get("architectures")
        written = {a for a in named if isinstance(a, str)} if isinstance(named, list) else set()
        known = {a for other in self.heads.values() for a in other.architectures}
        if written & known:
            return not written.isdisjoint(self.heads[head].architectures)
        entries = self.heads[head].weights
        if any(e.when for e in entries):
            arguments = read_fields(self.config, config)
            entries = [e for e in entries if holds(e, arguments)]
        wanted = {n for e in entries if isinstance(e, Rule) for n in e.theirs}
        return bool(wanted) and wanted <= set(names)


@dataclass(frozen=True)
class Plan:
    """A weight map matched with one file and one model, name by name.

    `theirs` of every rule are spelled as the file has them. `carried` are tensors that no
    variable of this model holds: they are kept as they are and written back, with the reason.
    `zeros` are variables that the original has nothing of.
    """

    rules: tuple[Rule, ...]
    ties: dict[str, str]
    derived: dict[str, Derived]
    carried: dict[str, str]
    zeros: tuple[str, ...] = ()

    def rule_of(self) -> dict[str, Rule]:
        return {name: rule for rule in self.rules for name in rule.theirs}


def match(
    source: Source,
    header: Mapping[str, TensorInfo],
    ours: Mapping[str, tuple[int, ...]] | None,
    arguments: Mapping[str, Any],
    head: str | None = None,
    tie: bool = True,
    where: str = "the checkpoint",
) -> Plan:
    """Pair every tensor of `header` with the variables `ours` (names and shapes).

    Args:
        ours: None where there is no model yet and the file's side alone is looked at.
        arguments: the backbone's arguments (its counts and parts).
        head: the head whose variables are among `ours` and whose weights are to be read.
        tie: whether the output and input embeddings are one variable.

    Raises:
        WeightMapError: tensors that are missing, unknown or of another shape, and variables
            that nothing fills, all kinds in one message; of many of a kind the first are named.
    """
    prefix = source.prefix if any(n.startswith(source.prefix) for n in header) else ""
    active, carried = _entries(source, prefix, arguments, head, tie)
    rules = tuple(_as_spelled(e, header) for e in active if isinstance(e, Rule))
    ties = {e.theirs[0]: e.to for e in active if isinstance(e, Tied) and e.theirs[0] in header}
    derived = {e.theirs[0]: e for e in active if isinstance(e, Derived) and e.theirs[0] in header}
    mapped = {name for rule in rules for name in rule.theirs}
    carried |= {n: why for glob, why in source.aside.items() for n in fnmatch.filter(header, glob)}
    carried = {n: why for n, why in carried.items() if n in header and n not in mapped}
    known = {*mapped, *ties, *derived, *carried}
    empty = tuple(name for e in active if isinstance(e, Zeros) for name in e.ours)
    filled = {*empty, *(name for rule in rules for name in rule.variables)}
    unused = [n for e in active if isinstance(e, Unused) for n in e.theirs]
    problems = {
        "mapped more than once": [
            *_repeated([*(n for rule in rules for n in rule.theirs), *ties, *derived, *unused]),
            *_repeated([*empty, *(n for rule in rules for n in rule.variables)]),
        ],
        "missing from the file": sorted(mapped - header.keys()),
        "unknown in the file": sorted(header.keys() - known),
    }
    if ours is not None:
        problems |= {
            "variables that nothing fills": sorted(ours.keys() - filled),
            "variables that the model lacks": sorted(filled - ours.keys()),
            "of another shape": _misfits(rules, header, ours),
        }
    if any(problems.values()):
        lines = [f"\n  {what}: {_listed(names)}" for what, names in problems.items() if names]
        raise WeightMapError(
            f"{where} does not match the {source.model_type} weight map:{''.join(lines)}"
        )
    return Plan(rules, ties, derived, carried, empty)


def _listed(names: list[str]) -> str:
    """Names for a reader, who sees from the first few what all are about."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _repeated(names: list[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def canonical(
    source: Source, arguments: Mapping[str, Any], head: str | None, tie: bool
) -> tuple[list[Rule], dict[str, str]]:
    """The rules of a file written from nothing, with the prefix iff there is a head.

    Beside them, the unused tensors that the original expects all the same, with the name of the
    one whose shape each has.
    """
    prefix = source.prefix if head else ""
    active, _ = _entries(source, prefix, arguments, head, tie)
    idle = {e.theirs[0]: e.like for e in active if isinstance(e, Unused) and e.like}
    return [entry for entry in active if isinstance(entry, Rule)], idle


def _entries(
    source: Source, prefix: str, arguments: Mapping[str, Any], head: str | None, tie: bool
) -> tuple[list[Entry], dict[str, str]]:
    """The entries in force, and the names that are carried, with the reason for each."""
    backbone = list(source.weights)
    carried: dict[str, str] = {}
    for part, entries in source.parts.items():
        if arguments.get(part):
            backbone += entries
        else:
            carried |= {prefix + n: f"{part} not used" for e in entries for n in _spellings(e)}
    active = [prefixed(entry, prefix) for entry in expanded(backbone, arguments)]
    for name, other in source.heads.items():
        everything = [*other.weights, *other.tied, *other.untied]
        if name == head:
            active += [_rooted(e, prefix) for e in expanded(other.entries(tie), arguments)]
            everything = [e for e in everything if not holds(e, arguments)]
        for entry in expanded([replace(e, when=None) for e in everything], arguments):
            carried |= dict.fromkeys(_spellings(entry), f"head {name}")
    carried |= {n: e.reason for e in active if isinstance(e, Unused) for n in e.theirs}
    return active, carried


def _spellings(entry: Entry) -> list[str]:
    """Every name that a file may have for the tensors of an entry."""
    older = entry.legacy if isinstance(entry, Rule) else ()
    return [*entry.theirs, *(name for names in older for name in names)]


def _rooted(entry: Entry, prefix: str) -> Entry:
    """A head's entry; a tie of a head points into the backbone by a name starting with '.'."""
    if isinstance(entry, Tied) and entry.to.startswith("."):
        return Tied(entry.theirs, prefix + entry.to[1:])
    return entry


def _as_spelled(rule: Rule, header: Mapping[str, TensorInfo]) -> Rule:
    """The rule with their names as the file spells them, legacy spellings included."""
    if not rule.legacy:
        return rule
    names = tuple(
        next((n for n in (name, *older) if n in header), name)
        for name, older in zip(rule.theirs, rule.legacy, strict=True)
    )
    return Rule(names, rule.ours, rule.pattern)


def _misfits(
    rules: Iterable[Rule], header: Mapping[str, TensorInfo], ours: Mapping[str, tuple[int, ...]]
) -> list[str]:
    found = []
    for rule in rules:
        if any(n not in header for n in rule.theirs) or any(n not in ours for n in rule.variables):
            continue
        theirs = [header[name].shape for name in rule.theirs]
        try:
            Pattern.parse(rule.pattern).sizes(theirs, rule.our_shapes(theirs, ours))
        except WeightMapError:
            wanted = _wanted(rule, theirs, ours)
            found.append(
                f"{' + '.join(rule.theirs)} {_alone(theirs)} for {' + '.join(rule.variables)}"
                + (f", where the file should have {_alone(wanted)}" if wanted else "")
            )
    return found


def _wanted(
    rule: Rule, theirs: Sequence[Shape], ours: Mapping[str, tuple[int, ...]]
) -> list[Shape] | None:
    """The shapes that their tensors should have, in their own order of axes, if that is known."""
    pattern = Pattern.parse(rule.pattern)
    try:
        return pattern.their_shapes(pattern.sizes(None, rule.our_shapes(theirs, ours)))
    except WeightMapError:
        return None


def _alone(shapes: list[Shape]) -> Shape | list[Shape]:
    return shapes[0] if len(shapes) == 1 else shapes
