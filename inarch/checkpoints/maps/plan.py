"""A weight map matched with one file and one model, name by name."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.count_hints import count_hints
from inarch.checkpoints.maps.entries import (
    Derived,
    Entry,
    Rule,
    Tied,
    Unused,
    Zeros,
    expand,
    holds,
    prefixed,
    spellings,
)
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.checkpoints.maps.source import Source
from inarch.errors import WeightMapError
from inarch.validation import listed

# Reason of a tensor that passes through and no map lists.
UNKNOWN_HEAD = "unknown head"


@dataclass(frozen=True)
class Plan:
    """A weight map matched with one file and one model, name by name.

    `theirs` of every rule are spelled as the file has them. `passthrough` are tensors that no
    variable of this model holds: they are kept as they are and written back, with the reason.
    `zeros` are variables that the reference has nothing of.
    """

    rules: tuple[Rule, ...]
    ties: dict[str, str]
    derived: dict[str, Derived]
    passthrough: dict[str, str]
    zeros: tuple[str, ...] = ()

    @property
    def unknown(self) -> list[str]:
        """The tensors that pass through and no map lists."""
        return [name for name, reason in self.passthrough.items() if reason == UNKNOWN_HEAD]

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
            that nothing fills, all faults in one message; of many alike the first are named.
    """
    prefix, active, plan = pair(source, header, arguments, head, tie)
    rules, ties, passthrough = plan.rules, plan.ties, plan.passthrough
    theirs = [name for rule in rules for name in rule.theirs]
    mapped = {*theirs}
    unknown = sorted(header.keys() - {*mapped, *ties, *plan.derived, *passthrough})
    outside = [n for n in unknown if not _is_inside(n, source, prefix, head, tie)]
    filled = [*plan.zeros, *(name for rule in rules for name in rule.variables)]
    unused = [n for e in active if isinstance(e, Unused) for n in e.theirs]
    problems = {
        "mapped more than once": _repeated([*theirs, *ties, *plan.derived, *unused])
        + _repeated(filled),
        "missing from the file": sorted(mapped - header.keys()),
        "unknown in the file": [n for n in unknown if n not in outside],
    }
    if ours is not None:
        problems |= {
            "variables that nothing fills": sorted(ours.keys() - {*filled}),
            "variables that the model lacks": sorted({*filled} - ours.keys()),
            "of another shape": misfits(rules, header, ours),
        }
    if any(problems.values()):
        problems["unknown in the file"] = unknown  # one outside may be what is missing inside
        raise _mismatch(where, source, prefix, header, arguments, problems)
    passthrough |= dict.fromkeys(outside, UNKNOWN_HEAD)
    return plan


def pair(
    source: Source,
    header: Mapping[str, TensorInfo],
    arguments: Mapping[str, Any],
    head: str | None,
    tie: bool,
) -> tuple[str, list[Entry], Plan]:
    """Return the prefix, the entries in force, and a plan in the file's names, right or wrong."""
    prefix = source.prefix_in(header) or ""
    active, passthrough = _entries(source, prefix, arguments, head, tie)
    aliases = _aliases(source, prefix, arguments, active, tie)
    spelled = [_resolve_spelling(e, header, aliases) for e in active if isinstance(e, Rule)]
    rules = tuple(rule for rule, _ in spelled)
    names = {name: found for _, changed in spelled for name, found in changed.items()}
    mapped = {name for rule in rules for name in rule.theirs}
    ties = {
        e.theirs[0]: names.get(e.to, e.to)
        for e in active
        if isinstance(e, Tied) and e.theirs[0] in header and e.theirs[0] not in mapped
    }
    derived = {e.theirs[0]: e for e in active if isinstance(e, Derived) and e.theirs[0] in header}
    for glob, why in source.ignored_tensors.items():
        passthrough |= dict.fromkeys(fnmatch.filter(header, glob), why)
    passthrough = {n: why for n, why in passthrough.items() if n in header and n not in mapped}
    empty = tuple(name for e in active if isinstance(e, Zeros) for name in e.ours)
    return prefix, active, Plan(rules, ties, derived, passthrough, empty)


def _mismatch(
    where: str,
    source: Source,
    prefix: str,
    header: Mapping[str, TensorInfo],
    arguments: Mapping[str, Any],
    problems: Mapping[str, list[str]],
) -> WeightMapError:
    lines = [f"\n  {what}: {listed(names)}" for what, names in problems.items() if names]
    bare = (name.removeprefix(prefix) for name in header)
    hints = count_hints(source.weights, source.config, bare, arguments)
    lines += [f"\n  {hint}" for hint in hints]
    wrapper = {name.partition(".")[0] for name in header}
    if len(wrapper) == 1 and source.prefix_in(header) is None:
        (name,) = wrapper
        lines.append(
            f"\n  every name begins with '{name}.', as of a model within another: save the inner "
            f"one, or take '{name}.' off the names"
        )
    return WeightMapError(
        f"{where} does not match the {source.model_type} weight map:{''.join(lines)}"
    )


def _is_inside(name: str, source: Source, prefix: str, head: str | None, tie: bool) -> bool:
    """Return whether a name is one that the backbone or the head in use has to account for."""
    if source.strict:
        return True
    if prefix and name.startswith(prefix):
        return True
    backbone = [
        *source.weights,
        *(e for entries in source.optional_layers.values() for e in entries),
    ]
    if not prefix and name.partition(".")[0] in {
        n.partition(".")[0] for e in backbone for n in spellings(e)
    }:
        return True
    mine = [n for e in source.heads[head].entries(tie) for n in spellings(e)] if head else []
    parents = {n.rpartition(".")[0] for n in mine}
    return any(name.startswith(f"{parent}.") for parent in parents if parent)


def _aliases(
    source: Source, prefix: str, arguments: Mapping[str, Any], active: Iterable[Entry], tie: bool
) -> dict[str, list[str]]:
    """Return the other names of tied tensors: a file may use either name alone.

    safetensors writes a tensor that a model has twice under one of its names. Ties of any head
    count where output and input embeddings are one variable.
    """
    heads = (
        _resolve_root(e, prefix)
        for h in (source.heads.values() if tie else ())
        for e in expand(h.tied, arguments)
    )
    found: dict[str, list[str]] = {}
    for entry in (*active, *heads):
        if isinstance(entry, Tied):
            found.setdefault(entry.to, []).append(entry.theirs[0])
    return found


def _repeated(names: list[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def export_rules(
    source: Source, arguments: Mapping[str, Any], head: str | None, tie: bool
) -> tuple[list[Rule], dict[str, str | Shape]]:
    """Return the rules of a file written from nothing, with the prefix iff there is a head.

    With them, the unused tensors that the reference expects all the same, each with the name of the
    tensor whose shape it has, or with its shape.
    """
    prefix = source.prefix_of(head) if head else ""
    active, _ = _entries(source, prefix, arguments, head, tie)
    unused = [entry for entry in active if isinstance(entry, Unused)]
    idle: dict[str, str | Shape] = {e.theirs[0]: e.like for e in unused if e.like}
    idle |= {e.theirs[0]: e.shape(arguments) for e in unused if e.shape}
    return [entry for entry in active if isinstance(entry, Rule)], idle


def _entries(
    source: Source, prefix: str, arguments: Mapping[str, Any], head: str | None, tie: bool
) -> tuple[list[Entry], dict[str, str]]:
    """Return the entries in force, and the names that pass through, each with the reason."""
    backbone = list(source.weights)
    passthrough: dict[str, str] = {}
    for part, entries in source.optional_layers.items():
        if arguments.get(part):
            backbone += entries
        else:
            absent = expand([replace(e, when=None) for e in entries], arguments)
            passthrough |= {prefix + n: f"{part} not used" for e in absent for n in spellings(e)}
    active = expand([prefixed(entry, prefix) for entry in backbone], arguments)
    for name, other in source.heads.items():
        everything = [*other.weights, *other.tied, *other.untied]
        if name == head:
            active += [_resolve_root(e, prefix) for e in expand(other.entries(tie), arguments)]
            everything = [e for e in everything if not holds(e, arguments)]
        for entry in expand([replace(e, when=None) for e in everything], arguments):
            passthrough |= dict.fromkeys(spellings(entry), f"head {name}")
    passthrough |= {n: e.reason for e in active if isinstance(e, Unused) for n in e.theirs}
    return active, passthrough


def _resolve_root(entry: Entry, prefix: str) -> Entry:
    """Return a head's entry; its tie to a name that starts with '.' points into the backbone."""
    if isinstance(entry, Tied) and entry.to.startswith("."):
        return Tied(entry.theirs, prefix + entry.to[1:])
    return entry


def _resolve_spelling(
    rule: Rule, header: Mapping[str, TensorInfo], aliases: Mapping[str, Sequence[str]]
) -> tuple[Rule, dict[str, str]]:
    """Return the rule with the file's spelling of names, legacy spellings and ties included.

    Also return the names that it has in the file in place of the map's.
    """
    changed: dict[str, str] = {}
    for name, older in zip(rule.theirs, rule.legacy or [()] * len(rule.theirs), strict=True):
        others = (*older, *aliases.get(name, ()))
        if name not in header and (found := next((n for n in others if n in header), None)):
            changed[name] = found
    if not changed:
        return rule, changed
    names = tuple(changed.get(name, name) for name in rule.theirs)
    return Rule(names, rule.ours, rule.pattern), changed


def misfits(
    rules: Iterable[Rule], header: Mapping[str, TensorInfo], ours: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Return the tensors whose shapes aren't those of their variables, in words."""
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
    """Return the shapes that their tensors should have, in their order of axes; None if unknown."""
    pattern = Pattern.parse(rule.pattern)
    try:
        return pattern.their_shapes(pattern.sizes(None, rule.our_shapes(theirs, ours)))
    except WeightMapError:
        return None


def _alone(shapes: list[Shape]) -> Shape | list[Shape]:
    return shapes[0] if len(shapes) == 1 else shapes
