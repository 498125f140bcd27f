"""The authors' own checkpoint formats, presented as Hugging Face checkpoints.

An `AuthorFormat` recognises and opens such a folder. Its `Source` maps their names to ours, Hugging
Face's maps ours to its own, and the two read one after the other make the folder a checkpoint like
any other. No value is looked at or changed on the way.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.files import sharded
from inarch.checkpoints.formats.weights import DTYPES, TensorInfo, Weights
from inarch.checkpoints.maps.config_map import tied, write_fields
from inarch.checkpoints.maps.entries import ZEROS, Rule, Zeros, expand
from inarch.checkpoints.maps.layout import SHARD_LIMIT
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.checkpoints.maps.plan import export_rules, match
from inarch.checkpoints.maps.source import Source
from inarch.checkpoints.maps.transfer import check_copy
from inarch.errors import WeightMapError


@dataclass(frozen=True)
class OpenedCheckpoint:
    """An open folder in an author format: its table of names, its config and its weights.

    Args:
        source: the table; its `model_type` is that of the Hugging Face format of the same model.
        config: their config, as far as `source` reads it.
        weights: their tensors.
        dropped: tensors that no head of the Hugging Face format can hold, with the reason.
        ignored_tensors: further contents of the file that aren't the model's, with the reason.
        fields: fields of the Hugging Face config that no argument of ours represents.
        sidecar_files: extra Hugging Face JSON files, by name: generation and preprocessor settings.
        notes: warnings for the user of the model.
        untie: the setting of the author format for output and input embeddings that are two.
    """

    source: Source
    config: Mapping[str, Any]
    weights: Weights
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored_tensors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sidecar_files: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    untie: str = ""

    @property
    def tie(self) -> bool:
        return tied(self.config)

    def arguments(self) -> dict[str, Any]:
        """Return our backbone's arguments, from their config."""
        return self.source.arguments(self.config, self.weights.header)

    def heads(self) -> list[str]:
        """Return the heads of every file, and those with a tensor here, which must be complete."""
        return [
            name
            for name, head in self.source.heads.items()
            if self.source.architecture in head.architectures
            or any(n in self.weights.header for e in head.weights for n in e.theirs)
        ]


@dataclass(frozen=True)
class AuthorFormat:
    """A format in which authors publish a checkpoint themselves.

    Args:
        name: its name in messages.
        files: the files by which a folder is recognised, or patterns of their names; all must be
            there.
        open: reads such a folder, and such a file where it is a single one.
        table: the table of its names; of several spellings, that of the files most used.
        single: whether the one file of `files` is all of it, so that its own path will do.
        unmistakable: whether a folder with `files` can be nobody else's.
    """

    name: str
    files: tuple[str, ...]
    open: Callable[[Path], OpenedCheckpoint]
    table: Source
    single: bool = False
    unmistakable: bool = True

    def found(self, path: Path) -> bool:
        if path.is_file():
            return self.single and fnmatch.fnmatch(path.name, self.files[0])
        return not self.lacking(path)

    def lacking(self, folder: Path) -> list[str]:
        """Return those of its files that a folder doesn't have."""
        return [n for n in self.files if not any(each.is_file() for each in folder.glob(n))]


def convert(opened: OpenedCheckpoint, target: Source, where: str) -> tuple[dict[str, Any], Weights]:
    """Return the config and the weights of `opened` as the format `target` has them.

    Raises:
        ConfigError: a field of their config has a value that can't be computed.
        WeightMapError: tensors that are missing, unknown or of another shape.
    """
    arguments = opened.arguments()
    converted = _ConvertedWeights(opened.weights, opened.untie)
    held = [head for head in opened.heads() if head in target.heads]
    classes = 2
    for head in held or (None,):
        fillings = converted.fillings(opened, arguments, head, where)
        for rule in export_rules(target, arguments, head, opened.tie)[0]:
            converted.add(rule, [fillings[name] for name in rule.ours])
        if head == "text_classifier":
            classes = fillings["logits/bias"].shape[0]
    config: dict[str, Any] = {"model_type": target.model_type}
    config["architectures"] = _classes(target, held) or [target.architecture]
    config["dtype"] = DTYPES[next(iter(converted.header.values())).dtype].name
    write_fields(target.config, arguments, config, complete=True)
    for head in target.heads.keys() & opened.source.heads.keys():
        settings = opened.source.head_arguments(head, opened.config)
        write_fields(target.heads[head].config, settings, config)
    config |= opened.fields
    if not opened.tie:
        config["tie_word_embeddings"] = False
    if classes != 2:  # the default of a config
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(classes)}
        config["label2id"] = {f"LABEL_{i}": i for i in range(classes)}
    shards = sharded(dict(sorted(converted.header.items())), SHARD_LIMIT, {"format": "pt"})
    weights = Weights(shards, [converted] * len(shards))
    weights.format = opened.weights.format
    return config, weights


def _classes(target: Source, heads: list[str]) -> list[str]:
    """Return the fewest classes of the format that hold all of `heads` between them."""
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
class _Filling:
    """Filling of a variable of ours: one of the tensors that a rule gives, or zeros."""

    shape: Shape
    dtype: str
    rule: Rule | None = None
    index: int = 0
    shapes: tuple[Shape, ...] = ()


class _ConvertedWeights:
    """Their tensors under the other format's names: a reader for `Weights`."""

    def __init__(self, weights: Weights, untie: str):
        self.header: dict[str, TensorInfo] = {}
        self._untie = untie
        self._weights = weights
        self._made: dict[str, tuple[Rule, int, list[_Filling]]] = {}
        self._copies: dict[str, str] = {}

    def fillings(
        self, opened: OpenedCheckpoint, arguments: Mapping[str, Any], head: str | None, where: str
    ) -> dict[str, _Filling]:
        """Return every variable of a model with this head, and its filling."""
        source, header = opened.source, self._weights.header
        plan = match(source, header, None, arguments, head, opened.tie, where)
        self._copies |= {name: alias for alias, name in plan.ties.items()}
        found: dict[str, _Filling] = {}
        for rule in plan.rules:
            shapes = tuple(_our_shapes(rule, header, where))
            dtype = header[rule.theirs[0]].dtype
            for index, name in enumerate(rule.ours):
                if name == ZEROS:
                    continue
                found[name] = _Filling(shapes[index], dtype, rule, index, shapes)
        usual = next(iter(found.values())).dtype
        for entry in expand(source.weights, arguments):
            if isinstance(entry, Zeros):
                shape = tuple(arguments[size] for size in entry.sizes)
                found |= {name: _Filling(shape, usual) for name in entry.ours}
        return found

    def add(self, rule: Rule, fillings: list[_Filling]) -> None:
        """Offer the tensors of a rule of the other format."""
        pattern = Pattern.parse(rule.pattern)
        shapes = pattern.their_shapes(pattern.sizes(None, [filling.shape for filling in fillings]))
        for index, (name, shape) in enumerate(zip(rule.theirs, shapes, strict=True)):
            self.header[name] = TensorInfo(fillings[0].dtype, shape)
            self._made[name] = (rule, index, fillings)

    def read(self, name: str) -> np.ndarray:
        rule, index, fillings = self._made[name]
        theirs = [self.header[n].shape for n in rule.theirs]
        values = [self._value(filling) for filling in fillings]
        pattern = Pattern.parse(rule.pattern)
        return pattern.export(values, theirs, [filling.shape for filling in fillings])[index]

    def _value(self, filling: _Filling) -> np.ndarray:
        if filling.rule is None:
            return np.zeros(filling.shape, DTYPES[filling.dtype])
        theirs = filling.rule.theirs
        for name in theirs:
            if name in self._copies:
                check_copy(self._weights, self._copies[name], name, self._untie)
        arrays = [self._weights.read(name) for name in theirs]
        shapes = [self._weights.header[name].shape for name in theirs]
        values = Pattern.parse(filling.rule.pattern).load(arrays, shapes, filling.shapes)
        for name, value in zip(filling.rule.ours, values, strict=True):
            if name == ZEROS and np.any(value):
                raise WeightMapError(
                    f"{' + '.join(theirs)} should hold zeros next to {filling.rule.variables}, "
                    "since the model adds nothing there, and holds other numbers"
                )
        return values[filling.index]

    def release(self, name: str) -> None:
        for filling in self._made[name][2]:
            for theirs in filling.rule.theirs if filling.rule else ():
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


def find_author_format(path: Path, formats: Iterable[AuthorFormat]) -> AuthorFormat | None:
    """Return the format of a folder or file: of several, the one recognised by most files."""
    found = [each for each in formats if each.found(path)]
    return max(found, key=lambda each: len(each.files), default=None)


def near_misses(folder: Path, formats: Iterable[AuthorFormat]) -> list[str]:
    """Return the files that a folder has and lacks of formats, as the ends of an error."""
    return [
        f"with {' and '.join(lacking)} next to {' and '.join(present)} the folder would be "
        f"{each.name}"
        for each in formats
        if (lacking := each.lacking(folder))
        and (present := [name for name in each.files if name not in lacking])
    ]
