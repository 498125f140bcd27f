"""Freed memory returned to the operating system, and errors for want of memory."""

import ctypes
import functools
import re
from collections.abc import Callable


def release_memory() -> None:
    """Return freed memory to the operating system, where the C library can do so (glibc).

    Buffers of windows are allocated and freed among smaller objects that stay. By default glibc
    keeps such pages for later, and a process grows by a third over a recording.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or of a backend is for want of memory, by its message."""
    found = re.search("out of memory|OOM|RESOURCE_EXHAUSTED|allocate memory", str(error), re.I)
    return isinstance(error, MemoryError) or found is not None


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # other systems
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim
