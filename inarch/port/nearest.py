"""The architecture here that is most like a checkpoint, by what its tensors are and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.entries import Entry, Rule, spellings
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.source import Source
from inarch.models import registry
from inarch.port.attention_bricks import CROSS
from inarch.port.brick import find_module
from inarch.port.bricks import ROTARY
from inarch.port.heads import named_heads
from inarch.port.patterns import INDICES, TensorPattern, lower_words, model_prefix
from inarch.port.roles import ATTENTION, Recognized, recognize

# Roles that say nothing about the graph.
_ANYWHERE = ("buffer", "head", "language head", "projection", "token table", "norm", "")


@dataclass(frozen=True)
class Nearest:
    """The architecture here that a checkpoint is most like.

    Attributes:
        architecture: its folder.
        model_type: of its format that is the nearest.
        shared: share of the parts of both, and of the patterns of names of both, that they have in
            common, from 0 to 1: the mean of the two.
        added: parts that the architecture doesn't have.
        missing: parts that the checkpoint doesn't have, those left out that the arguments of the
            architecture can take away.
        added_names, missing_names: the same of the patterns of names.
    """

    architecture: str
    model_type: str
    shared: float
    added: tuple[str, ...]
    missing: tuple[str, ...]
    added_names: tuple[str, ...]
    missing_names: tuple[str, ...]


def find_nearest(parts: Sequence[Recognized], config: Mapping[str, Any]) -> Nearest | None:
    """Return the nearest architecture; None where none has a part in common.

    Of the formats that have parts in common with a checkpoint, those of its own `model_type` and
    those with the head that its class is named for go before all others: no tensor shows whether
    tokens attend to those after them. Then come those that have a place for every tensor, and a
    tensor for every place.
    """
    fields = {*config, *(n for v in config.values() if isinstance(v, Mapping) for n in v)}
    features = _features(parts, fields)
    of_type, heads = config.get("model_type"), named_heads(config)
    ranked: list[tuple[tuple[bool, bool, float, bool], Nearest]] = []
    for architecture in registry.architectures().values():
        for source in architecture.sources:
            found = _compare(architecture.name, source, parts, features)
            # Formats of one graph have the same names.
            is_own = source.model_type == of_type
            is_alike = is_own or not heads or not heads.isdisjoint(source.heads)
            has_all = not (found.added_names or found.missing_names)
            if found.shared:
                ranked.append(((is_alike, has_all, found.shared, is_own), found))
    return max(ranked, key=lambda one: one[0])[1] if ranked else None


def _compare(name: str, source: Source, parts: Sequence[Recognized], features: set[str]) -> Nearest:
    entries = list(all_entries(source))
    every = {_numbered(spelling) for entry in entries for spelling in spellings(entry)}
    required = [one for one in source.weights if isinstance(one, Rule) and one.when is None]
    needed = {_numbered(entry.theirs[0]) for entry in required}
    own_prefix = model_prefix(part.pattern.name for part in parts)
    theirs = {
        p.pattern.name.removeprefix(source.prefix).removeprefix(own_prefix): p.pattern.name
        for p in parts
    }
    added = tuple(whole for short, whole in theirs.items() if short not in every)
    missing = tuple(sorted(needed - theirs.keys()))
    own = _find_features_of_source(source, entries)
    lacking = _find_features_of_source(source, required) - features
    alike = len(own & features) / max(1, len(own | features))
    both = len(every & theirs.keys())
    named = both / max(1, both + len(added) + len(missing))
    return Nearest(
        name, source.model_type, round((alike + named) / 2, 3),
        tuple(sorted(features - own)), tuple(sorted(lacking)), added, missing,
    )  # fmt: skip


def all_entries(source: Source) -> Iterator[Entry]:
    """Iterate over the entries of a format: weights, optional layers, and heads tied and untied."""
    yield from source.weights
    for entries in source.optional_layers.values():
        yield from entries
    for head in source.heads.values():
        yield from head.entries(True)
        yield from head.entries(False)


def _features(parts: Iterable[Recognized], fields: Iterable[str]) -> set[str]:
    """Return what tells one graph from another."""
    found: set[str] = set()
    for part in parts:
        role = part.role or ""
        if role in ATTENTION:
            cross = "cross-" if CROSS.search(lower_words(find_module(part))) else ""
            fused = ", in one tensor" if role == "query, key and value" else ""
            found.add(f"{cross}attention{fused}")
            if part.is_bias:
                found.add("biases in attention")
        elif role == "norm" and part.is_bias:
            found.add("biases in norms")
        elif role not in _ANYWHERE:
            found.add({"down": "up", "feed-forward": "up"}.get(role, role))
    return found | ({"rotary positions"} if {*ROTARY} & {*fields} else set())


def _find_features_of_source(source: Source, entries: Iterable[Entry]) -> set[str]:
    """Return the features of a format, whose rules have names and numbers of axes."""
    patterns = []
    for entry in entries:
        if isinstance(entry, Rule):
            for name, axes in zip(entry.theirs, Pattern.parse(entry.pattern).theirs, strict=True):
                shape = (1,) * len(axes)
                patterns.append(TensorPattern(_numbered(name), 1, (shape,), (), ()))
    names = {name for entry in source.config for name in entry.known_names}
    return _features(recognize(patterns, {}), {part for n in names for part in n.split(".")})


def _numbered(name: str) -> str:
    """Return a name of a map with the indices of a pattern."""
    indices = iter(INDICES)
    return re.sub(
        r"\{\w+\}|(?<=\.)\d+(?=\.|$)", lambda _: f"{{{next(indices, 'l')}}}", name.lstrip(".")
    )
