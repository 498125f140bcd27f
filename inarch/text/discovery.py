"""Discovery and reading of tokenizer files, in Hugging Face's format or an author format."""

import os
from collections.abc import Iterable
from pathlib import Path

from inarch.errors import CheckpointError, CheckpointFileError
from inarch.files import read_file
from inarch.paths import resolve_inside
from inarch.text.families import (
    author_tokenizers,
    file_sets,
    find_family,
    has_tokenizer_files,
    named_class,
)
from inarch.text.files import (
    MODEL_CONFIG_FILE,
    TOKENIZER_FILES,
    TOKENIZER_JSON,
    merged_config,
    model_config,
)
from inarch.validation import check_path

# Entries of a folder that are looked at in search of a tokenizer.
MOST_SEARCHED = 200


def read_folder(
    folder: str | os.PathLike, extra: Iterable[str] = (), vocabulary_size: int | None = None
) -> dict[str, bytes]:
    """Read the tokenizer's files in a folder, by name; those of an author format are converted.

    Args:
        folder: the folder of a checkpoint.
        extra: names of further files to read, where they are there.
        vocabulary_size: that of the model, where its config.json doesn't have it and the files
            leave it open (OpenAI's Whisper).

    Raises:
        CheckpointFileError: there is no tokenizer.
    """
    root = check_folder(folder)
    found = _read(root, (*TOKENIZER_FILES, *extra))
    if TOKENIZER_JSON not in found:
        model = model_config(root)
        family = find_family(named_class(merged_config(found), model), model.get("model_type"))
        found |= _read(root, {*(family.files if family else ())}.difference(found))
        found = _converted(root, found, vocabulary_size)
    if not has_tokenizer_files(found):
        wanted = ", ".join(" with ".join(names) for names in file_sets())
        raise CheckpointFileError(
            f"{root} holds no tokenizer: looked for {wanted}; found {sorted(found) or 'none'}. "
            + _missing_files_hint(root, vocabulary_size)
        )
    return found


def _read(root: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read those files that are there."""
    paths = {name: resolve_inside(root, name, plain=True) for name in names}
    return {name: read_file(path) for name, path in paths.items() if path.is_file()}


def _converted(
    root: Path, found: dict[str, bytes], vocabulary_size: int | None
) -> dict[str, bytes]:
    """Return a tokenizer's files, those of an author format in Hugging Face's."""
    has_config = (root / MODEL_CONFIG_FILE).is_file()
    has_tokenizer = has_tokenizer_files(found)
    if has_config and has_tokenizer:
        return found
    for author in author_tokenizers():
        if has_tokenizer if author.with_config else has_config:
            continue
        others = _read(root, {*author.files}.difference(found))
        if author.is_complete(found | others):
            files = author.convert(root, found | others, vocabulary_size)
            return {name: data for name, data in files.items() if name not in others}
    return found


def check_folder(folder: str | os.PathLike) -> Path:
    """Return the path of a folder that is there.

    Raises:
        InputTypeError: it is no path.
        CheckpointFileError: it is no folder.
    """
    check_path("folder", folder, "the folder of a checkpoint")
    if not os.path.isdir(folder):  # a name that no folder can have is none
        raise CheckpointFileError(f"{folder} isn't a folder; give the folder of a checkpoint.")
    return Path(folder)


def has_tokenizer(folder: str | os.PathLike) -> bool:
    """Return whether a folder holds a tokenizer."""
    root = Path(folder)
    there = {entry.name for entry in root.iterdir() if entry.is_file()} if root.is_dir() else set()
    return has_tokenizer_files(there) or any(
        author.is_complete(there)
        for author in author_tokenizers()
        if author.with_config or MODEL_CONFIG_FILE not in there
    )


def tokenizers_near(folder: str | os.PathLike, most: int = 3) -> list[Path]:
    """Return folders next to, above and within a folder that hold a tokenizer, nearest first."""
    root = Path(folder).resolve()
    found: list[Path] = []
    for place in (_folders_in(root), [root.parent], _folders_in(root.parent)):
        found += [path for path in place if path != root and path not in found and _has(path)]
    return found[:most]


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir())[:MOST_SEARCHED] if path.is_dir()]
    except OSError:
        return []


def _has(folder: Path) -> bool:
    try:
        return has_tokenizer(folder)
    except (OSError, CheckpointError):
        return False


def _missing_files_hint(root: Path, vocabulary_size: int | None) -> str:
    """Return which files a folder needs in addition to have a tokenizer, as the end of an error."""
    hints = (each.missing_files_hint(root, vocabulary_size) for each in author_tokenizers())
    return next(filter(None, hints), None) or (
        f"A folder with another kind of vocabulary needs a {TOKENIZER_JSON}, which transformers "
        "writes with `tokenizer.save_pretrained(folder)`."
    )
