"""One compiled forward pass per shape, that never takes the weights away from the model."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from inarch.keras_private import stored_values
from inarch.layers.direct_calls import direct_calls, facts_of
from inarch.layers.prepacked import prepacked_where_small
from inarch.runtime.compile_cache import announced, enable_compile_cache
from inarch.runtime.distribution import distributed
from inarch.runtime.model_variables import ModelVariables
from inarch.runtime.openvino_graph import openvino_graph
from inarch.runtime.sessions import run_openvino
from inarch.runtime.weight_snapshot import WeightSnapshot

Call = Callable[[Mapping[str, Any]], Any]


def compiled(model: keras.Model, call: Call | None = None) -> Call:
    """Return `model` in inference mode, as a function from inputs to backend tensors.

    Keras's own `predict` on JAX donates the weights' buffers to each step; here they stay with
    the model, so an interrupt at any moment harms nothing. A program is compiled anew where the
    model has come to have other variables since then: a layer was quantized or given a low-rank
    update.

    Args:
        call: what to compute with the variables of `model`, such as a part of its graph; all of
            it where not given.
    """
    call = call or (lambda inputs: model(inputs, training=False))
    backend = keras.backend.backend()
    if backend == "jax":
        enable_compile_cache()
        return announced(_jax(model, call))
    if backend == "tensorflow":
        return announced(_tensorflow(model, call))
    if backend == "torch":
        return _torch(model, call)
    if backend == "openvino":
        return _openvino(model, call)
    return call


def _jax(model: keras.Model, call: Call) -> Call:
    import jax

    def step(variables: list, values: list, inputs: Mapping) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return call(inputs)

    current = ModelVariables(model)

    made: tuple[list, Any] | None = None

    def run(inputs: Mapping[str, Any]) -> Any:
        nonlocal made
        given = distributed(inputs)
        if made is not None:
            variables, program = made
            outputs = program(stored_values(variables), given)
            if current() is variables:  # looked up while the outputs are computed
                return outputs
        variables = current()
        # A separate function, whose traces are of these variables alone.
        made = variables, jax.jit(functools.partial(step, variables))
        return made[1](stored_values(variables), given)

    return run


def _tensorflow(model: keras.Model, call: Call) -> Call:
    import tensorflow as tf

    current = ModelVariables(model)

    @functools.lru_cache(maxsize=1)
    def program(identity: tuple[int, ...]) -> Any:
        # With the variables: were one freed, another might come to have its identity.
        return tf.function(lambda inputs: call(inputs), autograph=False), current()

    return lambda inputs: program(tuple(map(id, current())))[0](dict(inputs))


def _openvino(model: keras.Model, call: Call) -> Call:
    """Return a function to arrays, with one graph for each set of inputs, of any shape."""
    graphs: dict[Any, Any] = {}
    snapshot = WeightSnapshot(model.variables)
    lock = threading.Lock()

    def run(inputs: Mapping[str, Any]) -> Any:
        nonlocal snapshot
        given = {name: np.asarray(x) for name, x in inputs.items()}
        # Of indices every axis is open; of vectors their width is known, by which layers are built.
        shapes = {
            name: ((-1,) * x.ndim if x.dtype.kind != "f" else (-1, *x.shape[1:]), x.dtype.name)
            for name, x in given.items()
        }
        key = tuple(sorted(shapes.items()))
        with lock:
            if not snapshot.is_current(model.variables):
                snapshot = WeightSnapshot(model.variables)
                graphs.clear()
            if key not in graphs:
                outputs, graph = openvino_graph(call, shapes)
                graphs[key] = outputs, run_openvino(graph)
            structure, compute = graphs[key]
        return keras.tree.pack_sequence_as(structure, compute(given))

    return run


def _torch(model: keras.Model, call: Call) -> Call:
    import torch

    variable = next(iter(model.variables), None)
    prepacked = prepacked_where_small(model.variables)

    def run(inputs: Mapping[str, Any]) -> Any:
        with torch.inference_mode(), direct_calls(), prepacked():
            given = dict(inputs)
            if variable is not None and variable.value.is_cuda:
                given = {name: _on_gpu(x, variable.value.device) for name, x in given.items()}
            return call(given)

    return run


def _on_gpu(given: Any, device: Any) -> Any:
    """Return an array as a tensor of a GPU, without waiting for what is being computed there."""
    import torch

    if not isinstance(given, np.ndarray):
        return given
    tensor = torch.from_numpy(given).pin_memory().to(device, non_blocking=True)
    if (facts := facts_of(tensor)) is not None:
        facts["values"] = given
    return tensor


def compiles_per_shape() -> bool:
    """Return whether a new shape costs a compilation on this backend."""
    return keras.backend.backend() not in ("torch", "openvino")


def as_float32(tensor: Any) -> np.ndarray:
    """Return a tensor as a float32 array, whatever the compute dtype was."""
    if isinstance(tensor, np.ndarray):
        return tensor.astype(np.float32, copy=False)
    if tensor.dtype == np.float32:  # never of torch, whose cast of its own dtype costs nothing
        return np.asarray(tensor).copy()
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def as_float32_later(tensor: Any) -> Callable[[], np.ndarray]:
    """Return a function that gives a tensor as a float32 array, with its transfer begun.

    What torch computes on a GPU after this call isn't waited for.
    """
    if not getattr(tensor, "is_cuda", False):
        return functools.partial(as_float32, tensor)
    import torch

    with torch.inference_mode():
        host = tensor.float().to("cpu", non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(tensor.device))

    def wait() -> np.ndarray:
        done.synchronize()
        return host.numpy()

    return wait


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits over the last axis, in NumPy."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def callback_list(model: keras.Model, callbacks: Any, verbose: Any, steps: int) -> Any:
    """Return the callbacks of a run of `predict`, with a progress bar if `verbose`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() and steps > 1 else 0
    if not callbacks and not verbose:
        return keras.callbacks.Callback()  # a list of none starts a thread, for longer than a text
    return keras.callbacks.CallbackList(
        callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=model
    )
