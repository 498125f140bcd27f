"""Compiled programs: kept on disk for later processes, and announced while they are made."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

# The folder that holds everything that is kept; empty or "0" keeps nothing.
VARIABLE = "INARCH_CACHE"

# Programs that take fewer seconds to compile aren't kept.
QUICKEST = 0.1

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
    config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        config.update("jax_persistent_cache_min_compile_time_secs", QUICKEST)
    # What was compiled before has settled that there is no cache.
    compilation_cache.reset_cache()


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
