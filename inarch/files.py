"""Files that are read or written whole, such as JSON and vocabularies, and their digests."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError
from inarch.rights import new_file_mode

# First bytes of a file that Git LFS has in the place of a large one.
POINTER = b"version https://git-lfs.github.com/spec/"
# Of a file that is read whole: JSON, a vocabulary. The largest that are published have 40 MB.
MAX_BYTES = 200_000_000


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file that is read whole.

    Args:
        path: the file.
        limit: the most bytes that it may have.

    Raises:
        CheckpointFileError: the file is absent, can't be read, has more bytes, or is a pointer of
            Git LFS.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as e:
        raise CheckpointFileError(f"{path} does not exist") from e
    except (OSError, ValueError) as e:  # a name with a NUL or a lone surrogate is a ValueError
        raise CheckpointFileError(f"{path} can't be read: {getattr(e, 'strerror', 0) or e}") from e
    if len(data) > limit:
        raise CheckpointFileError(
            f"{path} has more than {limit:,} bytes, so it isn't what its name says; fetch it again"
        )
    refuse_pointer(path, data)
    return data


def refuse_pointer(path: Path, data: bytes) -> None:
    """Refuse a file that only points to its content.

    Raises:
        CheckpointFileError: `data`, what is in the file, is a pointer of Git LFS.
    """
    if data.startswith(POINTER):
        raise CheckpointFileError(
            f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Put a new file in the place of `path`, which then holds all of it or what it held before.

    Args:
        path: the file.
        write: writes the content to the path that it is given.

    Raises:
        CheckpointFileError: the file can't be written.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        write(Path(temporary))
        os.chmod(temporary, new_file_mode(path.parent))
        os.replace(temporary, path)
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be written: {e.strerror or e}") from e
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
