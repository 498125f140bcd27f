"""`Checkpoint`: an opened checkpoint, before its weights are loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

import inarch.json_fields as json_fields
from inarch.checkpoints.formats.weights import Weights
from inarch.checkpoints.io import hub
from inarch.checkpoints.io.steady import FolderState
from inarch.checkpoints.maps.author_formats import find_author_format
from inarch.checkpoints.maps.fields import Field
from inarch.checkpoints.maps.proof import Proof, prove
from inarch.checkpoints.maps.source import Source
from inarch.errors import (
    ConfigError,
    InarchError,
    InputError,
)
from inarch.models import registry
from inarch.models.identify import model_type_line
from inarch.models.ignored import check_ignore_fields
from inarch.models.opening import open_files
from inarch.models.origin import backbone_of
from inarch.models.saving import CONFIG, write_checkpoint, write_texts
from inarch.models.sidecar import read_sidecar_texts
from inarch.models.variables import build_without_values, named_variables
from inarch.paths import resolve_inside


class Checkpoint:
    """An opened checkpoint folder: its config, its format and its weights, nothing loaded yet.

    A folder in a format of the authors' own is converted to Hugging Face's: `config` and `weights`
    are what such a folder would hold, and `author_checkpoint` is what is on disk.

    Args:
        preset: a folder, a built-in name, a hub id (`owner/name`, optionally `@revision`), or an
            author format's file where that is all of it. `folder` then is the one that it is in.
        cls: the backbone class that is called, which decides where the config has no `model_type`.
        ignore_fields: unknown or refused fields of the config that are taken as absent, besides
            those that `inarch.json` in the folder names.

    Attributes:
        config: the content of `config.json` without the ignored fields.
        ignored: the ignored fields, with their values.
        ignored_by_settings: those of them that only `inarch.json` names.
        language: the one whose adapters are among the weights, where it was chosen.

    Raises:
        PresetError: `preset` leads nowhere.
        CheckpointFileError: a file is absent or damaged, or the folder holds no checkpoint.
        ConfigError: `model_type` is unknown, or absent and nothing else shows it.
        InputError: an ignored field is one that the model is built by.
        WeightMapError: tensors of an author format are missing, unknown or of another shape.
    """

    def __init__(
        self,
        preset: str | os.PathLike,
        cls: type[Any] | None = None,
        ignore_fields: Collection[str] = (),
    ):
        given = check_ignore_fields(ignore_fields)
        path = hub.resolve(
            preset,
            registry.presets(),
            single=lambda path: bool(find_author_format(path, registry.author_formats())),
        )
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self._state = FolderState(self.folder)
        try:
            opened = open_files(path, cls, given)
        except BaseException as e:
            self._end(e)
            raise
        self._opened = opened
        self.architecture, self.source = opened.architecture, opened.source
        self.config, self.config_text = opened.config, opened.config_text
        self.ignored, self.ignored_by_settings = opened.ignored, opened.ignored_by_settings
        self.weights, self.author_checkpoint = opened.weights, opened.author_checkpoint
        self.language: str | None = None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._opened.close()
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Let the folder go; name as the reason for an error that two saves were read."""
        try:
            # What is read of two saves may well be faulty.
            if isinstance(error, InarchError | OSError):
                self._state.check()
        finally:
            self._state.close()

    def check_unchanged(self) -> None:
        """Make sure that all that was read is of one save.

        Raises:
            FolderChangedError: the folder or a file of it has been replaced since it was opened.
        """
        self._state.check()

    def set_fields(self, fields: Mapping[str, Any]) -> None:
        """Put other values of fields of the config in place of those read."""
        if any(self.config.get(name) != value for name, value in fields.items()):
            whole = json_fields.object_in(self.config_text, self.folder / CONFIG)
            self.config = {**self.config, **fields}
            self.config_text = json_fields.json_text({**whole, **fields})

    @property
    def tie_word_embeddings(self) -> bool:
        """True where the output embeddings are the input embeddings."""
        with self.config_path_in_errors():
            return self.source.ties_embeddings(self.config, self.weights.header)

    @property
    def written_by(self) -> list[str]:
        """Classes that `architectures` of the config names."""
        named = self.config.get("architectures")
        return [n for n in named if isinstance(n, str)] if isinstance(named, list) else []

    def has_head(self, head: str) -> bool:
        """Return whether the weights of `head` are in the checkpoint."""
        with self.config_path_in_errors():
            return self.source.holds_head(head, self.config, self.weights.header)

    def stored_heads(self) -> list[str]:
        """Return the heads whose weights are in the checkpoint."""
        return [name for name in self.source.heads if self.has_head(name)]

    def arguments(self, **overrides: Any) -> dict[str, Any]:
        """Return the backbone's arguments.

        Raises:
            ConfigError: a field of config.json has a value that can't be computed.
        """
        with self.config_path_in_errors():
            try:
                return self.source.arguments(self.config, self.weights.header) | overrides
            except ConfigError as e:
                if self.config.get("model_type") is not None:
                    raise
                raise ConfigError(
                    f"{e}. It has no model_type, so every field must be known: with the line "
                    f"{model_type_line(self.source.model_type)} those that "
                    f"{self.source.model_type} never reads are accepted"
                ) from None

    def read_sidecar(self, name: str) -> dict[str, Any]:
        """Return the content of another JSON file, such as `generation_config.json`; {} without it.

        Raises:
            CheckpointFileError: the file isn't JSON.
        """
        if self.author_checkpoint:
            return dict(self.author_checkpoint.sidecar_files.get(name, {}))
        path = resolve_inside(self.folder, name, plain=True)
        return json_fields.read_object(path) if path.is_file() else {}

    def sidecar_texts(self) -> dict[str, str]:
        """Return the texts of the files of `sidecar_names`.

        Raises:
            CheckpointFileError: one can't be read.
        """
        if self.author_checkpoint:
            return {
                name: json_fields.json_text(content)
                for name, content in self.author_checkpoint.sidecar_files.items()
            }
        return read_sidecar_texts(self.folder)

    def unread_fields(self) -> list[str]:
        """Return the fields of the config that no code of the reference for this model reads."""
        config = self.author_checkpoint.config if self.author_checkpoint else self.config
        source = self.author_checkpoint.source if self.author_checkpoint else self.source
        return list(source.config_map.ignored_fields(config))

    def head_arguments(self, head: str) -> dict[str, Any]:
        with self.config_path_in_errors():
            return self.source.head_arguments(head, self.config)

    @contextmanager
    def config_path_in_errors(self) -> Iterator[None]:
        """Name the file in every ConfigError."""
        try:
            yield
        except ConfigError as e:
            raise ConfigError(f"{self.folder / CONFIG}: {e}") from None

    def backbone(self, cls: type[Any] | None = None, **arguments: Any) -> Any:
        """Build the architecture's backbone, or one of `cls`, with initial weights.

        Raises:
            ConfigError: sizes that fit none, by the names of the fields that they are from.
        """
        try:
            return (cls or self.architecture.backbone)(**arguments)
        except InputError as e:
            source = self.author_checkpoint.source if self.author_checkpoint else self.source
            config = self.author_checkpoint.config if self.author_checkpoint else self.config
            fields = {f.ours: f.theirs for f in source.config if isinstance(f, Field)}
            declared = source.arguments(config, ())
            names = [
                f"{ours} is {theirs!r}"
                for ours, theirs in fields.items()
                if re.search(rf"\b{ours}=", str(e)) and declared[ours] == arguments[ours]
            ]
            if not names:
                raise
            where = self.path if self.author_checkpoint else self.folder / CONFIG
            raise ConfigError(f"{where}: {e} Of these, {', '.join(names)} there") from None

    def prove(
        self, build: Callable[[], keras.Model] | None = None, head: str | None = None
    ) -> Proof:
        """Prove the weight map on the headers of this checkpoint.

        Args:
            build: makes the model that the checkpoint is for; the bare backbone by default.
            head: the head that this model has, if it has one.

        Raises:
            ConfigError: a field of the config has a value that can't be computed.
            WeightMapError: with every tensor and variable that breaks the proof.
        """
        arguments = self.arguments()
        build = build or (lambda: self.backbone(**arguments))
        model, _ = build_without_values(build)
        arguments = backbone_of(model).arguments
        ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
        tie = self.tie_word_embeddings
        proof, *_ = [
            prove(source, weights.header, ours, arguments, head, tie, str(self.folder))
            for source, weights in self.formats()
        ]
        ignored = self.author_checkpoint.ignored_tensors if self.author_checkpoint else {}
        return replace(proof, passthrough={**proof.passthrough, **ignored})

    def formats(self) -> list[tuple[Source, Weights]]:
        """Return the format on disk first (errors use its names), then Hugging Face's."""
        authors = self.author_checkpoint
        on_disk = [(authors.source, authors.weights)] if authors else []
        return [*on_disk, (self.source, self.weights)]

    def copy_to(self, folder: Path) -> None:
        """Write config and weights to an existing folder, in Hugging Face's format.

        Raises:
            CheckpointFileError: the folder can't be written.
        """
        write_checkpoint(folder, self.config_text, self.weights.shards, self.weights.read)
        write_texts(folder, self.sidecar_texts())
