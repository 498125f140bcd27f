"""Names of files that a checkpoint gives: none leads outside the folder of the checkpoint.

Whoever reads or writes a file whose name is in a file, or reads one by its usual name in a
folder that anybody may have made, gets its path from `resolve_inside`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError
from inarch.validation import shown

# Bytes of a part of a path, and of a whole one: what every file system can have.
LONGEST_PART = 255
LONGEST_PATH = 1024
# A backslash is a separator and a colon a drive or a stream on Windows, where a folder may go next.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\:]")
# Names that are devices on Windows, whatever their suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def resolve_inside(
    folder: Path, name: Any, where: str | None = None, *, plain: bool = False
) -> Path:
    """Return the path of the file `name`, which must be inside `folder`.

    A link may lead to another place in the folder, and in a snapshot of the Hugging Face hub's
    cache to the same repository's blobs.

    Args:
        folder: the folder of a checkpoint.
        name: a relative path with `/` between its parts. `.` is no part, so `""` is the folder.
        where: the file and the field that give the name, as an error begins.
        plain: whether it must be a name in the folder itself, not in one below.

    Raises:
        CheckpointFileError: the name is no text, is absolute, has a part that is `..`, hidden, too
            long or not portable, or is a link out of the folder.
    """
    path = folder.joinpath(*_parts(name, where or f"{folder}: a file's name", plain))
    # Of a path that isn't there too: a folder above it may be a link, and a file is then written.
    _check_target(path, folder, where)
    return path


def resolve_to_replace(folder: Path, name: str) -> Path:
    """Return the path of a file of `folder` to replace or remove: the link itself, if it is one.

    Raises:
        CheckpointFileError: as `resolve_inside`, of the name and of the folder that the file is in.
    """
    place, _, last = check_file_name(name, f"{folder}: a file's name").rpartition("/")
    return resolve_inside(folder, place) / last


def refuse_links_outside(folder: Path) -> None:
    """Refuse a folder with a link that leads out of it, where its files go by many names.

    Raises:
        CheckpointFileError: as `resolve_inside`, which is for names that are known.
    """
    for path in folder.iterdir():
        if path.is_symlink():
            _check_target(path, folder, None)


def check_file_name(name: Any, where: str, *, plain: bool = False) -> str:
    """Return a file name from a stored model, after a check that it stays inside its folder.

    Args:
        name: a relative path with `/` between its parts, at least one.
        where: whose name it is, as an error begins.
        plain: whether it must be a name in the folder itself, not in one below.

    Raises:
        CheckpointFileError: as `resolve_inside`, or it is empty.
    """
    return "/".join(_parts(name, where, plain, empty=False))


def _parts(name: Any, where: str, plain: bool, empty: bool = True) -> list[str]:
    """Return the parts of a relative path that stays below where it starts."""
    if not isinstance(name, str):
        raise CheckpointFileError(f"{where} is {shown(name)}; it must be text, the name of a file")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    wrong = _refusal(name, parts)
    if plain and len(parts) != 1:
        wrong = wrong or "isn't a plain file name"
    if not parts and not empty:
        wrong = wrong or "names no file"
    if wrong:
        raise CheckpointFileError(
            f"{where} is {shown(name)}, which {wrong}; it must be a path within the checkpoint's "
            "folder"
        )
    return parts


def _refusal(name: str, parts: list[str]) -> str | None:
    """Return what is wrong with a relative path, or None."""
    try:
        sizes = [len(part.encode()) for part in (name, *parts)]
    except UnicodeEncodeError:
        return "isn't text that UTF-8 can write"
    if name.startswith("/") or ".." in parts:
        return "leads outside its folder"
    if _UNUSABLE.search(name):
        # Such as C:\secret and \\server\secret.
        return "has a backslash, a colon or a control character, so it may lead outside its folder"
    if any(part.startswith(".") for part in parts):
        return "is hidden"
    if any(_DEVICE.fullmatch(part) for part in parts):
        return "is a device on Windows"
    if sizes[0] > LONGEST_PATH or max(sizes[1:], default=0) > LONGEST_PART:
        return "is too long"
    return None


def _check_target(path: Path, folder: Path, where: str | None) -> None:
    """Refuse a path that links lead out of the folder."""
    root = Path(os.path.realpath(folder))
    target = Path(os.path.realpath(path))
    if target == root or root in target.parents:
        return
    blobs = _blobs_of(root)
    if blobs is not None and blobs in target.parents:
        return
    given = f"{where}: " if where else ""
    raise CheckpointFileError(
        f"{given}{path} is a link that leads outside its folder, to {target}; copy the file into "
        "the folder, or give the folder that it is in"
    )


def _blobs_of(root: Path) -> Path | None:
    """Return the hub cache's folder of a snapshot's files; None for any other folder.

    The cache is `models--OWNER--NAME/snapshots/COMMIT/FILE`, a link into
    `models--OWNER--NAME/blobs`. Source: huggingface_hub, "Understand caching".
    """
    for parent in (root, *root.parents):
        repository = parent.parent.parent
        if parent.parent.name == "snapshots" and repository.name.startswith("models--"):
            # A link may lead anywhere, in a tree that somebody made to look like the cache.
            blobs = repository / "blobs"
            return None if blobs.is_symlink() else blobs
    return None
