"""Opens a folder in a format of the original authors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint, near_misses
from inarch.checkpoints.maps.nested import without
from inarch.errors import CheckpointFileError
from inarch.models import registry
from inarch.models.ignored import select_ignored
from inarch.paths import refuse_links_outside


def author_formats() -> str:
    """Return the files by which each author format is recognized, as an error lists them."""
    return "; ".join(f"{' and '.join(o.files)} ({o.name})" for o in registry.author_formats())


def open_author_format(
    path: Path, found: AuthorFormat, ignore_fields: Collection[str]
) -> tuple[OpenedCheckpoint, dict[str, Any]]:
    """Open a folder or file in an author format; return it with the fields that are ignored.

    Raises:
        CheckpointFileError: a file is absent or damaged.
        InputError: an ignored field is one that the model is built by.
    """
    if path.is_dir():
        refuse_links_outside(path)
    try:
        opened = found.open(path)
    except CheckpointFileError as e:
        # What is known by its own name alone may well be a part of something else.
        folder = path if path.is_dir() else path.parent
        hints = near_misses(folder, registry.author_formats()) if found.single else []
        if not hints:
            raise
        raise CheckpointFileError(f"{e}; {'; '.join(hints)}") from e
    ignored = select_ignored(opened.config, ignore_fields, (), opened.source, str(path))
    return replace(opened, config=without(opened.config, ignored)), ignored
