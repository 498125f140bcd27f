"""`Source`, one published format of one architecture: config map, weight map and heads."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.config_map import ConfigMap, checked_fields, read_fields, tied
from inarch.checkpoints.maps.counts import count_in
from inarch.checkpoints.maps.entries import Entries, Entry, Rule, expand, flatten, spellings
from inarch.checkpoints.maps.fields import ConfigEntry
from inarch.checkpoints.maps.head import ConfigEntries as ConfigEntries
from inarch.checkpoints.maps.head import Head as Head
from inarch.checkpoints.maps.head import keep
from inarch.errors import ConfigError

# A few layers too many are an error with the names of their tensors, once they are built.
LAYERS_TOO_MANY = 64
# Where there are no tensors to hold the layers to.
MAX_RULES = 100_000


# Whether output and input embeddings are one, by a config and the names of a file's tensors.
Ties = Callable[[Mapping[str, Any], Collection[str] | None], bool]


@dataclass(frozen=True, init=False)
class Source:
    """One published format of one architecture.

    Lists of entries may hold lists in place of an entry; they are kept as tuples.

    Args:
        model_type: the `model_type` of its `config.json`.
        architecture: class name that `config.json` has for the backbone alone.
        prefix: what precedes the backbone's tensors in a file that also holds a head. Files
            with it, with that of a head, and without any are read.
        other_prefixes: those of files that other code has written, which are read too.
        config: the config map.
        weights: the backbone's weight map.
        module_weights: the same by the names of the reference's modules, where it renames or splits
            the tensors of a file while it loads them.
        optional_layers: layers that a file may lack, such as BERT's pooler. Each is also a boolean
            argument of the backbone: true where the file has the layer. One without entries has no
            weights, and is there for the heads that require it.
        heads: by the name of the task that uses them; other heads are listed so that their
            tensors pass through.
        ignored_tensors: tensors that aren't the model's, such as an optimizer's state: patterns of
            whole names (`"*/adam_m"`), each with the reason.
        published: fields that the published checkpoints set where the reference's own defaults
            are others. Our constructor's defaults are these.
        strict: whether a file holds nothing but what the map lists. Otherwise tensors outside the
            backbone are taken for those of another head, and pass through.
        tie_word_embeddings: whether output and input embeddings are one where the config doesn't
            have a field of that name; or a function of the config that says so, whatever it has,
            and of the names of the file's tensors, None where there is no file.
    """

    model_type: str
    architecture: str
    prefix: str
    other_prefixes: tuple[str, ...]
    config: tuple[ConfigEntry, ...]
    weights: tuple[Entry, ...]
    module_weights: tuple[Entry, ...]
    optional_layers: Mapping[str, tuple[Entry, ...]]
    heads: Mapping[str, Head]
    ignored_tensors: Mapping[str, str]
    published: Mapping[str, Any]
    strict: bool
    tie_word_embeddings: bool | Ties

    def __init__(
        self,
        *,
        model_type: str,
        architecture: str,
        prefix: str,
        other_prefixes: tuple[str, ...] = (),
        config: ConfigEntries,
        weights: Entries,
        module_weights: Entries = (),
        optional_layers: Mapping[str, Entries] | None = None,
        heads: Mapping[str, Head] | None = None,
        ignored_tensors: Mapping[str, str] | None = None,
        published: Mapping[str, Any] | None = None,
        strict: bool = False,
        tie_word_embeddings: bool | Ties = True,
    ):
        layers = {name: tuple(flatten(each)) for name, each in (optional_layers or {}).items()}
        keep(
            self,
            model_type=model_type,
            architecture=architecture,
            prefix=prefix,
            other_prefixes=other_prefixes,
            config=tuple(flatten(config)),
            weights=tuple(flatten(weights)),
            module_weights=tuple(flatten(module_weights)),
            optional_layers=layers,
            heads=heads or {},
            ignored_tensors=ignored_tensors or {},
            published=published or {},
            strict=strict,
            tie_word_embeddings=tie_word_embeddings,
        )

    def ties_embeddings(
        self, config: Mapping[str, Any], names: Collection[str] | None = None
    ) -> bool:
        """Return whether output and input embeddings are one by a config of this format.

        Args:
            names: of the file's tensors, None where there is no file.
        """
        given = self.tie_word_embeddings
        return given(config, names) if callable(given) else tied(config, given)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Prefixes of the backbone's tensors that are read, the longest first."""
        own = {head.prefix for head in self.heads.values() if head.prefix is not None}
        known = {self.prefix, *self.other_prefixes, *own}
        return tuple(sorted(known, key=lambda prefix: (-len(prefix), prefix)))

    def prefix_of(self, head: str | None) -> str:
        """Return what precedes the backbone's tensors in a file with a head."""
        known = None if head is None else self.heads.get(head)
        return self.prefix if known is None or known.prefix is None else known.prefix

    def prefix_in(self, names: Collection[str]) -> str | None:
        """Return what precedes the backbone's tensors in a file; `None` if nothing does."""
        return next((p for p in self.prefixes if any(n.startswith(p) for n in names)), None)

    def without_prefix(self, name: str) -> str:
        """Return the name of a tensor without what may precede the backbone's."""
        return name.removeprefix(self.prefix_in([name]) or "")

    @property
    def by_modules(self) -> Source:
        """The format by the names of the reference's modules."""
        if not self.module_weights:
            return self
        found = copy.copy(self)
        heads = {name: head.by_modules for name, head in self.heads.items()}
        keep(found, weights=self.module_weights, module_weights=(), heads=heads)
        return found

    @property
    def config_map(self) -> ConfigMap:
        elsewhere = (entry for head in self.heads.values() for entry in head.config)
        return ConfigMap(self.config, tuple(elsewhere), self.model_type)

    def arguments(
        self, config: Mapping[str, Any], names: Iterable[str], ignored: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return our backbone's arguments, from their config and the names in their weight file.

        Args:
            ignored: fields that are taken as absent from the config.

        Raises:
            ConfigError: a field's value can't be computed, or the file has too few tensors
                for the layers that there should be.
        """
        arguments = self.config_map.arguments(config, ignored=ignored)
        names = set(names)
        self._check_counts(arguments, len(names))
        for part, entries in self.optional_layers.items():
            arguments[part] = self._has_any(expand(entries, arguments), names)
        return arguments

    def _check_counts(self, arguments: Mapping[str, Any], tensors: int) -> None:
        """Hold the counts to a file's tensors before the names of its layers are made."""
        rules = Counter(
            count.argument
            for entry in self.weights
            if isinstance(entry, Rule) and not entry.when
            for _, count in entry.indices
        )
        everything = [*self.weights, *flatten(self.optional_layers.values())]
        for count, times in rules.items():
            number = count_in(arguments, count)
            if (number - LAYERS_TOO_MANY) * times > (tensors or MAX_RULES):
                raise ConfigError(
                    f"{count} is {number:,} by the config, and the file has only "
                    f"{tensors:,} tensors; use the config and the weights of one model"
                )
        for nest in {tuple(count.argument for _, count in e.indices) for e in everything}:
            counts = {count: count_in(arguments, count) for count in nest}
            if math.prod(counts.values()) > MAX_RULES:
                sizes = " and ".join(f"{count}={number:,}" for count, number in counts.items())
                raise ConfigError(
                    f"the config has {sizes}, more together than any model has, and the file has "
                    f"{tensors:,} tensors; the two are of different models"
                )

    def head_arguments(self, head: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return our head's arguments from their config.

        Raises:
            ConfigError: a field of the head has a value that isn't computed.
        """
        return checked_fields(self.heads[head].config, config)

    def holds_head(self, head: str, config: Mapping[str, Any], names: Collection[str]) -> bool:
        """Return whether a checkpoint holds the weights of `head`.

        The class that wrote it decides where it is one of ours, since several heads share names,
        and as long as a part of the head is there. So does a class of another family with a name
        that ends alike; without any, all of the head and what it needs must be there.
        """
        named = config.get("architectures")
        written = {a for a in named if isinstance(a, str)} if isinstance(named, list) else set()
        known = {a for other in self.heads.values() for a in other.architectures}
        own = self.heads[head]
        entries: Sequence[Entry] = own.weights
        if not self.ties_embeddings(config, names):
            entries = (*entries, *own.untied)
        if any(e.when or e.indices for e in entries):
            entries = expand(entries, read_fields(self.config, config))
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
        layers = (self.optional_layers.get(name, ()) for name in self.heads[head].requires)
        complete = all(self._has_any(each, names) for each in layers if each)
        return complete and bool(wanted) and all(there)

    def _has_any(self, entries: Iterable[Entry], names: set[str]) -> bool:
        """Return whether a file has a tensor of some entries, with the prefix or without."""
        mine = {name for entry in entries for name in entry.theirs}
        return not names.isdisjoint(mine | {p + name for p in self.prefixes for name in mine})


def _purpose(architecture: str) -> str | None:
    """Return the end of a class's name: `ForTokenClassification`; None of a backbone."""
    _, found, purpose = architecture.partition("For")
    return found + purpose if purpose else None
