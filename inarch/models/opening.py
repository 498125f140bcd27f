"""Opening of a path: Hugging Face's files, or an author format converted to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import inarch.json_fields as json_fields
from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.weights import Weights
from inarch.checkpoints.io.other_formats import others_in
from inarch.checkpoints.maps.author_formats import (
    AuthorFormat,
    OpenedCheckpoint,
    convert,
    find_author_format,
    near_misses,
)
from inarch.checkpoints.maps.nested import without
from inarch.checkpoints.maps.source import Source
from inarch.errors import CheckpointFileError, ConfigError
from inarch.files import read_file
from inarch.models import registry
from inarch.models.identify import identify
from inarch.models.ignored import saved_ignore_fields, select_ignored
from inarch.models.registry import Architecture
from inarch.models.saving import CONFIG
from inarch.paths import refuse_links_outside, resolve_inside


@dataclass(frozen=True)
class OpenedFiles:
    """Opened files of one checkpoint, as Hugging Face's format of them.

    Args:
        config: the content of `config.json` without the ignored fields.
        config_text: its text.
        ignored: the ignored fields, with their values.
        ignored_by_settings: those of them that only `inarch.json` names.
        author_checkpoint: what is on disk, where that is in a format of the authors' own.
    """

    architecture: Architecture
    source: Source
    config: dict[str, Any]
    config_text: str
    weights: Weights
    ignored: Mapping[str, Any] = field(default_factory=dict)
    ignored_by_settings: tuple[str, ...] = ()
    author_checkpoint: OpenedCheckpoint | None = None

    def close(self) -> None:
        """Close the files of the weights."""
        self.weights.close()
        if self.author_checkpoint:
            self.author_checkpoint.weights.close()


def open_files(path: Path, cls: type[Any] | None, ignore_fields: Collection[str]) -> OpenedFiles:
    """Open a folder or an author format's file: read the config and the headers of the weights.

    Args:
        cls: the backbone class that is called, which decides where the config has no `model_type`.

    Raises:
        CheckpointFileError: a file is absent or damaged, or the folder holds no checkpoint.
        ConfigError: `model_type` is unknown, or absent and nothing else shows it.
        InputError: an ignored field is one that the model is built by.
        WeightMapError: tensors of an author format are missing, unknown or of another shape.
    """
    folder = path if path.is_dir() else path.parent
    text, config = None, {}
    if path.is_dir() and resolve_inside(path, CONFIG).is_file():
        text = json_fields.text_in(read_file(path / CONFIG), path / CONFIG)
        config = json_fields.object_in(text, path / CONFIG)
    if config.get("model_type") is None:
        found = find_author_format(path, registry.author_formats())
        if found:
            return convert_author_format(path, found, ignore_fields)
    if text is None and not (folder / CONFIG).is_file():
        others = others_in(folder, foreign_alone=True)
        raise CheckpointFileError(
            f"{folder / CONFIG} does not exist, and the folder isn't in an author format either; "
            f"looked for {author_formats()}" + (f"; found {'; '.join(others)}" if others else "")
        )
    return _open_hugging_face(folder, config, text or "", cls, ignore_fields)


def _open_hugging_face(
    folder: Path,
    config: dict[str, Any],
    text: str,
    cls: type[Any] | None,
    ignore_fields: Collection[str],
) -> OpenedFiles:
    saved, where = saved_ignore_fields(folder), str(folder / CONFIG)
    model_type = config.get("model_type")
    known = None if model_type is None else registry.by_model_type(model_type)
    weights = files.open_weights(folder)
    try:
        if known is None:
            rest = without(config, (*ignore_fields, *saved))
            known = identify(rest, weights.header, cls, folder)
        architecture, source = known
        ignored = select_ignored(config, ignore_fields, saved, source, where)
    except BaseException:
        weights.close()
        raise
    return OpenedFiles(
        architecture,
        source,
        without(config, ignored),
        text,
        weights,
        ignored,
        tuple(name for name in ignored if name not in ignore_fields),
    )


def convert_author_format(
    path: Path, found: AuthorFormat, ignore_fields: Collection[str]
) -> OpenedFiles:
    """Open a folder or file in an author format, as Hugging Face's format of the same model.

    Raises:
        CheckpointFileError: a file is absent or damaged.
        ConfigError: a field of the config has a value that can't be computed.
        InputError: an ignored field is one that the model is built by.
        WeightMapError: tensors are missing, unknown or of another shape.
    """
    opened = _open_author_format(path, found)
    try:
        ignored = select_ignored(opened.config, ignore_fields, (), opened.source, str(path))
        opened = replace(opened, config=without(opened.config, ignored))
        architecture, source = registry.by_model_type(opened.source.model_type)
        try:
            config, weights = convert(opened, source, str(path))
        except ConfigError as e:
            raise ConfigError(f"{path}, {found.name}: {e}") from None
    except BaseException:
        opened.weights.close()
        raise
    return OpenedFiles(
        architecture,
        source,
        config,
        json_fields.json_text(config),
        weights,
        ignored,
        author_checkpoint=opened,
    )


def author_formats() -> str:
    """Return the files by which each author format is recognized, as an error lists them."""
    return "; ".join(f"{' and '.join(f.files)} ({f.name})" for f in registry.author_formats())


def _open_author_format(path: Path, found: AuthorFormat) -> OpenedCheckpoint:
    if path.is_dir():
        refuse_links_outside(path)
    try:
        return found.open(path)
    except CheckpointFileError as e:
        # What is known by its own name alone may well be a part of something else.
        folder = path if path.is_dir() else path.parent
        hints = near_misses(folder, registry.author_formats()) if found.single else []
        if not hints:
            raise
        raise CheckpointFileError(f"{e}; {'; '.join(hints)}") from e
