"""JSON files next to config and weights that belong to the model and are written back with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inarch.errors import CheckpointFileError
from inarch.file_names import MODULES, SENTENCE_SETTINGS, SIDECAR_FILES
from inarch.files import read_file
from inarch.json_fields import read_object
from inarch.paths import resolve_inside

# What sentence-transformers' CrossEncoder writes from release 6 on, around a classifier.
CROSS_ENCODER_SETTINGS = SENTENCE_SETTINGS
CROSS_ENCODER = (MODULES, CROSS_ENCODER_SETTINGS, "sentence_bert_config.json")


def sidecar_names(folder: Path) -> list[str]:
    """Return the names of the files of a checkpoint folder that go with its model."""
    names = (*SIDECAR_FILES, *(CROSS_ENCODER if _is_cross_encoder(folder) else ()))
    return [name for name in names if resolve_inside(folder, name).is_file()]


def read_sidecar_texts(folder: Path) -> dict[str, str]:
    """Return the texts of the files of `sidecar_names`, by name.

    Raises:
        CheckpointFileError: one can't be read.
    """
    return {name: _text_at(resolve_inside(folder, name)) for name in sidecar_names(folder)}


def _is_cross_encoder(folder: Path) -> bool:
    """Return whether a `modules.json` is there with which CrossEncoder reads its own files."""
    modules, settings = (resolve_inside(folder, name) for name in CROSS_ENCODER[:2])
    if not modules.is_file() or not settings.is_file():
        return False
    try:
        return read_object(settings).get("model_type") == "CrossEncoder"
    except CheckpointFileError:
        return False  # what no reader of this folder can use is nobody's setting


def filter_sidecar(texts: Mapping[str, str], same_head: bool) -> dict[str, str]:
    """Return the files of a checkpoint that still hold after a head of it may be another."""
    return {name: text for name, text in texts.items() if same_head or name not in CROSS_ENCODER}


def _text_at(path: Path) -> str:
    try:
        return read_file(path).decode()
    except UnicodeDecodeError as e:
        raise CheckpointFileError(
            f"{path} can't be read as text ({e}); fetch it again, or take it out of the folder"
        ) from e
