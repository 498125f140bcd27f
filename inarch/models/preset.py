"""Checkpoint folders to models and back."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints import files, folder, hub, layout, transfer
from inarch.checkpoints.config import tied, write_fields
from inarch.checkpoints.files import Weights
from inarch.checkpoints.original import Opened, Original, nearly, recognised, translate
from inarch.checkpoints.proof import Proof, prove
from inarch.checkpoints.source import Source, match
from inarch.errors import CheckpointError, CheckpointFileError, ConfigError, WeightMapError
from inarch.models import registry
from inarch.models.variables import (
    build_without_values,
    get_value,
    initialize,
    named_variables,
    set_value,
)

CONFIG = "config.json"
# What Hugging Face's format says beside it of how a model generates, and of what it is fed.
BESIDE = ("generation_config.json", "preprocessor_config.json")


class Checkpoint:
    """An opened checkpoint folder: its config, its format and its weights, nothing loaded yet.

    A folder as the original authors publish it is told in Hugging Face's terms: `config` and
    `weights` are what such a folder would hold, and `original` is what is really there.

    Args:
        preset: a folder, a built-in name, a hub id (`owner/name`, optionally `@revision`), or an
            original's file where that is all of it. `folder` then is the one that it is in.

    Raises:
        PresetError: `preset` leads nowhere.
        CheckpointFileError: a file is absent or damaged, or the folder holds no checkpoint.
        ConfigError: `model_type` is unknown.
        WeightMapError: an original's tensors are missing, unknown or of another shape.
    """

    def __init__(self, preset: str | os.PathLike):
        known = registry.originals()
        path = hub.resolve(preset, registry.presets(), lambda p: bool(recognised(p, known)))
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self.original: Opened | None = None
        self.config = {}
        if path.is_dir() and (path / CONFIG).is_file():
            self.config = files.read_json(path / CONFIG)
        found = None if "model_type" in self.config else recognised(path, known)
        if found or not (self.folder / CONFIG).is_file():
            self._open_original(path, found)
            return
        raw = (self.folder / CONFIG).read_bytes()
        self.config_text = raw.decode(json.detect_encoding(raw))
        self.architecture, self.source = registry.by_model_type(self.config.get("model_type"))
        self.weights = files.open_weights(self.folder)

    def _open_original(self, path: Path, found: Original | None) -> None:
        if found is None:
            known = registry.originals()
            formats = "; ".join(f"{' and '.join(o.files)} ({o.name})" for o in known)
            raise CheckpointFileError(
                f"{self.folder / CONFIG} does not exist, and the folder isn't in an original's "
                f"format either; looked for {formats}"
            )
        try:
            self.original = found.open(path)
        except CheckpointFileError as e:
            # What is known by its own name alone may well be a part of something else.
            hints = nearly(self.folder, registry.originals()) if found.single else []
            if not hints:
                raise
            raise CheckpointFileError(f"{e}; {'; '.join(hints)}") from e
        model_type = self.original.source.model_type
        self.architecture, self.source = registry.by_model_type(model_type)
        try:
            self.config, self.weights = translate(self.original, self.source, str(path))
        except ConfigError as e:
            raise ConfigError(f"{path}, {found.name}: {e}") from None
        self.config_text = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self.weights.close()

    @property
    def tie(self) -> bool:
        """Whether the output embeddings are the input embeddings."""
        with self._naming_the_config():
            return tied(self.config)

    def holds(self, head: str) -> bool:
        """Whether the weights of `head` are in the checkpoint."""
        with self._naming_the_config():
            return self.source.holds_head(head, self.config, self.weights.header)

    def arguments(self, **overrides: Any) -> dict[str, Any]:
        """The backbone's arguments.

        Raises:
            ConfigError: a field of config.json can't be computed as it stands.
        """
        with self._naming_the_config():
            return self.source.arguments(self.config, self.weights.header) | overrides

    def beside(self, name: str) -> dict[str, Any]:
        """The content of a further JSON file, such as `generation_config.json`; {} without it.

        Raises:
            CheckpointFileError: the file isn't JSON.
        """
        if self.original:
            return dict(self.original.beside.get(name, {}))
        path = self.folder / name
        return files.read_json(path) if path.is_file() else {}

    def texts_beside(self) -> dict[str, str]:
        """The texts of `BESIDE`, as far as they are there.

        Raises:
            CheckpointFileError: one can't be read.
        """
        if self.original:
            return {name: _json_text(said) for name, said in self.original.beside.items()}
        there = [self.folder / name for name in BESIDE if (self.folder / name).is_file()]
        return {path.name: _text_at(path) for path in there}

    def head_arguments(self, head: str) -> dict[str, Any]:
        with self._naming_the_config():
            return self.source.head_arguments(head, self.config)

    @contextmanager
    def _naming_the_config(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as e:
            raise ConfigError(f"{self.folder / CONFIG}: {e}") from None

    def prove(
        self, build: Callable[[], keras.Model] | None = None, head: str | None = None
    ) -> Proof:
        """Prove the weight map on the headers of this checkpoint.

        Args:
            build: makes the model that the checkpoint is for; the bare backbone by default.
            head: the head that this model has, if it has one.

        Raises:
            ConfigError: a field of the config can't be computed as it stands.
            WeightMapError: with every tensor and variable that breaks the proof.
        """
        arguments = self.arguments()
        build = build or (lambda: self.architecture.backbone(**arguments))
        model, _ = build_without_values(build)
        arguments = _backbone(model).arguments
        ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
        proof, *_ = [
            prove(source, weights.header, ours, arguments, head, self.tie, str(self.folder))
            for source, weights in self._formats()
        ]
        aside = self.original.aside if self.original else {}
        return replace(proof, carried={**proof.carried, **aside})

    def _formats(self) -> list[tuple[Source, Weights]]:
        """The format that is there, whose names errors should have; then that it is told in."""
        told = (self.source, self.weights)
        return [(self.original.source, self.original.weights), told] if self.original else [told]

    def copy_to(self, folder: Path) -> None:
        """Write config and weights to an existing folder, in Hugging Face's format.

        Raises:
            CheckpointFileError: the folder can't be written.
        """
        _write(folder, self.config_text, self.weights.shards, self.weights.read)
        _write_texts(folder, self.texts_beside())

    def restore(self, model: keras.Model, waiting: list[Any], head: str | None = None) -> None:
        """Load the weights into `model`, whose variables wait for values.

        Pieces that the file doesn't have get initial values and are listed in
        `model.fresh_weights`; a warning names them. Without `head`, a task's head is fresh.
        """
        variables = named_variables(model)
        arguments = dict(_backbone(model).arguments)
        fresh: set[str] = set()
        head = head if head and self.holds(head) else None
        if head is None:
            fresh |= variables.keys() - named_variables(_backbone(model)).keys()
        present = self.source.arguments(self.config, self.weights.header)
        if self.original and self.original.left:
            warnings.warn(
                f"{self.folder}: left out, since Hugging Face's format has no place for them: "
                + ", ".join(f"{name} ({why})" for name, why in self.original.left.items()),
                stacklevel=4,
            )
        for note in self.original.notes if self.original else ():
            warnings.warn(note, stacklevel=4)
        for part, entries in self.source.parts.items():
            if arguments.get(part) and not present[part]:
                fresh |= {name for e in entries for name in getattr(e, "ours", ())}
                arguments[part] = False
        ours = {n: tuple(v.shape) for n, v in variables.items() if n not in fresh}
        for source, weights in self._formats():
            header = weights.header
            plan = match(source, header, ours, arguments, head, self.tie, str(self.folder))
            _check_dtypes(self.folder, {n: header[n].dtype for n in plan.rule_of()}, variables)
        model.carried = transfer.load(
            plan, self.weights, ours, lambda name, array: set_value(variables[name], array)
        )
        initialize(waiting)
        shards, beside = self.weights.shards, self.texts_beside()
        model.layout = layout.Layout(self.config_text, shards, head, beside)
        model.fresh_weights = tuple(sorted(fresh))
        if fresh:
            warnings.warn(
                f"{self.folder} has no values for {', '.join(sorted(fresh))}: freshly "
                "initialized, to be trained",
                stacklevel=4,
            )


def _backbone(model: keras.Model) -> Any:
    return getattr(model, "backbone", model)


def _check_dtypes(where: Path, stored: Mapping[str, str], variables: Mapping[str, Any]) -> None:
    """Refuse what isn't floating point, say where precision is lost."""
    whole = [name for name, code in stored.items() if not code.startswith(("F", "BF"))]
    if whole:
        raise WeightMapError(
            f"{where} stores {', '.join(whole)} as {stored[whole[0]]}, not in floating point; a "
            "quantized checkpoint must be brought back to floats by the library that wrote it"
        )
    if "F64" in stored.values() and not any(v.dtype == "float64" for v in variables.values()):
        warnings.warn(f"{where} stores float64, rounded to float32 on loading", stacklevel=5)


@dataclass(frozen=True)
class HeadToSave:
    """The head of a task as its export needs it: name, config arguments, other config fields."""

    name: str
    arguments: Mapping[str, Any]
    fields: Mapping[str, Any]


def save(
    model: keras.Model,
    destination: str | os.PathLike,
    head: HeadToSave | None = None,
    tie: bool | None = None,
    extra: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write `model` to a folder in the format it came in (Hugging Face's where it is new).

    The folder is replaced as a whole or not at all.

    Args:
        tie: whether output and input embeddings are one; `None` is what the checkpoint said, whose
            head is carried along.
        extra: writes further files, such as the tokenizer's, into the new folder.

    Raises:
        CheckpointFileError: the folder can't be written.
    """
    backbone = _backbone(model)
    sources = registry.of_backbone(type(backbone)).sources
    arguments = backbone.arguments
    variables = named_variables(model)
    ours = {name: tuple(v.shape) for name, v in variables.items()}
    # A task built around a loaded backbone is written as that backbone's checkpoint was.
    origin = backbone if model.layout is None else model
    old: layout.Layout | None = origin.layout
    written_as = old.config["model_type"] if old else sources[0].model_type
    (source,) = (s for s in sources if s.model_type == written_as)
    name = head.name if head else None
    if tie is None:
        tie = old is None or tied(old.config)
    code = _code(next(iter(variables.values())))
    shards = layout.shards_to_write(source, old, ours, arguments, name, tie, code)
    header = {n: info for shard in shards for n, info in shard.tensors.items()}
    plan = match(source, header, ours, arguments, name, tie, "this model")
    carried = dict(origin.carried)
    if old is None or old.head != name:
        for idle in plan.carried.keys() - carried.keys():
            carried[idle] = np.zeros(header[idle].shape, files.DTYPES[header[idle].dtype])
    lost = sorted(plan.carried.keys() - carried.keys())
    if lost:
        raise CheckpointError(
            f"the checkpoint's {', '.join(lost)} were not kept with this model; "
            "load it with from_preset to write them back"
        )
    values = transfer.exporter(
        plan, header, ours, lambda n: get_value(model, n, variables[n]), carried
    )
    with folder.replacing(Path(destination), layout.is_weight_file) as fresh:
        text = _config_text(source, old, arguments, head, tie, code)
        _write(fresh, text, shards, values)
        _write_texts(fresh, old.beside if old else {})
        extra(fresh)


def _write(
    folder: Path,
    config_text: str,
    shards: Sequence[files.Shard],
    values: Callable[[str], np.ndarray],
) -> None:
    for shard in shards:
        files.write_safetensors(folder / shard.filename, shard, values)
    if len(shards) > 1 or shards[0].filename != "model.safetensors":
        _write_json(folder / "model.safetensors.index.json", files.index_of(shards))
    (folder / CONFIG).write_bytes(config_text.encode())


def _code(variable: Any) -> str:
    return files.CODES[np.dtype(variable.dtype)]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(_json_text(value), "utf-8")


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _text_at(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as e:
        raise CheckpointFileError(
            f"{path} can't be read as text ({e}); fetch it again, or take it out of the folder"
        ) from e


def _config_text(
    source: Source,
    old: layout.Layout | None,
    arguments: Mapping[str, Any],
    head: HeadToSave | None,
    tie: bool,
    code: str,
) -> str:
    """The text of config.json; the checkpoint's own, to the byte, where nothing changed."""
    config: dict[str, Any] = dict(old.config) if old else {"model_type": source.model_type}
    name = head.name if head else None
    if old is None or old.head != name:
        written = source.heads[name].architectures[0] if name else source.architecture
        config["architectures"] = [written]
    if old is None:
        config["dtype"] = np.dtype(files.DTYPES[code]).name
    write_fields(source.config, arguments, config, complete=old is None)
    if head:
        write_fields(source.heads[head.name].config, head.arguments, config)
        config |= head.fields
    if tie != config.get("tie_word_embeddings", True):
        config["tie_word_embeddings"] = tie
    if old and config == old.config:
        return old.config_text
    return _json_text(config)
