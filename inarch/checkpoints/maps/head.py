"""`Head`, what the model of a task adds to the maps of a backbone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from inarch.checkpoints.maps.entries import Entries, Entry, flatten
from inarch.checkpoints.maps.fields import ConfigEntry

# Lists of entries of config maps, which may be nested.
ConfigEntries = ConfigEntry | Iterable["ConfigEntries"]


@dataclass(frozen=True, init=False)
class Head:
    """Weights and fields that the model of a task adds to the backbone.

    Lists of entries may hold lists in place of an entry; they are kept as tuples.

    Args:
        architectures: class names in `config.json`; the first is the one a new export gets.
        weights: the head's own weight map. Names are the file's, without the backbone's prefix.
        module_weights: the same by the names of the reference's modules, where they differ.
        tied: entries that hold when `tie_word_embeddings` is true.
        untied: entries that hold instead when it is false.
        config: config fields that are this head's.
        requires: optional layers of the backbone that the head reads.
        zeros: variables that are 0 where a file has no tensors of them, as in the reference.
        prefix: what precedes the backbone's tensors in a file with this head, where it isn't the
            source's; `None` if it is.
    """

    architectures: tuple[str, ...]
    weights: tuple[Entry, ...]
    module_weights: tuple[Entry, ...]
    tied: tuple[Entry, ...]
    untied: tuple[Entry, ...]
    config: tuple[ConfigEntry, ...]
    requires: tuple[str, ...]
    zeros: tuple[str, ...]
    prefix: str | None

    def __init__(
        self,
        architectures: tuple[str, ...],
        weights: Entries = (),
        *,
        module_weights: Entries = (),
        tied: Entries = (),
        untied: Entries = (),
        config: ConfigEntries = (),
        requires: tuple[str, ...] = (),
        zeros: tuple[str, ...] = (),
        prefix: str | None = None,
    ):
        keep(
            self,
            architectures=architectures,
            weights=tuple(flatten(weights)),
            module_weights=tuple(flatten(module_weights)),
            tied=tuple(flatten(tied)),
            untied=tuple(flatten(untied)),
            config=tuple(flatten(config)),
            requires=requires,
            zeros=zeros,
            prefix=prefix,
        )

    def entries(self, tie: bool) -> list[Entry]:
        """Return the entries of a head whose output and input embeddings are one, or two."""
        return [*self.weights, *(self.tied if tie else self.untied)]

    @property
    def by_modules(self) -> Head:
        """The head by the names of the reference's modules."""
        if not self.module_weights:
            return self
        return replace(self, weights=self.module_weights, module_weights=())


def keep(owner: Any, **values: Any) -> None:
    """Set the attributes of a frozen instance."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)
