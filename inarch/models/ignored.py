"""Fields of `config.json` that a user ignores: chosen on loading, repeated in what is saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.checkpoints.maps.fields import Field
from inarch.checkpoints.maps.nested import is_in, lookup
from inarch.checkpoints.maps.source import Source
from inarch.errors import CheckpointFileError, InputError, InputTypeError
from inarch.file_names import SETTINGS
from inarch.json_fields import json_text, read_object
from inarch.paths import resolve_inside
from inarch.user_warnings import warn
from inarch.validation import shown

KEY = "ignore_fields"
# Read by this library whatever the architecture; each has its own argument or none.
READ = frozenset(
    [
        "model_type", "architectures", "auto_map", "quantization_config",
        "tie_word_embeddings", "id2label", "num_labels", "problem_type",
        "sentence_transformers", "sbert_ce_default_activation_function",
    ]
)  # fmt: skip


def check_ignore_fields(names: Any) -> tuple[str, ...]:
    """Return the names of fields that a caller ignores.

    Raises:
        InputTypeError: it is no list of names.
    """
    strings = isinstance(names, Sequence | set | frozenset) and not isinstance(names, str | bytes)
    if not strings or not all(isinstance(name, str) for name in names):
        raise InputTypeError(
            f"ignore_fields is {shown(names)}; give a list of names of fields of config.json"
        )
    return tuple(dict.fromkeys(names))


def saved_ignore_fields(folder: Path) -> tuple[str, ...]:
    """Return the fields that were ignored when the model that `folder` holds was loaded.

    Raises:
        CheckpointFileError: `inarch.json` is damaged.
    """
    path = resolve_inside(folder, SETTINGS)
    names = read_object(path).get(KEY, []) if path.is_file() else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointFileError(f"{path}: {KEY} is {shown(names)}; it must be a list of names")
    return tuple(names)


def write_ignore_fields(folder: Path, names: Sequence[str]) -> None:
    """Repeat the ignored fields in the settings of a saved folder, which may have one already."""
    if names:
        path = folder / SETTINGS
        settings = read_object(path) if path.is_file() else {}
        path.write_text(json_text(settings | {KEY: list(names)}), "utf-8")


def select_ignored(
    config: Mapping[str, Any],
    given: Iterable[str],
    saved: Iterable[str],
    source: Source,
    where: str | Path,
) -> dict[str, Any]:
    """Return the fields of `config` that are ignored, with their values.

    A name that the caller gives and the config doesn't have is warned of.

    Raises:
        InputError: a field is mapped, so that ignoring it would change the model.
        CheckpointFileError: one of those that `inarch.json` names is.
    """
    entries = [*source.config, *(e for head in source.heads.values() for e in head.config)]
    fields = [entry for entry in entries if isinstance(entry, Field)]
    read = READ.union(*(field.known_names for field in fields))
    given, saved = list(given), list(saved)
    for name in saved:
        if name in read:
            raise CheckpointFileError(
                f"{Path(where).with_name(SETTINGS)}: {KEY} names {name!r}, which {where} is read "
                "for: only fields that are unknown or refused can be ignored. Take it out"
            )
    for name in given:
        if name in read:
            raise InputError(
                f"ignore_fields names {name!r}, which {where} is read for: only fields that are "
                "unknown or refused can be ignored. Change the field itself, or give the argument "
                "that it sets"
            )
    absent = [name for name in given if not is_in(config, name)]
    if absent:
        warn(f"ignore_fields names {', '.join(map(repr, absent))}, which {where} doesn't have")
    return {name: lookup(config, name) for name in (*given, *saved) if is_in(config, name)}
