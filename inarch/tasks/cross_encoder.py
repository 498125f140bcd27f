"""Settings that sentence-transformers' CrossEncoder records in a reranker's folder.

Source: sentence-transformers, cross_encoder/model.py. Before release 4 `config.json` had the field
`sbert_ce_default_activation_function`, then `sentence_transformers`; from release 6 on
`config_sentence_transformers.json` has the activation, and counts before the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.checkpoints.maps.layout import Layout
from inarch.errors import ConfigError
from inarch.json_fields import json_text, read_object
from inarch.models.loading import Checkpoint
from inarch.models.sidecar import CROSS_ENCODER_SETTINGS, sidecar_names
from inarch.tasks.activation import class_path, from_class_path
from inarch.user_warnings import warn

OLD_FIELD = "sbert_ce_default_activation_function"
FIELD = "sentence_transformers"


def recorded_activation(checkpoint: Checkpoint) -> str | None:
    """Return the activation that CrossEncoder applies to the logits; None where none is recorded.

    Raises:
        ConfigError: the activation isn't one that is computed here; it is named.
    """
    settings = read_settings(checkpoint)
    if (path := settings.get("activation_fn")) is not None:
        return from_class_path(path, f"{CROSS_ENCODER_SETTINGS}: activation_fn")
    return _activation_of(checkpoint.config)


def read_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings that CrossEncoder reads next to `config.json`; {} without any."""
    there = CROSS_ENCODER_SETTINGS in sidecar_names(checkpoint.folder)
    return checkpoint.read_sidecar(CROSS_ENCODER_SETTINGS) if there else {}


def _activation_of(config: Mapping[str, Any]) -> str | None:
    recorded = config.get(FIELD)
    if recorded is not None and not isinstance(recorded, Mapping):
        raise ConfigError(
            f"config field {FIELD!r} is {recorded!r}; it must hold the name of an activation, "
            "as {'activation_fn': 'torch.nn.modules.activation.Sigmoid'} does"
        )
    if recorded is not None and "activation_fn" in recorded:
        path = recorded["activation_fn"]
        return None if path is None else from_class_path(path, f"config field '{FIELD}'")
    path = config.get(OLD_FIELD)
    return None if path is None else from_class_path(path, f"config field '{OLD_FIELD}'")


def has_settings(layout: Layout | None, head: str) -> bool:
    """Return whether a model's activation is saved in CrossEncoder's own settings."""
    return (
        layout is not None
        and layout.head == head
        and CROSS_ENCODER_SETTINGS in layout.sidecar_files
    )


def records(config: Mapping[str, Any]) -> bool:
    """Return whether a config has a field for the activation."""
    return FIELD in config or OLD_FIELD in config


def config_fields(config: Mapping[str, Any], activation: str | None) -> dict[str, Any]:
    """Return the fields to write so that `config` records `activation`; {} if it does already."""
    try:
        unchanged = _activation_of(config) == activation
    except ConfigError:
        unchanged = False
    if unchanged:
        return {}
    recorded = config.get(FIELD)
    fields: dict[str, Any] = {FIELD: dict(recorded) if isinstance(recorded, Mapping) else {}}
    fields[FIELD]["activation_fn"] = class_path(activation) if activation else None
    if OLD_FIELD in config:
        fields[OLD_FIELD] = fields[FIELD]["activation_fn"]
    return fields


def write_settings(folder: Path, activation: str | None) -> None:
    """Bring the settings file of a saved CrossEncoder folder, if it has one, up to `activation`."""
    path = folder / CROSS_ENCODER_SETTINGS
    if not path.is_file():
        return
    settings = read_object(path)
    recorded = settings.get("activation_fn")
    wanted = class_path(activation) if activation else None
    try:
        unchanged = recorded is not None and from_class_path(recorded, "") == activation
    except ConfigError:
        unchanged = False
    if unchanged or (wanted is None and recorded is None):
        return
    path.write_text(json_text(settings | {"activation_fn": wanted}), "utf-8")


def warn_of_prompt(checkpoint: Checkpoint) -> None:
    """Warn where CrossEncoder would put a prompt before each text."""
    settings = read_settings(checkpoint)
    if (name := settings.get("default_prompt_name")) is not None:
        warn(
            f"{checkpoint.folder} has the default prompt {name!r}, which CrossEncoder puts before "
            "each text and TextClassifier doesn't: put it there yourself"
        )
