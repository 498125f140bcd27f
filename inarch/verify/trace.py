"""Inputs and outputs of every layer of a model of ours, on any backend."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from inarch.keras_private import all_layers, sublayers
from inarch.layers.alternatives import changed

ops: Any = keras.ops  # Typed, every result may be None.

# (path of the layer, which call of it, input | linear | output | attention)
Tap = tuple[str, int, str]


def layers_of(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return every layer that has weights, by its path from the model down, outer ones first.

    Among them are layers of the model's own graph that have alternatives and no weights, such as
    pooling.

    Paths are those of `named_variables`: a model within the model adds no level, and a layer used
    in two places has the path of the first.
    """
    return _layers_below(model, "")


def _layers_below(root: keras.layers.Layer, path: str) -> dict[str, keras.layers.Layer]:
    found: dict[str, keras.layers.Layer] = {}
    seen: set[int] = set()

    def walk(parent: keras.layers.Layer, path: str) -> None:
        is_in_graph = isinstance(parent, keras.Model)
        for layer in sublayers(parent):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if isinstance(layer, keras.Model):
                walk(layer, path)
            elif layer.weights or (is_in_graph and hasattr(layer, "alternatives")):
                name = f"{path}/{layer.name}" if path else layer.name
                found[name] = layer
                walk(layer, name)

    walk(root, path)
    return found


@dataclass(frozen=True)
class Call:
    """Arguments of one call of a layer, and how often each layer had been called before it."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    counts: Counter[str]


def run(
    model: keras.Model,
    inputs: Mapping[str, np.ndarray],
    teacher_values: Mapping[Tap, np.ndarray] | None = None,
    calls: dict[tuple[str, int], Call] | None = None,
    with_attention: bool = True,
) -> dict[Tap, np.ndarray]:
    """Run the model and record every layer, in the order of events.

    Args:
        inputs: the model's inputs by name.
        teacher_values: values to go on with in place of the model's own at these taps. The model's
            own are recorded all the same; so every stretch between two such taps, and every layer
            after one, is measured in isolation.
        calls: gets every call, by the layer's path and which of its calls it is.
        with_attention: whether to record attention probabilities, which takes another call.

    Returns:
        Arrays by `(layer, call, role)`; the model's outputs under the layer `""`.
    """
    recorder = _Recorder(teacher_values or {}, calls, with_attention)
    fed = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    with ExitStack() as stack:
        for path, layer in layers_of(model).items():
            stack.enter_context(recorder.watching(path, layer))
        outputs = model(fed, training=False)
    named = outputs if isinstance(outputs, Mapping) else {"output": outputs}
    for name, value in named.items():
        recorder.values["", 0, name] = recorder.to_numpy(value)
    return recorder.values


def replay(
    layer: keras.layers.Layer,
    path: str,
    call: Call,
    teacher_values: Mapping[Tap, np.ndarray],
    with_attention: bool = False,
) -> dict[Tap, np.ndarray]:
    """Call a layer as the one at `path` was called, and record it as `run` does.

    Args:
        with_attention: whether to record attention probabilities, which takes another call.
    """
    recorder = _Recorder(teacher_values, with_attention=with_attention)
    recorder.counts.update(call.counts)
    with ExitStack() as stack:
        for name, inner in {path: layer, **_layers_below(layer, path)}.items():
            stack.enter_context(recorder.watching(name, inner))
        layer(*call.args, **call.kwargs)
    return recorder.values


class _Recorder:
    def __init__(
        self,
        teacher_values: Mapping[Tap, np.ndarray],
        calls: dict[tuple[str, int], Call] | None = None,
        with_attention: bool = True,
    ):
        self.with_attention = with_attention
        self.teacher_values = teacher_values
        self.calls = calls
        self.values: dict[Tap, np.ndarray] = {}
        self.counts: Counter[str] = Counter()
        # One array for a tensor that is the output of one layer and the input of others. The
        # tensor is kept, so that no other gets its id.
        self.arrays: dict[int, tuple[Any, np.ndarray]] = {}

    def to_numpy(self, tensor: Any) -> np.ndarray:
        if id(tensor) not in self.arrays:
            wide = ops.convert_to_numpy(ops.cast(tensor, _at_least_float32(tensor)))
            self.arrays[id(tensor)] = tensor, wide
        return self.arrays[id(tensor)][1]

    def at(self, tap: Tap, tensor: Any) -> Any:
        """Record a tensor, and give what the model goes on with."""
        self.values[tap] = self.to_numpy(tensor)
        value = self.teacher_values.get(tap)
        shape = self.values[tap].shape
        if value is None or value.shape not in (shape, (1, *shape[1:])):
            return tensor
        # At least float32, so that a layer in 16 bits doesn't spoil what comes after its output.
        wide = np.broadcast_to(value, shape).astype(self.values[tap].dtype)
        return ops.convert_to_tensor(wide)

    @contextmanager
    def watching(self, path: str, layer: keras.layers.Layer) -> Iterator[None]:
        """Record the calls of a layer while the context lasts."""
        name = "call" if layer.quantization_mode is None else "quantized_call"
        patched = {name: self._call(path, layer, getattr(layer, name))}
        activation = getattr(layer, "activation", None)
        if callable(activation) and activation is not keras.activations.linear:
            patched["activation"] = self._activation(path, activation)
        with changed(layer, patched):
            yield

    def _activation(self, path: str, activation: Callable) -> Callable:
        def recorded(x: Any) -> Any:
            return activation(self.at((path, self.counts[path], "linear"), x))

        return recorded

    def _call(self, path: str, layer: keras.layers.Layer, call: Callable) -> Callable:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            number = self.counts[path]
            if self.calls is not None:
                self.calls[path, number] = Call(args, kwargs, Counter(self.counts))
            arguments = [*args, *kwargs.values()]
            first = next((a for a in arguments if _is_float(a)), None)
            if first is not None:
                fed = self.at((path, number, "input"), first)
                if fed is not first:  # in the layer's own dtype, as Keras casts what it is given
                    fed = ops.cast(fed, first.dtype)
                # Self-attention takes one tensor as queries, keys and values.
                args = tuple(fed if a is first else a for a in args)
                kwargs = {k: fed if a is first else a for k, a in kwargs.items()}
            before = Counter(self.counts)
            output = call(*args, **kwargs)
            if self.with_attention and gives_attention(layer):
                # The path that gives the probabilities may be another than the usual one, which
                # is the one to be compared.
                after, self.counts = self.counts, before
                kept = dict(self.values)
                scores = call(*args, **{**kwargs, "return_attention_scores": True})[1]
                self.counts, self.values = after, kept
                self.values[path, number, "attention"] = self.to_numpy(scores)
            if isinstance(output, tuple):
                output = (self.at((path, number, "output"), output[0]), *output[1:])
            elif _is_float(output):
                if getattr(layer, "activation", None) is keras.activations.linear:
                    output = self.at((path, number, "linear"), output)
                output = self.at((path, number, "output"), output)
            self.counts[path] += 1
            return output

        return recorded


def gives_attention(layer: keras.layers.Layer) -> bool:
    """Return whether a layer computes attention probabilities and can return them."""

    def asks(of: keras.layers.Layer) -> bool:
        return "return_attention_scores" in inspect.signature(type(of).call).parameters

    inner = all_layers(layer, include_self=False)
    return asks(layer) and not any(asks(sublayer) for sublayer in inner)


def _is_float(value: Any) -> bool:
    return keras.ops.is_tensor(value) and "float" in keras.backend.standardize_dtype(value.dtype)


def _at_least_float32(tensor: Any) -> str:
    return keras.backend.result_type(tensor.dtype, "float32")
