"""The rights of new files and folders."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def new_folder_mode(place: Path) -> int:
    """Return the mode that a new folder in the folder `place` has.

    They are taken from a file that is made there: what a process withholds from new files (its
    umask) can only be read by changing it, for all threads at once.
    """
    probe = tempfile.mktemp(prefix=".inarch-mode-", dir=place)  # made below, where there is none
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777)
    try:
        return os.fstat(handle).st_mode & 0o777
    finally:
        os.close(handle)
        os.unlink(probe)


def new_file_mode(place: Path) -> int:
    """Return the mode that a new file in the folder `place` has."""
    return new_folder_mode(place) & 0o666
