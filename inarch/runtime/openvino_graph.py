"""Graphs of OpenVINO, from calls of Keras on its OpenVINO backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from inarch.keras_private import openvino_output, openvino_tensor
from inarch.runtime.sessions import import_extra


def openvino_graph(
    call: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, tuple[Sequence[int], str]]
) -> tuple[Any, Any]:
    """Return the outputs of a call, and an `openvino.Model` that computes them, flat.

    The weights of the moment are constants in it.

    Args:
        call: from tensors by name to a nest of tensors.
        inputs: the shape of each, -1 for an axis of any size, and its dtype.
    """
    openvino = import_extra("openvino", "openvino")
    types = {"int32": openvino.Type.i32, "float32": openvino.Type.f32}
    parameters = {}
    for name, (shape, dtype) in inputs.items():
        parameter = openvino.opset15.parameter(list(shape), types[dtype], name=name)
        parameter.output(0).get_tensor().set_names({name})
        parameters[name] = parameter
    outputs = call({name: openvino_tensor(p.output(0)) for name, p in parameters.items()})
    results = [openvino.opset15.result(openvino_output(x)) for x in keras.tree.flatten(outputs)]
    return outputs, openvino.Model(results, list(parameters.values()))
