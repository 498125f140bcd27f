"""A file of numbers, mapped into memory and read in place."""

from __future__ import annotations

import contextlib
import math
import mmap
from pathlib import Path

import numpy as np

from inarch.errors import CheckpointFileError
from inarch.files import POINTER, refuse_pointer


class MappedFile:
    """A file mapped for reading.

    Raises:
        CheckpointFileError: it isn't there, is empty, can't be read, or is a pointer of Git LFS.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open("rb") as file:
                self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as e:  # an empty file can't be mapped
            raise CheckpointFileError(f"{path} is empty; fetch the file again") from e
        except OSError as e:
            raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e
        refuse_pointer(path, self.bytes[: len(POINTER)])

    def array(self, dtype: np.dtype, shape: tuple[int, ...], begin: int) -> np.ndarray:
        """Return the numbers from byte `begin` on, read-only and not copied."""
        return np.frombuffer(self.bytes, dtype, math.prod(shape), begin).reshape(shape)

    def release(self, begin: int, end: int) -> None:
        """Drop the mapped pages of numbers that have been copied out."""
        begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        if end > begin and hasattr(mmap, "MADV_DONTNEED"):
            self.bytes.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def close(self) -> None:
        # Where a caller still holds an array of the mapping, it closes with that array.
        with contextlib.suppress(BufferError):
            self.bytes.close()
