"""Compiled programs: kept on disk for later processes, and announced while they are made."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

# The folder that holds everything that is kept; empty or "0" keeps nothing.
VARIABLE = "INARCH_CACHE"

# Programs that take fewer seconds to compile aren't kept.
QUICKEST = 0.1

# File whose time is that up to which all programs of a folder have been looked at.
CHECKED = "checked"
# Seconds after which nobody is still writing a program.
WRITTEN = 10.0

# First bytes of what is compressed.
ZSTD, ZLIB = b"\x28\xb5\x2f\xfd", b"\x78"

# Seconds that a call may compile before it says so.
PATIENCE = 1.0
ANNOUNCEMENT = "compiling the model for a new size of batch"


def cache_folder() -> Path | None:
    """Return the folder of what is kept between processes, None where nothing is to be kept.

    It is `INARCH_CACHE`, or `inarch` in `XDG_CACHE_HOME` or `~/.cache`.
    """
    stated = os.environ.get(VARIABLE)
    if stated is not None:
        return None if stated in ("", "0") else Path(stated)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "inarch") if os.path.isabs(home) else None


def enable_compile_cache() -> None:
    """Switch on JAX's persistent compilation cache, in a folder of this user and processor.

    A cache that the user has set up or switched off stays as it is. Where the folder can't be
    written, nothing is kept.
    """
    if keras.backend.backend() != "jax":
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    folder = cache_folder()
    config: Any = jax.config  # Its fields are made as it is imported.
    if (
        folder is None
        or config.jax_compilation_cache_dir
        or not config.jax_enable_compilation_cache
    ):
        return
    folder = folder / "jax" / f"{jax.__version__}-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    remove_damaged(folder)
    config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        config.update("jax_persistent_cache_min_compile_time_secs", QUICKEST)
    # What was compiled before has settled that there is no cache.
    compilation_cache.reset_cache()


def remove_damaged(folder: Path) -> None:
    """Remove programs that are half-written, which JAX would neither read nor replace.

    A killed process or a full disk leaves them. Each program is looked at once, by the first
    process that begins some seconds after it was written.
    """
    stamp, until = folder / CHECKED, time.time() - WRITTEN
    # A file that another process removes meanwhile, or that is another user's, is none of ours.
    with suppress(OSError):
        since = stamp.stat().st_mtime if stamp.exists() else 0.0
        for entry in os.scandir(folder):
            if entry.name.endswith("-cache") and since <= entry.stat().st_mtime < until:
                with suppress(OSError):
                    if not _is_whole(Path(entry.path).read_bytes()):
                        os.unlink(entry.path)
        stamp.touch()
        os.utime(stamp, (until, until))


def _is_whole(data: bytes) -> bool:
    """Return whether a program, as JAX compresses it, has its end; True in an unknown format."""
    if data and not data.startswith((ZSTD, ZLIB)):
        return True
    library: Any = _zstd_library() if data.startswith(ZSTD) else zlib
    if library is None:
        return True
    stream: Any
    if library is zlib:
        stream, damage = zlib.decompressobj(), zlib.error
    else:
        stream, damage = library.ZstdDecompressor(), library.ZstdError
        stream = stream.decompressobj() if hasattr(stream, "decompressobj") else stream
    with suppress(damage):
        stream.decompress(data)
    return stream.eof


def _zstd_library() -> Any:
    """Return the library of these that JAX takes; None where there is none."""
    for name in ("compression.zstd", "zstandard"):  # the first is of Python 3.14
        with suppress(ImportError):
            return importlib.import_module(name)
    return None


def announced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a compiled function that says what a call waits for, on a terminal alone.

    The first call with arrays of its shapes compiles, or reads what a former process compiled.
    Where that takes longer than `PATIENCE`, a line on standard error says so.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return function
    seen: set[Any] = set()

    def run(*arguments: Any) -> Any:
        shapes = [getattr(x, "shape", None) for x in keras.tree.flatten(arguments)]
        key = tuple(tuple(shape) for shape in shapes if shape is not None)
        if key in seen:
            return function(*arguments)
        timer = threading.Timer(PATIENCE, print, [ANNOUNCEMENT], {"file": sys.stderr})
        timer.daemon = True
        timer.start()
        try:
            result = function(*arguments)
        finally:
            timer.cancel()
        seen.add(key)
        return result

    return run


def _processor() -> str:
    """Return a short name of the processor, whose instructions programs are compiled for."""
    described = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    identifying = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    described += "\n".join(dict.fromkeys(identifying or lines[:1]))
    return hashlib.sha256(described.encode()).hexdigest()[:12]
