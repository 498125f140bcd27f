"""Memory that was freed, given back to the system."""

import ctypes
import functools
from collections.abc import Callable


def give_back_memory() -> None:
    """Give memory back that the process has freed, where the C library can do so (glibc).

    Windows are of one size and come and go among smaller things that stay. Of itself the C library
    keeps the room between for later, and a process grows by a third over a recording.
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
