"""Runtimes that compute the tokens' vectors in place of the Keras backend."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import keras
import numpy as np

from inarch.errors import InputError
from inarch.models import exporting
from inarch.models.backbone import Backbone
from inarch.models.layer_settings import check_exportable
from inarch.runtime.sessions import Run, check_runtime
from inarch.runtime.weight_snapshot import WeightSnapshot
from inarch.tasks.forward import Forward

if TYPE_CHECKING:
    from inarch.tasks.task import Task

F = TypeVar("F", bound=Callable[..., Any])

# The runtime of the call that is being answered; None for Keras.
_chosen: ContextVar[str | None] = ContextVar("runtime", default=None)


def in_runtime(method: F) -> F:
    """Let a method with the keyword `runtime` compute all that it calls there."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        runtime = kwargs.get("runtime")
        check_runtime(runtime)
        if runtime is None:
            return method(self, *args, **kwargs)  # perhaps within a call that has one
        token = _chosen.set(runtime)
        try:
            return method(self, *args, **kwargs)
        finally:
            _chosen.reset(token)

    return cast("F", call)


def refuse_runtime(runtime: str | None) -> None:
    """Raise InputError where a runtime is given for prepared arrays."""
    if runtime is not None:
        raise InputError(
            f"runtime is {runtime!r}, which computes texts, and x holds prepared arrays; give the "
            "texts to a task with a preprocessor, or run what export() writes"
        )


class Forwards:
    """Forward passes of a task: by Keras, and by each runtime that a call has named.

    Args:
        task, head: as of `Forward`.
    """

    def __init__(self, task: Task, head: Callable[[Any, Mapping[str, Any]], Any] | None = None):
        self._task, self._head = task, head
        self._forwards: dict[str | None, Forward] = {}

    def chosen(self) -> Forward:
        """Return the forward pass by the runtime of this call.

        Raises:
            InputError: the backbone can't be computed by that runtime, or not any more.
        """
        runtime = _chosen.get()
        if runtime is not None:
            check_exportable(self._task.backbone)  # which may have been quantized since
        if runtime not in self._forwards:
            tokens = None if runtime is None else _token_run(self._task.backbone, runtime)
            self._forwards[runtime] = Forward(self._task, self._head, tokens)
        return self._forwards[runtime]


class TokenRun:
    """Vectors of tokens of a backbone, computed by a runtime.

    Its graph is made at the first call, and anew at the first one after the weights have changed.
    """

    def __init__(self, backbone: Backbone, runtime: str):
        if (dtype := backbone.compute_dtype) != "float32":
            raise InputError(
                f"runtime is {runtime!r}, which computes in float32, and the backbone in {dtype}; "
                "load it with dtype='float32', or leave runtime out"
            )
        self._backbone, self._runtime = backbone, runtime
        self._lock = threading.Lock()
        self._opened: tuple[WeightSnapshot, Run] | None = None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return float32 `[rows, length, dim]` for inputs of the backbone; rows may be packed."""
        with self._lock:
            if self._opened is None or not self._opened[0].is_current(self._backbone.weights):
                self._opened = None  # whose memory isn't needed while the new one is made
                self._opened = WeightSnapshot(self._backbone.weights), self._open()
            run = self._opened[1]
        return run(inputs)[0]

    def _open(self) -> Run:
        backbone = self._backbone
        graph = keras.Model(backbone.input, backbone.sequence_output(backbone.output))
        with tempfile.TemporaryDirectory(prefix="inarch-runtime-") as folder:
            path = Path(folder) / str(exporting.FORMATS[self._runtime].file)
            return exporting.open_checked(graph, path, self._runtime, backbone)


def _token_run(backbone: Backbone, runtime: str) -> TokenRun:
    """Return the run of a backbone, which its tasks share."""
    runs: dict[str, TokenRun] = getattr(backbone, "_token_runs", {})
    if runtime not in runs:
        runs = {**runs, runtime: TokenRun(backbone, runtime)}
        object.__setattr__(backbone, "_token_runs", runs)  # past Keras, which would look into it
    return runs[runtime]
