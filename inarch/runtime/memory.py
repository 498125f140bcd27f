"""Return of freed memory to the operating system."""

import ctypes
import functools
from collections.abc import Callable


def release_memory() -> None:
    """Return freed memory to the operating system, where the C library can do so (glibc).

    Buffers of windows are allocated and freed among smaller objects that stay. By default glibc
    keeps such pages for later, and a process grows by a third over a recording.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # other systems
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim
