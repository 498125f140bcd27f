"""The folder layout of sentence-transformers, read and written without the library.

Format: sentence-transformers, base/model.py (`modules.json`) and the modules' own config files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.errors import ConfigError
from inarch.file_names import MODULES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.json_fields import json_text
from inarch.layers.pooling import MODES
from inarch.sentence_transformers import sentence_fields
from inarch.sentence_transformers.embedding_modules import FIELDS, config_of
from inarch.sentence_transformers.module_files import (
    Module,
    TextConfig,
    file_texts,
    list_modules,
    modules_list,
    read_fields,
    read_settings,
    read_transformer,
    write_model,
)
from inarch.sentence_transformers.module_weights import read_module, write_weights
from inarch.sentence_transformers.sentence_fields import POOLING_FLAGS, Check
from inarch.sentence_transformers.settings import folder_config

if TYPE_CHECKING:
    from inarch.tasks.task import Task


@dataclass(frozen=True)
class SentenceConfig(TextConfig):
    """Settings of a folder, besides those of the transformer itself.

    Args:
        pooling, normalize, modules, similarity_fn_name, truncate_dim: arguments of a
            `TextEmbedder`.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = False
    modules: tuple[Mapping[str, Any], ...] = ()
    similarity_fn_name: str = "cosine"
    truncate_dim: int | None = None


def read(
    folder: Path,
    known: Mapping[str, Mapping[str, Check]] = FIELDS,
    known_settings: Mapping[str, Check] = sentence_fields.SETTINGS,
) -> SentenceConfig:
    """Return the pooling of a checkpoint folder; where none is declared, mean pooling.

    Args:
        known: fields of each kind of module, with the values that are computed.
        known_settings: the same of config_sentence_transformers.json.

    Raises:
        ConfigError: a module, or a field of one of the files, that isn't computed here; it is
            named.
        CheckpointFileError: a file that `modules.json` needs is absent or damaged.
    """
    modules = list_modules(folder)
    if modules is None:
        return SentenceConfig()
    if any(module.kind == "MultiVectorMask" for module in modules):
        raise ConfigError(f"{folder / MODULES} has no sentence vector{_way_out(modules)}")
    names = [MODULES]
    found = SentenceConfig(pooling=())
    for place, module in enumerate(modules):
        kind, path, config = module.kind, module.path, module.config
        if kind == "Transformer" and place == 0:
            found, own = read_transformer(folder, path, found)
            names += own
        elif kind == "Pooling" and not found.pooling:
            found = replace(found, pooling=_pooling(folder / path, found))
            names.append(config)
        elif _may_follow(kind, found):
            # Older versions of the library write no config for Normalize.
            there = kind != "Normalize" or (config and (folder / config).is_file())
            names += [config] if there else []
            module_config = (
                read_module(folder, kind, path, known[kind]) if there else {"type": kind}
            )
            found = replace(found, modules=(*found.modules, module_config))
        else:
            raise ConfigError(
                f"{folder / MODULES}: module {place} is {module.type!r}; computed here: a "
                "Transformer, optionally WordWeights, Pooling, then any of Dense, LayerNorm and "
                "Normalize" + _way_out(modules)
            )
    if not found.pooling:
        raise ConfigError(f"{folder / MODULES} has no Pooling module, so no sentence vector")
    if found.modules and found.modules[-1]["type"] == "Normalize":
        found = replace(found, modules=found.modules[:-1], normalize=True)
    found, settings = read_settings(folder, found, known_settings)
    declared = settings.get(SETTINGS, {})
    return replace(
        found,
        similarity_fn_name=declared.get("similarity_fn_name") or found.similarity_fn_name,
        truncate_dim=declared.get("truncate_dim"),
        files=file_texts(folder, [*names, *settings]),
    )


def _may_follow(kind: str, found: SentenceConfig) -> bool:
    """Return whether a module of this kind may come after those that are found."""
    if kind == "WordWeights":
        return not found.pooling and not found.modules
    return kind in FIELDS and bool(found.pooling)


def _way_out(modules: Sequence[Module]) -> str:
    """Return the class that reads a folder of another kind of model, for an error."""
    kinds = {module.kind for module in modules}
    if "SpladePooling" in kinds:
        return ". Use SparseEmbedder for this folder"
    return "" if "Pooling" in kinds else ". Use MultiVectorEmbedder where each token has a vector"


def _pooling(folder: Path, found: SentenceConfig) -> tuple[str, ...]:
    config = read_fields(folder / "config.json", sentence_fields.POOLING)
    declared = config.get("pooling_mode")
    if declared is None:
        declared = [mode for flag, mode in POOLING_FLAGS.items() if config.get(flag)] or ["mean"]
    modes = (declared,) if isinstance(declared, str) else tuple(declared)
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        raise ConfigError(
            f"{folder / 'config.json'}: pooling mode {unknown[0]!r}; known: {', '.join(MODES)}"
        )
    return modes


def write(task: Task, folder: Path) -> None:
    """Write the files that make `folder` a sentence-transformers model, with its modules' weights.

    The original files are updated where they differ from the `TextEmbedder`.
    """
    config = folder_config(SentenceConfig, task)
    files = dict(config.files)
    if MODULES not in files:
        files |= modules_files(config, task.backbone.arguments["hidden_dim"])
    settings = {"similarity_fn_name": "cosine", "truncate_dim": None}
    values = {name: getattr(config, name) for name in settings}
    write_model(config, files, folder, task.preprocessor, values, settings)
    write_weights(task, config.modules, folder)


def modules_files(config: SentenceConfig, embedding_dim: int) -> dict[str, str]:
    """Return the list of modules, and the files of those after the transformer."""
    before = [module for module in config.modules if module["type"] == "WordWeights"]
    after = [module for module in config.modules if module["type"] != "WordWeights"]
    pooling = _pooling_config(config.pooling, embedding_dim)
    configs: list[tuple[str, dict[str, Any]]] = [
        ("Transformer", {}),
        *((module["type"], config_of(module)) for module in before),
        ("Pooling", pooling),
        *((module["type"], config_of(module)) for module in after),
        *([("Normalize", {})] if config.normalize else []),
    ]
    paths = [f"{i}_{kind}" if i else "" for i, (kind, _) in enumerate(configs)]
    types = {
        path: f"sentence_transformers.models.{kind}"
        for path, (kind, _) in zip(paths, configs, strict=True)
    }
    files: dict[str, Any] = {MODULES: modules_list(types)}
    for path, (_, fields) in zip(paths, configs, strict=True):
        if path:
            files[f"{path}/config.json"] = fields
    return {name: json_text(value) for name, value in files.items()}


def _pooling_config(modes: tuple[str, ...], embedding_dim: int) -> dict[str, Any]:
    if modes == tuple(mode for mode in POOLING_FLAGS.values() if mode in modes):
        flags = {flag: mode in modes for flag, mode in POOLING_FLAGS.items()}
        return {"word_embedding_dimension": embedding_dim} | flags
    # Flags have one order and no repetition; newer versions read a list, older ones refuse it.
    return {"embedding_dimension": embedding_dim, "pooling_mode": list(modes)}
