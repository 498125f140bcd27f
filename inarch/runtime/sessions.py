"""Exported graphs, opened in the runtimes that compute them."""

from __future__ import annotations

import importlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from inarch.backend import TELEMETRY
from inarch.errors import InputError, MissingExtraError
from inarch.validation import shown

# Runtimes that can stand in for the Keras backend in inference.
RUNTIMES = ("onnx", "openvino")

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def check_runtime(runtime: Any) -> None:
    """Raise InputError where `runtime` is neither None nor the name of a runtime."""
    if runtime is not None and runtime not in RUNTIMES:
        raise InputError(
            f"runtime is {shown(runtime)}; known: {', '.join(RUNTIMES)}, or None for Keras"
        )


def import_extra(package: str, extra: str) -> Any:
    """Return a package, or raise MissingExtraError that names the extra which has it."""
    try:
        with _without_telemetry():
            return importlib.import_module(package)
    except ImportError as e:
        raise MissingExtraError(
            f"{package} is needed and can't be imported ({e}): pip install 'inarch[{extra}]'"
        ) from e


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Have OpenVINO find no telemetry as it is imported."""
    if TELEMETRY in sys.modules:
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(TELEMETRY, None)


def open_graph(path: str | os.PathLike, format: str) -> Run:
    """Return an exported graph as a function from arrays by name to a list of arrays.

    Several threads may call it. The file isn't needed any longer.

    Args:
        path: the file, or the folder of a SavedModel.
        format: "onnx", "openvino" or "saved_model".

    Raises:
        MissingExtraError: the runtime isn't installed.
    """
    return _OPENERS[format](os.fspath(path))


def run_openvino(model: Any) -> Run:
    """Return a graph of OpenVINO, compiled for all cores, in float32, as a function."""
    openvino = import_extra("openvino", "openvino")
    # Its own defaults are half of the cores that share units, and 16 bits where there are some.
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": _cores(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)
    idle: deque[Any] = deque()  # requests, of which each serves one thread at a time

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        given = {port: np.ascontiguousarray(inputs[port.any_name]) for port in compiled.inputs}
        found = request.infer(given, share_inputs=True)
        outputs = [found[port] for port in compiled.outputs]
        idle.append(request)
        return outputs

    return run


def _openvino(path: str) -> Run:
    openvino = import_extra("openvino", "openvino")
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # else the file would be needed as long as the graph
    return run_openvino(core.read_model(path))


def _onnx(path: str) -> Run:
    onnxruntime = import_extra("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _cores()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})


def _saved_model(path: str) -> Run:
    tf = import_extra("tensorflow", "tensorflow")
    loaded = tf.saved_model.load(path)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(x) for x in keras.tree.flatten(loaded.serve(dict(inputs)))]

    return run


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_OPENERS = {"onnx": _onnx, "openvino": _openvino, "saved_model": _saved_model}
