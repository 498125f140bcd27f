"""Files that all of sentence-transformers' kinds of models have, read and written without it.

Format: sentence-transformers, base/model.py (`modules.json`) and base/modules/transformer.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from inarch.errors import CheckpointFileError, ConfigError
from inarch.file_names import MODULES, SENTENCE_TRANSFORMER_FILES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.files import read_file
from inarch.json_fields import json_text, parse, read_object
from inarch.paths import resolve_inside
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers import sentence_fields
from inarch.sentence_transformers.sentence_fields import check_fields, keyword_arguments

# The first of these that has a value counts.
TRANSFORMER_FILES = SENTENCE_TRANSFORMER_FILES
# Where newer versions have the longest sequence, before `max_seq_length` next to it.
PROCESSOR_ARGUMENTS = ("processor_kwargs", "tokenizer_args")
LENGTH = "model_max_length"


@dataclass(frozen=True)
class TextConfig:
    """Settings of texts that a sentence-transformers folder of any kind has.

    Args:
        max_seq_length: longest sequence in tokens, or none.
        lowercase: whether text is lower-cased before the tokenizer.
        prompts: named texts to put before an input.
        default_prompt_name: the prompt that is used when none is named.
        files: the original files' text, to write back as it was.
    """

    max_seq_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


Config = TypeVar("Config", bound=TextConfig)


@dataclass(frozen=True)
class Module:
    """An entry of modules.json: its class by name and in full, its folder, and its config file."""

    kind: str
    type: Any
    path: str

    @property
    def config(self) -> str:
        return f"{self.path}/config.json" if self.path else ""


def list_modules(folder: Path) -> list[Module] | None:
    """Return the modules that a folder lists, in order; None without a list.

    Raises:
        CheckpointFileError: modules.json is damaged, or a path in it leads out of the folder.
    """
    for usual in (MODULES, SETTINGS, *TRANSFORMER_FILES):
        resolve_inside(folder, usual)
    if not (folder / MODULES).is_file():
        return None
    found = []
    for place, module in enumerate(_modules(folder)):
        path = module.get("path", "")
        resolve_inside(folder, path, f"{folder / MODULES}: 'path' of module {place}")
        resolve_inside(folder, f"{path}/config.json" if path else "config.json")
        found.append(Module(_kind(module), module.get("type"), path))
    return found


def module_kinds(folder: Path) -> list[str]:
    """Return the class names of the modules that a folder lists, in order; [] without a list."""
    return [module.kind for module in list_modules(folder) or ()]


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES
    value = parse(read_file(path), path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointFileError(f"{path} holds no list of modules")
    return value


def _kind(module: Mapping[str, Any]) -> str:
    """Return the class name of a module; nothing named in a file is ever imported."""
    kind = str(module.get("type"))
    known = kind.startswith(("sentence_transformers.", "pylate.models."))
    return kind.rpartition(".")[2] if known else kind


def read_transformer(
    folder: Path,
    path: str,
    found: Config,
    known: Mapping[str, sentence_fields.Check] = sentence_fields.TRANSFORMER,
) -> tuple[Config, dict[str, dict[str, Any]]]:
    """Return `found` with the settings of the transformer's own file, and that file, by its name.

    Raises:
        ConfigError: the transformer isn't in the root, or a field isn't `known`.
    """
    if path:
        raise ConfigError(
            f"{folder / MODULES} keeps the transformer in {path!r}; give the folder "
            f"{folder / path} to load it without its pooling"
        )
    there = [name for name in TRANSFORMER_FILES if (folder / name).is_file()]
    for name in there:
        config = read_fields(folder / name, known)
        if not config:
            continue
        given = keyword_arguments(config, *PROCESSOR_ARGUMENTS)
        limit = given.get(LENGTH, config.get("max_seq_length"))
        lowercase = bool(config.get("do_lower_case"))
        return replace(found, max_seq_length=limit, lowercase=lowercase), {name: config}
    return found, {name: {} for name in there[:1]}


def read_fields(path: Path, known: Mapping[str, sentence_fields.Check]) -> dict[str, Any]:
    """Return the content of a module's file; ConfigError for a field that isn't `known`."""
    config = read_object(path)
    check_fields(path, config, known)
    return config


def read_settings(
    folder: Path,
    found: Config,
    known: Mapping[str, sentence_fields.Check] = sentence_fields.SETTINGS,
) -> tuple[Config, dict[str, dict[str, Any]]]:
    """Return `found` with the prompts of config_sentence_transformers.json, and that file by name.

    Raises:
        ConfigError: a field that is `known` has a value that isn't computed here.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return found, {}
    config = read_object(path)
    check_fields(path, config, known, strict=False)
    prompts = {k: v for k, v in (config.get("prompts") or {}).items() if v is not None}
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ConfigError(
            f"{path}: default_prompt_name is {default!r}, and the prompts are "
            f"{', '.join(map(repr, prompts)) or 'none'}; name one of them"
        )
    return replace(found, prompts=prompts, default_prompt_name=default), {SETTINGS: config}


def file_texts(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the texts of files of a folder, by name."""
    return {name: _text(folder / name) for name in names}


def _text(path: Path) -> str:
    # Line ends as they are, so that the file is written back byte for byte.
    try:
        return read_file(path).decode()
    except UnicodeDecodeError as e:
        raise CheckpointFileError(f"{path} isn't UTF-8 text: {e.reason}; fetch it again") from e


def without_modules(files: Mapping[str, str]) -> dict[str, str]:
    """Return the original files that don't describe modules after the transformer."""
    return {n: text for n, text in files.items() if n in (SETTINGS, *TRANSFORMER_FILES)}


def modules_list(types: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the content of modules.json for modules, each the full name of its class by path."""
    return [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(types.items())
    ]


def write_model(
    config: TextConfig,
    files: Mapping[str, str],
    folder: Path,
    preprocessor: TextPreprocessor | None,
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> None:
    """Write the files of a model, whatever its modules, updated to its texts' and own settings.

    Args:
        config: settings of its texts.
        files: the list of modules and their files.
        folder: where to write.
        preprocessor: of the model, whose longest sequence is in force where the files have none.
            Without one, nothing is known about texts, and the files' settings of them stay.
        settings: values for config_sentence_transformers.json.
        defaults: the value of each where that file has none.
    """
    files = dict(files)
    if MODULES not in config.files and not any(name in files for name in TRANSFORMER_FILES):
        text = {"max_seq_length": config.max_seq_length, "do_lower_case": config.lowercase}
        files[TRANSFORMER_FILES[0]] = json_text(text)
    if preprocessor is not None:
        files |= _text_files(config, files, preprocessor.tokenizer.model_max_length)
        settings = {**settings, "prompts": config.prompts}
        settings["default_prompt_name"] = config.default_prompt_name
        defaults = {**defaults, "prompts": {}, "default_prompt_name": None}
    files |= _settings_files(files, settings, defaults)
    write_texts(folder, files)


def write_texts(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts of files into a folder, and into those below it that they name."""
    for name, content in files.items():
        path = resolve_inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8", newline="")


def _text_files(config: TextConfig, files: Mapping[str, str], usual: int | None) -> dict[str, str]:
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
    files: Mapping[str, str], settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, str]:
    """Return the settings' file, if it differs from the current settings."""
    declared = json.loads(files.get(SETTINGS, "{}"))
    before = {name: declared.get(name) or default for name, default in defaults.items()}
    if prompts := before.get("prompts"):
        before["prompts"] = {name: text for name, text in prompts.items() if text is not None}
    changed = {name: value for name, value in settings.items() if value != before[name]}
    return {SETTINGS: json_text(declared | changed)} if changed else {}
