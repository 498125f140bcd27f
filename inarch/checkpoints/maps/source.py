"""A `Source` is one published format of one architecture: config map, weight map and heads."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.config import ConfigEntry
from inarch.checkpoints.maps.config_map import ConfigMap, read_fields
from inarch.checkpoints.maps.rule import Entry, Rule, expand, holds, spellings
from inarch.errors import ConfigError

# A few layers too many are told by the names of their tensors, once they are built.
LAYERS_TOO_MANY = 64
# Where there are no tensors to hold the layers to.
MOST_RULES = 100_000


@dataclass(frozen=True)
class Head:
    """What a task's original adds to the backbone.

    Args:
        architectures: class names in `config.json`; the first is the one a new export gets.
        weights: the head's own weight map. Names are the file's, without the backbone's prefix.
        tied: entries that hold when `tie_word_embeddings` is true, as it is by default.
        untied: entries that hold instead when it is false.
        config: config fields that are this head's.
        requires: optional layers of the backbone that the head reads.
    """

    architectures: tuple[str, ...]
    weights: list[Entry] = dataclasses.field(default_factory=list)
    tied: list[Entry] = dataclasses.field(default_factory=list)
    untied: list[Entry] = dataclasses.field(default_factory=list)
    config: list[ConfigEntry] = dataclasses.field(default_factory=list)
    requires: tuple[str, ...] = ()

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
        optional_layers: layers that a file may lack, such as BERT's pooler. Each is also a boolean
            argument of the backbone: true where the file has the piece.
        heads: by the name of the task that uses them; other heads are listed so that their
            tensors pass through.
        ignored_tensors: tensors that aren't the model's, such as an optimizer's state: patterns of
            whole names (`"*/adam_m"`), each with the reason.
        published: fields that the published checkpoints set where the original's own defaults
            are others. Our constructor's defaults are these.
        strict: whether a file holds nothing but what the map knows. Otherwise tensors outside the
            backbone are taken for those of another head, and pass through.
    """

    model_type: str
    architecture: str
    prefix: str
    config: list[ConfigEntry]
    weights: list[Entry]
    optional_layers: Mapping[str, list[Entry]] = dataclasses.field(default_factory=dict)
    heads: Mapping[str, Head] = dataclasses.field(default_factory=dict)
    ignored_tensors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strict: bool = False

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
        always = (e.count for e in self.weights if isinstance(e, Rule) and e.count and not e.when)
        for count, rules in Counter(always).items():
            if (arguments[count] - LAYERS_TOO_MANY) * rules > (len(names) or MOST_RULES):
                raise ConfigError(
                    f"{count} is {arguments[count]:,} by the config, and the file has but "
                    f"{len(names):,} tensors; the two are of different models"
                )
        for part, entries in self.optional_layers.items():
            mine = {name for entry in expand(entries, arguments) for name in entry.theirs}
            arguments[part] = not names.isdisjoint(mine | {self.prefix + name for name in mine})
        return arguments

    def head_arguments(self, head: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Our head's arguments from their config."""
        return read_fields(self.heads[head].config, config)

    def holds_head(self, head: str, config: Mapping[str, Any], names: Iterable[str]) -> bool:
        """Whether a checkpoint holds the weights of `head`.

        The class that wrote it decides where it is one of ours, since several heads share names,
        and as long as a part of the head is there. So does a class of another family with a name
        that ends alike; without any, all of the head and what it needs must be there.
        """
        named = config.get("architectures")
        written = {a for a in named if isinstance(a, str)} if isinstance(named, list) else set()
        known = {a for other in self.heads.values() for a in other.architectures}
        entries = self.heads[head].weights
        if any(e.when for e in entries):
            arguments = read_fields(self.config, config)
            entries = [e for e in entries if holds(e, arguments)]
        wanted = [e for e in entries if isinstance(e, Rule)]
        names = set(names)
        there = [not names.isdisjoint(spellings(e)) for e in wanted]
        if written & known:
            mine = not written.isdisjoint(self.heads[head].architectures)
            return mine and (not wanted or any(there))
        purposes = {p for a in written if (p := _purpose(a))}
        alike = {n for n, h in self.heads.items() if purposes & {*map(_purpose, h.architectures)}}
        if alike and head not in alike:
            return False
        parts = all(self._has_part(part, names) for part in self.heads[head].requires)
        return parts and bool(wanted) and all(there)

    def _has_part(self, part: str, names: set[str]) -> bool:
        mine = {name for entry in self.optional_layers.get(part, ()) for name in entry.theirs}
        return not names.isdisjoint(mine | {self.prefix + name for name in mine})


def _purpose(architecture: str) -> str | None:
    """What a class is for, by the end of its name: `ForTokenClassification`; None of a backbone."""
    _, found, purpose = architecture.partition("For")
    return found + purpose if purpose else None
