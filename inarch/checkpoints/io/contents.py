"""The files of a folder that are a checkpoint's: those that a save may replace or make stale."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import inarch.json_fields as json_fields
from inarch.errors import CheckpointFileError, InarchError
from inarch.file_names import (
    CONFIG,
    INDEX_FILES,
    MODULES,
    OTHER_PATTERNS,
    SENTENCE_FILES,
    SETTINGS,
    SIDECAR_FILES,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    WEIGHT_PATTERNS,
)
from inarch.files import read_file
from inarch.paths import resolve_to_replace

# What a folder has of a save that isn't in place yet; see `publish`.
COMMITTED = ".inarch-save"
_PATTERNS = (*OTHER_PATTERNS, *(pattern for line in WEIGHT_PATTERNS for pattern in line))
# Files that name other files of the checkpoint.
LISTS = (*INDEX_FILES, MODULES)
# What distinguishes a model's config.json from that of any other program; and next to weights, from
# that of another program's model.
_MODEL_FIELDS = ("model_type", "architectures")
_SIZE_FIELDS = ("vocab_size", "hidden_size", "d_model", "dim")
# Weights, by names that other programs don't give.
_SHARD = re.compile(r"(model|pytorch_model)-\d{5}-of-\d{5}\.(safetensors|bin)")
# What a module of sentence-transformers has in a folder of its own.
_MODULE_FILES = (CONFIG, "model.safetensors", "pytorch_model.bin")
_MODULE_FILE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors|pytorch_model\.bin)")


def is_weight_file(name: str) -> bool:
    """Return whether a file of a checkpoint holds weights, or an index of them."""
    return name in WEIGHT_FILES or _is_shard(name)


def is_checkpoint_file(name: str) -> bool:
    """Return whether a file, by its path in a folder, may be one that a checkpoint consists of."""
    return _matches(name, _PATTERNS) and not name.startswith(".")


def stale_files(folder: Path, written: Collection[str]) -> list[str]:
    """Return the files of a folder that a save of the files `written` makes stale.

    They are of the checkpoint that was saved there before, of each group of which the save has
    files: the weights that a loader would look for and the shards that their index lists, and with
    them how the model generates and what it is fed; the tokenizer's files; and
    sentence-transformers' with those of the modules that they list, which the save of a task makes
    stale too, since they say that the folder is of another task.
    """
    stale: set[str] = set()
    if any(map(is_weight_file, written)):
        stale |= {*WEIGHT_FILES, *SIDECAR_FILES, *_listed_shards(folder)}
    if any(name in TOKENIZER_FILES for name in written):
        stale |= {*TOKENIZER_FILES}
    declaring = (SETTINGS, *SENTENCE_FILES)
    if any(name in declaring or _MODULE_FILE.fullmatch(name) for name in written):
        stale |= {*SENTENCE_FILES, *_listed_modules(folder)}
    return sorted(name for name in stale.difference(written) if _is_replaceable(folder, name))


def _is_replaceable(folder: Path, name: str) -> bool:
    """Return whether a file is there and in the folder, so that a save can remove it."""
    try:
        return os.path.lexists(resolve_to_replace(folder, name))
    except CheckpointFileError:
        return False


def may_be_stale(name: str) -> bool:
    """Return whether a file is one that `stale_files` may give."""
    known = (*WEIGHT_FILES, *SIDECAR_FILES, *TOKENIZER_FILES, *SENTENCE_FILES)
    return name in known or _is_shard(name) or bool(_MODULE_FILE.fullmatch(name))


def _is_shard(name: str) -> bool:
    """Return whether a name can be a shard's, as an index gives them."""
    return "/" not in name and name.endswith((".safetensors", ".bin"))


def _listed_shards(folder: Path) -> list[str]:
    found: list[Any] = []
    for name in INDEX_FILES:
        listed = _content(folder / name)
        weight_map = listed.get("weight_map") if isinstance(listed, dict) else None
        found += weight_map.values() if isinstance(weight_map, dict) else ()
    return [name for name in found if isinstance(name, str) and _is_shard(name)]


def _listed_modules(folder: Path) -> list[str]:
    """Return the files of the modules of sentence-transformers that a folder lists."""
    listed = _content(folder / MODULES)
    modules = listed if isinstance(listed, list) else []
    paths = [m.get("path") for m in modules if isinstance(m, dict)]
    names = [f"{path}/{name}" for path in paths for name in _MODULE_FILES]
    return [name for name in names if _MODULE_FILE.fullmatch(name)]


def _content(path: Path) -> Any:
    """Return the JSON value of a file; None where there is none."""
    if not path.is_file():
        return None
    try:
        return json_fields.parse(read_file(path), path)
    except InarchError:
        return None


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def checkpoint_files(folder: Path) -> list[str]:
    """Return the paths of the checkpoint's files in a folder and in those just below it."""
    found = []
    for entry in _list_entries(folder):
        if is_checkpoint_file(entry.name):
            found.append(entry.name)
        elif _may_be_module(entry):
            names = [f"{entry.name}/{name}" for name in _MODULE_FILES]
            found += [name for name in names if os.path.lexists(folder / name)]
    return found


def is_alone(folder: Path, written: Collection[str], usual: int) -> bool:
    """Return whether a folder holds a checkpoint's files and those of a save, and nothing else.

    A link, a file of another kind, and a folder with other rights than the `usual` ones of a new
    one are something else: they can't be made anew as they are.
    """
    for entry in _list_entries(folder):
        if entry.is_file(follow_symlinks=False):
            if not is_checkpoint_file(entry.name) and entry.name not in written:
                return False
        elif _may_be_module(entry):
            inner = _list_entries(Path(entry.path))
            if entry.stat(follow_symlinks=False).st_mode & 0o7777 != usual:
                return False
            if not all(i.name in _MODULE_FILES and i.is_file(follow_symlinks=False) for i in inner):
                return False
        else:
            return False
    return True


def may_be_saved_to(folder: Path) -> bool:
    """Return whether a folder is empty or holds a checkpoint, or a part of one: a tokenizer."""
    names = [name for name in os.listdir(folder) if name != COMMITTED]
    if holds_other_config(folder):
        return False
    if any(name in (SETTINGS, CONFIG, *WEIGHT_FILES) or _SHARD.fullmatch(name) for name in names):
        return True
    return all(name in (*TOKENIZER_FILES, *SENTENCE_FILES, *SIDECAR_FILES) for name in names)


def holds_other_config(folder: Path) -> bool:
    """Return whether a folder has a config.json that isn't a model's, but another program's.

    One next to weights may lack the fields of a model's, or be damaged.
    """
    if SETTINGS in (names := os.listdir(folder)) or CONFIG not in names:
        return False
    weights = any(name in WEIGHT_FILES or _SHARD.fullmatch(name) for name in names)
    config = _content(folder / CONFIG)
    if not isinstance(config, dict):
        return not weights
    known = (*_MODEL_FIELDS, *_SIZE_FIELDS) if weights else _MODEL_FIELDS
    return not any(field in config for field in known)


def _may_be_module(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder by the name of a module's, such as `1_Pooling`."""
    return bool(re.fullmatch(r"\d+_\w+", entry.name)) and entry.is_dir(follow_symlinks=False)


def _matches(name: str, patterns: Collection[str]) -> bool:
    # `*` matches no `/`: a path has as many parts as its pattern.
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )
