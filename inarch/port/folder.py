"""Write a drafted folder whole or not at all, and make one known for a while."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inarch.models
from inarch.checkpoints.io.flush import sync
from inarch.errors import CheckpointFileError
from inarch.models import registry


def write_folder(parent: Path, name: str, files: dict[str, str]) -> None:
    """Write a folder, whole or not at all; what is there is never replaced.

    Raises:
        CheckpointFileError: it can't be written, or is there.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".port.", dir=parent) as staged:
            fresh = Path(staged) / name
            fresh.mkdir()
            for file, text in files.items():
                (fresh / file).write_text(text, "utf-8")
            sync(fresh)
            if (parent / name).exists():
                raise FileExistsError(17, "it is there already")
            fresh.rename(parent / name)
    except OSError as e:
        raise CheckpointFileError(
            f"{parent / name} can't be written: {e.strerror or e}. Pass --to FOLDER, or another "
            "name"
        ) from e


@contextlib.contextmanager
def mounted(parent: Path, name: str) -> Iterator[Any]:
    """Make the architecture of a folder known while the block runs; yield it.

    Raises:
        ConfigError: it can't be read.
    """
    path, before = inarch.models.__path__, registry.architectures
    inarch.models.__path__ = [*path, str(parent)]
    registry.architectures = functools.cache(before.__wrapped__)
    importlib.invalidate_caches()
    forget(name)
    try:
        yield registry.architectures()[name]
    finally:
        inarch.models.__path__, registry.architectures = path, before
        forget(name)


def forget(name: str) -> None:
    """Forget the modules of a folder, so that they are imported anew."""
    module = f"{inarch.models.__name__}.{name}"
    for known in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        del sys.modules[known]
    vars(inarch.models).pop(name, None)
