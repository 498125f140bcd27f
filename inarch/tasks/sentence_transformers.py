"""The folder layout of sentence-transformers, read and written without the library.

Format: sentence-transformers, base/model.py (`modules.json`) and the modules' own config files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError, ConfigError
from inarch.file_names import MODULES, SENTENCE_TRANSFORMER_FILES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.files import read_file
from inarch.json_fields import json_text, parse, read_object
from inarch.layers.pooling import MODES
from inarch.paths import resolve_inside
from inarch.tasks import sentence_fields
from inarch.tasks.sentence_fields import POOLING_FLAGS, check_fields, keyword_arguments
from inarch.text import Tokenizer

# The first of these that has a value counts.
TRANSFORMER_FILES = SENTENCE_TRANSFORMER_FILES
# Where newer versions have the longest sequence, before `max_seq_length` next to it.
PROCESSOR_ARGUMENTS = ("processor_kwargs", "tokenizer_args")
LENGTH = "model_max_length"


@dataclass(frozen=True)
class SentenceConfig:
    """Settings of a sentence-transformers folder, besides those of the transformer itself.

    Args:
        pooling: modes, concatenated.
        normalize: whether vectors have length one.
        max_seq_length: longest sequence in tokens, or none.
        lowercase: whether text is lower-cased before the tokenizer.
        prompts: named texts to put before an input.
        default_prompt_name: the prompt that is used when none is named.
        similarity_fn_name: how vectors are compared: "cosine", "dot", "euclidean", "manhattan".
        truncate_dim: so many numbers of each vector are kept, or all.
        files: the original files' text, to write back as it was.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = False
    max_seq_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"
    truncate_dim: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path) -> SentenceConfig:
    """Return the pooling of a checkpoint folder; where none is declared, mean pooling.

    Raises:
        ConfigError: a module, or a field of one of the files, that isn't computed here; it is
            named.
        CheckpointFileError: a file that `modules.json` needs is absent or damaged.
    """
    for usual in (MODULES, SETTINGS, *TRANSFORMER_FILES):
        resolve_inside(folder, usual)
    if not (folder / MODULES).is_file():
        return SentenceConfig()
    names = [MODULES]
    found = SentenceConfig(pooling=(), files={})
    for place, module in enumerate(_modules(folder)):
        kind, path = _kind(module), module.get("path", "")
        resolve_inside(folder, path, f"{folder / MODULES}: 'path' of module {place}")
        resolve_inside(folder, f"{path}/config.json" if path else "config.json")
        config = f"{path}/config.json" if path else ""
        if kind == "Transformer" and place == 0:
            found, name = _transformer(folder, path, found)
            names += [name] if name else []
        elif kind == "Pooling" and not found.pooling:
            found = replace(found, pooling=_pooling(folder / path, found))
            names.append(config)
        elif kind == "Normalize" and found.pooling:
            found = replace(found, normalize=True)
            if config and (folder / config).is_file():
                _fields(folder / config, sentence_fields.NORMALIZE)
                names.append(config)
        else:
            raise ConfigError(
                f"{folder / MODULES}: module {place} is {module.get('type')!r}; computed here: a "
                "Transformer, then Pooling, then optionally Normalize"
            )
    if not found.pooling:
        raise ConfigError(f"{folder / MODULES} has no Pooling module, so no sentence vector")
    if (folder / SETTINGS).is_file():
        names.append(SETTINGS)
        found = _settings(folder / SETTINGS, found)
    return replace(found, files={name: _text(folder / name) for name in names})


def _settings(path: Path, found: SentenceConfig) -> SentenceConfig:
    config = read_object(path)
    check_fields(path, config, sentence_fields.SETTINGS, strict=False)
    prompts = {k: v for k, v in (config.get("prompts") or {}).items() if v is not None}
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ConfigError(
            f"{path}: default_prompt_name is {default!r}, and the prompts are "
            f"{', '.join(map(repr, prompts)) or 'none'}; name one of them"
        )
    return replace(
        found,
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name=config.get("similarity_fn_name") or "cosine",
        truncate_dim=config.get("truncate_dim"),
    )


def _fields(path: Path, known: Mapping[str, sentence_fields.Check]) -> dict[str, Any]:
    config = read_object(path)
    check_fields(path, config, known)
    return config


def _text(path: Path) -> str:
    # Line ends as they are, so that the file is written back byte for byte.
    try:
        return read_file(path).decode()
    except UnicodeDecodeError as e:
        raise CheckpointFileError(f"{path} isn't UTF-8 text: {e.reason}; fetch it again") from e


def module_kinds(folder: Path) -> list[str]:
    """Return the class names of the modules that a folder lists, in order; [] without a list.

    Raises:
        CheckpointFileError: `modules.json` is damaged.
    """
    there = resolve_inside(folder, MODULES).is_file()
    return [_kind(module) for module in _modules(folder)] if there else []


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES
    value = parse(read_file(path), path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointFileError(f"{path} holds no list of modules")
    return value


def _kind(module: Mapping[str, Any]) -> str:
    """Return the class name of a module; nothing named in a file is ever imported."""
    kind = str(module.get("type"))
    return kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind


def _transformer(
    folder: Path, path: str, found: SentenceConfig
) -> tuple[SentenceConfig, str | None]:
    if path:
        raise ConfigError(
            f"{folder / MODULES} keeps the transformer in {path!r}; give the folder "
            f"{folder / path} to load it without its pooling"
        )
    there = [name for name in TRANSFORMER_FILES if (folder / name).is_file()]
    for name in there:
        config = _fields(folder / name, sentence_fields.TRANSFORMER)
        if not config:
            continue
        given = keyword_arguments(config, *PROCESSOR_ARGUMENTS)
        limit = given.get(LENGTH, config.get("max_seq_length"))
        lowercase = bool(config.get("do_lower_case"))
        return replace(found, max_seq_length=limit, lowercase=lowercase), name
    return found, there[0] if there else None


def _pooling(folder: Path, found: SentenceConfig) -> tuple[str, ...]:
    config = _fields(folder / "config.json", sentence_fields.POOLING)
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


def without_modules(files: Mapping[str, str]) -> dict[str, str]:
    """Return the original files that don't describe modules after the transformer."""
    return {n: text for n, text in files.items() if n in (SETTINGS, *TRANSFORMER_FILES)}


def write(
    config: SentenceConfig, folder: Path, embedding_dim: int, tokenizer: Tokenizer | None = None
) -> None:
    """Write the files that make `folder` a sentence-transformers model.

    Args:
        config: their content; its original files are updated where they differ from it.
        folder: where to write.
        embedding_dim: the transformer's width.
        tokenizer: whose longest sequence is in force where the files have none. Without one,
            nothing is known about texts, and the files' settings of them stay.
    """
    files = dict(config.files)
    if MODULES not in files:
        files |= _modules_files(config, embedding_dim)
        text = {"max_seq_length": config.max_seq_length, "do_lower_case": config.lowercase}
        if not any(name in files for name in TRANSFORMER_FILES):
            files[TRANSFORMER_FILES[0]] = json_text(text)
    if tokenizer is not None:
        files |= _text_files(config, files, tokenizer.model_max_length)
    files |= _settings_files(config, files, has_text=tokenizer is not None)
    for name, content in files.items():
        path = resolve_inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8", newline="")


def _text_files(
    config: SentenceConfig, files: Mapping[str, str], usual: int | None
) -> dict[str, str]:
    """Return the transformer's file, if its length or lower-casing differs from the current."""
    name = next((name for name in files if name in TRANSFORMER_FILES), TRANSFORMER_FILES[0])
    declared = json.loads(files.get(name, "{}"))
    now: dict[str, Any] = {}
    limit = keyword_arguments(declared, *PROCESSOR_ARGUMENTS).get(
        LENGTH, declared.get("max_seq_length")
    )
    if (limit or usual) != config.max_seq_length:
        now["max_seq_length"] = config.max_seq_length
        # What the tokenizer is given goes before it.
        for key in PROCESSOR_ARGUMENTS:
            if LENGTH in (declared.get(key) or {}):
                now[key] = declared[key] | {LENGTH: config.max_seq_length}
    if bool(declared.get("do_lower_case")) != config.lowercase:
        now["do_lower_case"] = config.lowercase
    return {name: json_text(declared | now)} if now else {}


def _settings_files(
    config: SentenceConfig, files: Mapping[str, str], has_text: bool
) -> dict[str, str]:
    """Return the settings' file, if it differs from the current settings.

    Args:
        has_text: whether the prompts are known; otherwise those of the file stay.
    """
    declared = json.loads(files.get(SETTINGS, "{}"))
    before = {
        "similarity_fn_name": declared.get("similarity_fn_name") or "cosine",
        "truncate_dim": declared.get("truncate_dim"),
    }
    if has_text:
        prompts = declared.get("prompts") or {}
        before["prompts"] = {name: text for name, text in prompts.items() if text is not None}
        before["default_prompt_name"] = declared.get("default_prompt_name")
    after = {name: getattr(config, name) for name in before}
    changed = {name: value for name, value in after.items() if value != before[name]}
    return {SETTINGS: json_text(declared | changed)} if changed else {}


def _modules_files(config: SentenceConfig, embedding_dim: int) -> dict[str, str]:
    """Return the list of modules, and the files of those after the transformer."""
    module_types = ["Transformer", "Pooling", *(["Normalize"] if config.normalize else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(module_types)
    ]
    values: dict[str, Any] = {
        MODULES: modules,
        "1_Pooling/config.json": _pooling_config(config.pooling, embedding_dim),
    }
    if config.normalize:
        values["2_Normalize/config.json"] = {}
    return {name: json_text(value) for name, value in values.items()}


def _pooling_config(modes: tuple[str, ...], embedding_dim: int) -> dict[str, Any]:
    if modes == tuple(mode for mode in POOLING_FLAGS.values() if mode in modes):
        flags = {flag: mode in modes for flag, mode in POOLING_FLAGS.items()}
        return {"word_embedding_dimension": embedding_dim} | flags
    # Flags have one order and no repetition; newer versions read a list, older ones refuse it.
    return {"embedding_dimension": embedding_dim, "pooling_mode": list(modes)}
