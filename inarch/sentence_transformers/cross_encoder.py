"""Settings that sentence-transformers' CrossEncoder records in a reranker's folder.

Source: sentence-transformers, cross_encoder/model.py. Before release 4 `config.json` had the field
`sbert_ce_default_activation_function`, then `sentence_transformers`; from release 6 on
`config_sentence_transformers.json` has the activation, and counts before the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.answers.activation import class_path, from_class_path
from inarch.errors import ConfigError, PresetError
from inarch.file_names import MODULES
from inarch.json_fields import json_text
from inarch.models.loading import Checkpoint
from inarch.models.sidecar import CROSS_ENCODER, CROSS_ENCODER_SETTINGS, sidecar_names
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers import sentence_fields
from inarch.sentence_transformers.module_files import (
    TRANSFORMER_FILES,
    TextConfig,
    file_texts,
    module_kinds,
    modules_list,
    write_model,
)
from inarch.sentence_transformers.settings import text_fields

OLD_FIELD = "sbert_ce_default_activation_function"
FIELD = "sentence_transformers"
# What release 6 writes of a transformer with a classification head.
_MODULES = modules_list({"": "sentence_transformers.base.modules.transformer.Transformer"})
_TRANSFORMER = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "scores",
}


def recorded_activation(checkpoint: Checkpoint) -> str | None:
    """Return the activation that CrossEncoder applies to the logits; None where none is recorded.

    Raises:
        ConfigError: the activation isn't one that is computed here; it is named.
    """
    settings = settings_of(checkpoint)
    if (path := settings.get("activation_fn")) is not None:
        return from_class_path(path, f"{CROSS_ENCODER_SETTINGS}: activation_fn")
    return _activation_of(checkpoint.config)


def settings_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings that CrossEncoder reads next to `config.json`; {} without any."""
    there = CROSS_ENCODER_SETTINGS in sidecar_names(checkpoint.folder)
    return checkpoint.read_sidecar(CROSS_ENCODER_SETTINGS) if there else {}


def is_declared(checkpoint: Checkpoint) -> bool:
    """Return whether the files of a checkpoint show that CrossEncoder wrote it."""
    return bool(settings_of(checkpoint)) or records(checkpoint.config)


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


def transformer_fields(folder: Path) -> Mapping[str, sentence_fields.Check]:
    """Return the fields that are computed of a transformer, by the modules that follow it."""
    kinds = module_kinds(folder)
    if "LogitScore" in kinds:
        return sentence_fields.CAUSAL_TRANSFORMER
    is_pooled = "Pooling" in kinds
    return sentence_fields.TRANSFORMER if is_pooled else sentence_fields.CROSS_ENCODER_TRANSFORMER


def check_modules(checkpoint: Checkpoint, head: str, counted: bool) -> None:
    """Refuse a folder of sentence-transformers whose modules make no score of a pair.

    Args:
        counted: whether the caller gives the number of classes, and so asks for a fresh head.

    Raises:
        ConfigError: CrossEncoder has other modules than a transformer with its head.
        PresetError: the folder is of a model that makes a vector of each text.
    """
    kinds = module_kinds(checkpoint.folder)
    if kinds in ([], ["Transformer"]):
        return
    listed = f"{MODULES} has {', '.join(kinds)}"
    if is_declared(checkpoint) and not counted:
        raise ConfigError(
            f"{checkpoint.folder}: {listed}; computed here: a Transformer with its own "
            "classification head; a Transformer, Pooling and modules that end in a Dense; or a "
            "Transformer and LogitScore"
        )
    if not counted and not checkpoint.has_head(head):
        raise PresetError(
            f"{checkpoint.folder} is a bi-encoder and no reranker: {listed}, which make a vector "
            "of each text. Load it by TextEmbedder; or give num_classes=1 to train its "
            "transformer, with a fresh head, as a reranker"
        )


def update_files(
    folder: Path, activation: str | None, preprocessor: TextPreprocessor | None, create: bool
) -> None:
    """Bring CrossEncoder's own files of a saved folder up to a task's settings.

    Args:
        preprocessor: whose lengths and prompts are written; where it is None, the files' stay.
        create: whether to write the files where the folder has none.
    """
    there = [name for name in CROSS_ENCODER if (folder / name).is_file()]
    if CROSS_ENCODER_SETTINGS not in there and not create:
        return
    files = file_texts(folder, there)
    files = {MODULES: json_text(_MODULES), TRANSFORMER_FILES[0]: json_text(_TRANSFORMER)} | files
    settings = settings_to_write(files, activation)
    config = TextConfig(files=files, **text_fields(preprocessor))
    write_model(config, files, folder, preprocessor, settings, dict.fromkeys(settings))


def settings_to_write(files: Mapping[str, str], activation: str | None) -> dict[str, Any]:
    """Return CrossEncoder's own settings for its file, of which `files` may have the text."""
    recorded = json.loads(files.get(CROSS_ENCODER_SETTINGS, "{}")).get("activation_fn")
    return {"model_type": "CrossEncoder", "activation_fn": _path(activation, recorded)}


def _path(activation: str | None, recorded: Any) -> str | None:
    """Return the name to write for an activation: as it is recorded, where that is the same one."""
    try:
        if recorded is not None and from_class_path(recorded, "") == activation:
            return recorded
    except ConfigError:
        pass  # the caller gave another in its place
    return class_path(activation) if activation else None
