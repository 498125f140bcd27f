"""The tokenizer's files of a folder, in Hugging Face's format or told in it."""

import os
from collections.abc import Iterable
from pathlib import Path

from inarch.errors import CheckpointError, CheckpointFileError
from inarch.files import read_file
from inarch.paths import resolve_inside
from inarch.text import originals, tiktoken
from inarch.text.files import (
    FILE_SETS,
    MODEL_CONFIG_FILE,
    TOKENIZER_FILES,
    TOKENIZER_JSON,
    model_vocabulary_size,
    select_files,
)
from inarch.validation import check_path

# CTranslate2's lists of tokens, which say nothing of merges.
TOKEN_LISTS = ("vocabulary.json", "vocabulary.txt")

# Entries of a folder that are looked at in search of a tokenizer.
MOST_SEARCHED = 200


def read_folder(
    folder: str | os.PathLike, extra: Iterable[str] = (), vocabulary_size: int | None = None
) -> dict[str, bytes]:
    """The tokenizer's files in `folder`, by name. CheckpointFileError when there are none.

    Those of an original's folder are told in Hugging Face's files. `vocabulary_size` is that of
    the model, where its config.json doesn't say it and the files leave it open (OpenAI's Whisper).
    """
    root = check_folder(folder)
    native = _native(root)
    names = dict.fromkeys((*TOKENIZER_FILES, *extra, *native, *tiktoken.FILES))
    paths = {name: resolve_inside(root, name, plain=True) for name in names}
    there = {name: read_file(path) for name, path in paths.items() if path.is_file()}
    found = originals.to_hugging_face_files(root, there) if native else there
    if select_files(found) is None and any(name in found for name in tiktoken.FILES):
        size = vocabulary_size or model_vocabulary_size(root)
        found = tiktoken.to_hugging_face_files(found, size)
    found = {name: data for name, data in found.items() if name not in tiktoken.FILES}
    if select_files(found) is None:
        wanted = ", ".join(" with ".join(names) for names in FILE_SETS)
        raise CheckpointFileError(
            f"{root} holds no tokenizer: looked for {wanted}; found {sorted(found) or 'none'}. "
            + _missing_files_hint(root, there, vocabulary_size)
        )
    return found


def check_folder(folder: str | os.PathLike) -> Path:
    """The path of a folder that is there.

    Raises:
        InputTypeError: it is no path.
        CheckpointFileError: it is no folder.
    """
    check_path("folder", folder, "the folder of a checkpoint")
    if not os.path.isdir(folder):  # a name that no folder can have is none
        raise CheckpointFileError(f"{folder} isn't a folder; give the folder of a checkpoint.")
    return Path(folder)


def has_tokenizer(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a tokenizer."""
    root = Path(folder)
    names = (*TOKENIZER_FILES, *_native(root))
    there = [name for name in names if (root / name).is_file()]
    ranks = any((root / name).is_file() for name in tiktoken.FILES)
    return select_files(there) is not None or originals.is_complete(there) or ranks


def tokenizers_near(folder: str | os.PathLike, most: int = 3) -> list[Path]:
    """Folders beside, above and within a folder that hold a tokenizer, the nearest first."""
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


def _missing_files_hint(root: Path, there: Iterable[str], vocabulary_size: int | None) -> str:
    """What a folder's files need beside them so that they are a tokenizer, as an error's end."""
    listed = next((name for name in TOKEN_LISTS if (root / name).is_file()), None)
    if listed is not None:
        return (
            f"{listed} is CTranslate2's: it lists tokens and not how text becomes them. Put the "
            f"{TOKENIZER_JSON} beside it that the model was converted with."
        )
    said = originals.missing_files_hint(dict.fromkeys(there))
    if said:
        return said
    if _native(root) and any(root.glob("*.pt")):
        return tiktoken.missing_files_hint(vocabulary_size)
    return (
        f"A folder with another kind of vocabulary needs a {TOKENIZER_JSON}, which transformers "
        "writes with `tokenizer.save_pretrained(folder)`."
    )


def _native(root: Path) -> tuple[str, ...]:
    """The files of originals to look for; none where the folder is Hugging Face's."""
    return () if (root / MODEL_CONFIG_FILE).is_file() else originals.FILES
