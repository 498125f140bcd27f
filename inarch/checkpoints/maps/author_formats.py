"""Checkpoints as the original authors publish them, told in Hugging Face's terms.

An `Original` says how such a folder is recognised and opened. Its `Source` takes their names to
ours, Hugging Face's takes ours to its own, and the two read one after the other make the folder a
checkpoint like any other. No value is looked at or changed on the way.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.files import sharded
from inarch.checkpoints.formats.weights import DTYPES, TensorInfo, Weights
from inarch.checkpoints.maps.config_map import tied, write_fields
from inarch.checkpoints.maps.layout import SHARD_LIMIT
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.checkpoints.maps.plan import canonical, match
from inarch.checkpoints.maps.rule import NOTHING, Rule, Zeros, expanded
from inarch.checkpoints.maps.source import Source
from inarch.checkpoints.maps.transfer import check_copy
from inarch.errors import WeightMapError


@dataclass(frozen=True)
class Opened:
    """A folder of an original: the table for its names, its config and its weights.

    `source.model_type` is that of Hugging Face's format of the same model. `left` are tensors
    that no head of that format can hold, `aside` what a file holds beside the tensors and has no
    part in the model, each with the reason. `fields` are those of Hugging Face's config that no
    argument speaks of, `beside` further JSON files of such a folder by name, and `notes` what a
    user must know of what is loaded. `untie` says where the original tells that output and input
    embeddings are two.
    """

    source: Source
    config: Mapping[str, Any]
    weights: Weights
    left: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    untie: str = ""

    @property
    def tie(self) -> bool:
        return tied(self.config)

    def arguments(self) -> dict[str, Any]:
        """Our backbone's arguments, from their config."""
        return self.source.arguments(self.config, self.weights.header)

    def heads(self) -> list[str]:
        """The heads that every file has, and those of which a part is there, to be whole."""
        return [
            name
            for name, head in self.source.heads.items()
            if self.source.architecture in head.architectures
            or any(n in self.weights.header for e in head.weights for n in e.theirs)
        ]


@dataclass(frozen=True)
class Original:
    """A format of the original authors.

    Args:
        name: whose it is, as it is said to users.
        files: the files by which a folder is recognised, or patterns of their names; all must be
            there.
        open: reads such a folder, and such a file where it is a single one.
        table: the table of its names; of several spellings, that of the files most used.
        single: whether the one file of `files` is all of it, so that its own path will do.
        unmistakable: whether a folder with `files` can be nobody else's.
    """

    name: str
    files: tuple[str, ...]
    open: Callable[[Path], Opened]
    table: Source
    single: bool = False
    unmistakable: bool = True

    def found(self, path: Path) -> bool:
        if path.is_file():
            return self.single and fnmatch.fnmatch(path.name, self.files[0])
        return not self.lacking(path)

    def lacking(self, folder: Path) -> list[str]:
        """Which of its files a folder doesn't have."""
        return [n for n in self.files if not any(each.is_file() for each in folder.glob(n))]


def translate(opened: Opened, target: Source, where: str) -> tuple[dict[str, Any], Weights]:
    """The config and the weights of `opened` as the format `target` has them.

    Raises:
        ConfigError: a field of their config can't be computed as it stands.
        WeightMapError: tensors that are missing, unknown or of another shape.
    """
    arguments = opened.arguments()
    translation = _Translation(opened.weights, opened.untie)
    held = [head for head in opened.heads() if head in target.heads]
    classes = 2
    for head in held or (None,):
        places = translation.places(opened, arguments, head, where)
        for rule in canonical(target, arguments, head, opened.tie)[0]:
            translation.add(rule, [places[name] for name in rule.ours])
        if head == "text_classifier":
            classes = places["logits/bias"].shape[0]
    config: dict[str, Any] = {"model_type": target.model_type}
    config["architectures"] = _classes(target, held) or [target.architecture]
    config["dtype"] = DTYPES[next(iter(translation.header.values())).dtype].name
    write_fields(target.config, arguments, config, complete=True)
    for head in target.heads.keys() & opened.source.heads.keys():
        said = opened.source.head_arguments(head, opened.config)
        write_fields(target.heads[head].config, said, config)
    config |= opened.fields
    if not opened.tie:
        config["tie_word_embeddings"] = False
    if classes != 2:  # which is what a config means that doesn't say
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(classes)}
        config["label2id"] = {f"LABEL_{i}": i for i in range(classes)}
    shards = sharded(dict(sorted(translation.header.items())), SHARD_LIMIT, {"format": "pt"})
    weights = Weights(shards, [translation] * len(shards))
    weights.format = opened.weights.format
    return config, weights


def _classes(target: Source, heads: list[str]) -> list[str]:
    """The fewest classes of the format that hold all of `heads` between them."""
    chosen: list[str] = []
    left = set(heads)
    while left:
        names = [name for head in heads for name in target.heads[head].architectures]
        holds = {n: {h for h in left if n in target.heads[h].architectures} for n in names}
        best = max(holds, key=lambda name: len(holds[name]))
        chosen.append(best)
        left -= holds[best]
    return chosen


@dataclass(frozen=True)
class _Place:
    """What fills a variable of ours: one of the tensors that a rule gives, or zeros."""

    shape: Shape
    dtype: str
    rule: Rule | None = None
    index: int = 0
    shapes: tuple[Shape, ...] = ()


class _Translation:
    """Their tensors under the other format's names: a reader for `Weights`."""

    def __init__(self, weights: Weights, untie: str):
        self.header: dict[str, TensorInfo] = {}
        self._untie = untie
        self._weights = weights
        self._made: dict[str, tuple[Rule, int, list[_Place]]] = {}
        self._copies: dict[str, str] = {}

    def places(
        self, opened: Opened, arguments: Mapping[str, Any], head: str | None, where: str
    ) -> dict[str, _Place]:
        """Every variable of a model with this head, and what fills it."""
        source, header = opened.source, self._weights.header
        plan = match(source, header, None, arguments, head, opened.tie, where)
        self._copies |= {name: alias for alias, name in plan.ties.items()}
        found: dict[str, _Place] = {}
        for rule in plan.rules:
            shapes = tuple(_our_shapes(rule, header, where))
            dtype = header[rule.theirs[0]].dtype
            for index, name in enumerate(rule.ours):
                if name == NOTHING:
                    continue
                found[name] = _Place(shapes[index], dtype, rule, index, shapes)
        usual = next(iter(found.values())).dtype
        for entry in expanded(source.weights, arguments):
            if isinstance(entry, Zeros):
                shape = tuple(arguments[size] for size in entry.sizes)
                found |= {name: _Place(shape, usual) for name in entry.ours}
        return found

    def add(self, rule: Rule, places: list[_Place]) -> None:
        """Offer the tensors of a rule of the other format."""
        pattern = Pattern.parse(rule.pattern)
        shapes = pattern.their_shapes(pattern.sizes(None, [place.shape for place in places]))
        for index, (name, shape) in enumerate(zip(rule.theirs, shapes, strict=True)):
            self.header[name] = TensorInfo(places[0].dtype, shape)
            self._made[name] = (rule, index, places)

    def read(self, name: str) -> np.ndarray:
        rule, index, places = self._made[name]
        theirs = [self.header[n].shape for n in rule.theirs]
        values = [self._value(place) for place in places]
        pattern = Pattern.parse(rule.pattern)
        return pattern.export(values, theirs, [place.shape for place in places])[index]

    def _value(self, place: _Place) -> np.ndarray:
        if place.rule is None:
            return np.zeros(place.shape, DTYPES[place.dtype])
        theirs = place.rule.theirs
        for name in theirs:
            if name in self._copies:
                check_copy(self._weights, self._copies[name], name, self._untie)
        arrays = [self._weights.read(name) for name in theirs]
        shapes = [self._weights.header[name].shape for name in theirs]
        values = Pattern.parse(place.rule.pattern).load(arrays, shapes, place.shapes)
        for name, value in zip(place.rule.ours, values, strict=True):
            if name == NOTHING and np.any(value):
                raise WeightMapError(
                    f"{' + '.join(theirs)} should hold zeros beside {place.rule.variables}, since "
                    "the model adds nothing there, and holds other numbers"
                )
        return values[place.index]

    def release(self, name: str) -> None:
        for place in self._made[name][2]:
            for theirs in place.rule.theirs if place.rule else ():
                self._weights.release(theirs)

    def close(self) -> None:
        self._weights.close()


def _our_shapes(rule: Rule, header: Mapping[str, TensorInfo], where: str) -> list[Shape]:
    pattern = Pattern.parse(rule.pattern)
    shapes = [header[name].shape for name in rule.theirs]
    try:
        return pattern.our_shapes(pattern.sizes(shapes, None))
    except WeightMapError as e:
        raise WeightMapError(f"{where}: {' + '.join(rule.theirs)} can't be read: {e}") from e


def recognised(path: Path, originals: Iterable[Original]) -> Original | None:
    """The original whose folder or file this is: of several, the one known by most files."""
    found = [original for original in originals if original.found(path)]
    return max(found, key=lambda original: len(original.files), default=None)


def nearly(folder: Path, originals: Iterable[Original]) -> list[str]:
    """What a folder has and lacks of originals of which it has a part, as the ends of an error."""
    return [
        f"with {' and '.join(lacking)} beside {' and '.join(present)} the folder would be "
        f"{original.name}"
        for original in originals
        if (lacking := original.lacking(folder))
        and (present := [name for name in original.files if name not in lacking])
    ]
