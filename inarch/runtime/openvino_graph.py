"""Graphs of OpenVINO, from calls of Keras on its OpenVINO backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from inarch.errors import InputError
from inarch.keras_private import openvino_tensor
from inarch.runtime.sessions import import_extra

# OpenVINO's names of the dtypes of inputs.
TYPES = {"int32": "i32", "float32": "f32"}


def openvino_graph(
    call: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, tuple[Sequence[int], str]]
) -> tuple[Any, Any]:
    """Return the outputs of a call, and an `openvino.Model` that computes them, flat.

    The weights of the moment are constants in it.

    Args:
        call: from tensors by name to a nest of tensors.
        inputs: the shape of each, -1 for an axis of any size, and its dtype.

    Raises:
        InputError: a dtype is neither int32 nor float32.
    """
    for name, (_, dtype) in inputs.items():
        if dtype not in TYPES:
            raise InputError(
                f"{name} is of dtype {dtype}, and OpenVINO takes {' or '.join(TYPES)} here; give "
                f"{name}.astype('{'float32' if 'float' in dtype else 'int32'}')"
            )
    openvino = import_extra("openvino", "openvino")
    parameters = {}
    for name, (shape, dtype) in inputs.items():
        parameter = openvino.opset15.parameter(
            list(shape), getattr(openvino.Type, TYPES[dtype]), name=name
        )
        parameter.output(0).get_tensor().set_names({name})
        parameters[name] = parameter
    outputs = call({name: openvino_tensor(p.output(0)) for name, p in parameters.items()})
    results = [openvino.opset15.result(x.output) for x in keras.tree.flatten(outputs)]
    return outputs, openvino.Model(results, list(parameters.values()))
