"""Choice of the Keras backend: the one requested, else one that is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from inarch.errors import InputError, MissingExtraError
from inarch.user_warnings import warn

BACKENDS = ("jax", "torch", "tensorflow")
# Keras's backend for inference alone, which is used only where `KERAS_BACKEND` names it.
INFERENCE = "openvino"
# What OpenVINO sends to its makers as it is imported, by a fork of the process, which JAX warns of.
TELEMETRY = "openvino_telemetry"
# Parts of Keras that hardly any program uses: the wrappers for scikit-learn, which import it with
# all statistics of SciPy, take a quarter of the start of a process. Whole libraries aren't among
# these: threads that use one first at the same time would find it half executed.
OPTIONAL = ("keras.wrappers",)


def choose_backend() -> str:
    """Settle `KERAS_BACKEND` before Keras is imported, and return it.

    An explicit `KERAS_BACKEND` counts first, then `keras.json`, then whatever is installed: Keras
    writes a `keras.json` with tensorflow on its first run, installed or not.

    TensorFlow's start-up lines stay off the terminal.

    Raises:
        InputError: `KERAS_BACKEND` names no backend.
        MissingExtraError: the requested backend, or every one, isn't installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    requested = os.environ.get("KERAS_BACKEND")
    if requested:
        known = (*BACKENDS, INFERENCE)
        if requested not in known:
            raise InputError(f"KERAS_BACKEND is {requested!r}; known: {', '.join(known)}")
        if not _installed(requested):
            raise MissingExtraError(
                f"KERAS_BACKEND is {requested!r}, which is not installed: pip install "
                f"'inarch[{requested}]'"
            )
        return _started(requested)
    candidates = [name for name in (_configured(), *BACKENDS) if name and _installed(name)]
    if not candidates:
        raise MissingExtraError(
            "no Keras backend is installed: pip install 'inarch[jax]' (or [torch], [tensorflow])"
        )
    os.environ["KERAS_BACKEND"] = candidates[0]
    return _started(candidates[0])


def import_keras() -> str:
    """Choose the backend, import Keras with it alone, and return it, for commands.

    Keras imports pandas, requests and the other backends wherever they are installed, for what only
    a program of the user's would ask of it. Here they aren't found as it is imported, which saves
    seconds and a hundred megabytes or more; afterwards they can be imported again.

    Raises:
        InputError, MissingExtraError: as `choose_backend`.
    """
    backend = choose_backend()
    if "keras" in sys.modules:
        return backend
    unused = {"pandas", "requests", TELEMETRY, *BACKENDS} - {backend}
    if backend == INFERENCE:
        unused -= {"jax", "torch"}  # at which SciPy looks, that this backend imports
    unused -= sys.modules.keys()
    sys.modules |= dict.fromkeys(unused)  # type: ignore[arg-type]  # None: isn't to be found
    try:
        with optional_parts_later():
            importlib.import_module("keras")
    finally:
        for name in unused:
            del sys.modules[name]
    return backend


class _OptionalParts(MetaPathFinder):
    """Finds the modules of `OPTIONAL`, which are executed at the first use of what is in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in OPTIONAL else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def optional_parts_later() -> Iterator[None]:
    """Let Keras be imported within this context, its optional parts when they are first used."""
    finder = _OptionalParts()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def runs_on_cpu() -> bool:
    """Return whether the backend computes on the processor, not on an accelerator."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_logical_devices("GPU")
    return keras.ops.zeros(()).device.type == "cpu"  # type: ignore[union-attr]


def block_until_ready(tensors: Any) -> Any:
    """Return a nest of tensors once it is computed, and what it was computed from can be freed.

    On a processor JAX is the only backend that computes asynchronously.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.block_until_ready(tensors)
    return tensors


def _started(backend: str) -> str:
    """Return the backend; import TensorFlow with the output of its libraries held back.

    They write to standard error past Python, and before they have read how much they may log.
    """
    if backend != "tensorflow" or "tensorflow" in sys.modules:
        return backend
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())  # its output may have the reason
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    return backend


def settle_backend() -> None:
    """Choose an installed backend before Keras is imported, where the configured one is missing.

    Nothing is done where Keras is imported already or `KERAS_BACKEND` is set. Keras itself takes
    tensorflow where nothing is configured, and fails without it. A warning names the backend used.
    """
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND"):
        return
    configured = _configured() or "tensorflow"
    found = [name for name in BACKENDS if _installed(name)]
    if configured in found or not found:
        return
    os.environ["KERAS_BACKEND"] = found[0]
    warn(
        f"Keras's configured backend is {configured}, which isn't installed; {found[0]} is used. "
        "To choose, set KERAS_BACKEND"
    )


def _installed(backend: str) -> bool:
    return importlib.util.find_spec(backend) is not None


def _configured() -> str | None:
    """Return the backend in Keras's own settings file."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        found = json.loads((home / "keras.json").read_text("utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return found if found in BACKENDS else None
