"""Which files of a folder are a checkpoint's, by their names: those that a save may replace."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection
from pathlib import Path

import inarch.json_fields as json_fields
from inarch.checkpoints.hub import OTHERWISE, WANTED
from inarch.errors import InarchError

CONFIG = "config.json"
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
# What tells a model's config.json from that of any other program.
_MODEL_FIELDS = ("model_type", "architectures")
# What a folder has of a save that isn't in place yet; see `publish`.
COMMITTED = ".inarch-save"
# Files of which all of the last save count and none of one before, since a loader takes the first
# that it finds: a tokenizer's, and those of sentence-transformers.
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "normalizer.json", "vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "spm.model",
    "sentencepiece.bpe.model", "spiece.model",
)  # fmt: skip
_SENTENCE = (
    "modules.json", "config_sentence_transformers.json", "sentence_*_config.json",
    "[0-9]*_*/config.json",
)  # fmt: skip


def is_weight_file(name: str) -> bool:
    """Whether a file of a preset folder holds weights, so that a new save makes it stale."""
    stem = ("model", "pytorch_model", "tf_model")
    kinds = (".safetensors", ".bin", ".h5", ".safetensors.index.json", ".bin.index.json")
    return name.startswith(stem) and name.endswith(kinds)


def is_checkpoint_file(name: str) -> bool:
    """Whether a file, by its path in a folder, is one that a checkpoint consists of."""
    return _matches(name, (*WANTED, *OTHERWISE)) and not name.startswith(".")


def stale_files(there: Collection[str], written: Collection[str]) -> list[str]:
    """The files of a folder, `there`, that a save of the files `written` makes stale.

    They are of the checkpoint that was saved there before: its weights, its tokenizer's files and
    those of sentence-transformers, of each where the save has such.
    """
    groups = [is_group for is_group in _GROUPS if any(map(is_group, written))]
    left = [name for name in there if name not in written]
    return sorted(name for name in left if any(is_group(name) for is_group in groups))


def may_be_stale(name: str) -> bool:
    """Whether a file is of a kind that `stale_files` may give."""
    return any(is_group(name) for is_group in _GROUPS)


def _is_tokenizer_file(name: str) -> bool:
    return name in _TOKENIZER


def _is_module_file(name: str) -> bool:
    return _matches(name, _SENTENCE)


_GROUPS = (is_weight_file, _is_tokenizer_file, _is_module_file)


def checkpoint_files(folder: Path) -> list[str]:
    """The checkpoint's files in a folder and in those just below it, by their paths there."""
    found = []
    for entry in os.scandir(folder):
        if is_checkpoint_file(entry.name):
            found.append(entry.name)
        elif _may_be_module(entry):
            name = f"{entry.name}/{CONFIG}"
            found += [name] if os.path.lexists(folder / name) else []
    return found


def is_alone(folder: Path, written: Collection[str]) -> bool:
    """Whether a folder holds a checkpoint's files and those of a save, and nothing else.

    A link, a file of another kind, and a folder with other rights than a new one has are something
    else: they can't be made anew as they are.
    """
    usual = 0o777 & ~umask()
    for entry in os.scandir(folder):
        if entry.is_file(follow_symlinks=False):
            if not is_checkpoint_file(entry.name) and entry.name not in written:
                return False
        elif _may_be_module(entry):
            inner = list(os.scandir(entry.path))
            if entry.stat(follow_symlinks=False).st_mode & 0o7777 != usual:
                return False
            if not all(i.name == CONFIG and i.is_file(follow_symlinks=False) for i in inner):
                return False
        else:
            return False
    return True


def may_be_saved_to(folder: Path) -> bool:
    """Whether a folder is empty or holds a checkpoint, or a part of one such as a tokenizer."""
    names = [entry.name for entry in os.scandir(folder) if not _may_be_module(entry)]
    if any(name == "inarch.json" or _matches(name, (*OTHERWISE, *WEIGHTS)) for name in names):
        return True
    if CONFIG in names:
        return _is_model(folder / CONFIG)
    return all(is_checkpoint_file(name) for name in names if name != COMMITTED)


def _is_model(path: Path) -> bool:
    try:
        config = json_fields.read_object(path)
    except InarchError:
        return False
    return any(field in config for field in _MODEL_FIELDS)


def _may_be_module(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder by the name of a module's, such as `1_Pooling`."""
    return bool(re.fullmatch(r"\d+_\w+", entry.name)) and entry.is_dir(follow_symlinks=False)


def _matches(name: str, patterns: Collection[str]) -> bool:
    # `*` stands for no `/`: a path has as many parts as its pattern.
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )


def umask() -> int:
    """The rights that new files of this process don't have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
