"""Writers of exported graphs, with batch and length left open, and the inputs' names kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from inarch.errors import InputError
from inarch.runtime.openvino_graph import openvino_graph
from inarch.runtime.sessions import import_extra

# Torch's warning about two inputs that share an axis, which is meant here.
_SHARED_AXIS = ".*The axis name: .* will not be used, since it shares the same shape constraints.*"


def axis_names(model: keras.Model) -> dict[str, tuple[str | int, ...]]:
    """Return the shape of each input, with a name for each axis that is open.

    Inputs share `batch`, and the rows of tokens `[batch, length]` share `length`: they are used
    together, so an exporter that took each open axis for a separate one couldn't add them.
    """
    return {
        name: tuple(
            size if size is not None else _axis_name(name, axis, len(tensor.shape))
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in model.input.items()
    }


def _axis_name(name: str, axis: int, rank: int) -> str:
    if axis == 0:
        return "batch"
    return "length" if rank == 2 else f"{name}_{axis}"


def write_saved_model(
    model: keras.Model, path: str | os.PathLike, limits: Mapping[str, int], verbose: bool = False
) -> None:
    """Write a TensorFlow SavedModel, from JAX or TensorFlow.

    Args:
        path: the folder to write.
        limits: the largest size of an open axis, by its name, where it has one.
        verbose: whether Keras says what it wrote.

    Raises:
        InputError: JAX can't leave the length of an operation open.
    """
    import_extra("tensorflow", "tensorflow")
    options: dict[str, Any] = {}
    if keras.backend.backend() == "jax":
        shapes = axis_names(model)
        named = {axis for shape in shapes.values() for axis in shape}
        options["jax2tf_kwargs"] = {
            "polymorphic_shapes": [{n: f"({', '.join(map(str, s))})" for n, s in shapes.items()}],
            "polymorphic_constraints": [f"{a} <= {limits[a]}" for a in limits if a in named],
            "with_gradient": False,  # the graph is for inference
        }
    try:
        keras.Model.export(model, os.fspath(path), "tf_saved_model", verbose=verbose, **options)
    except NotImplementedError as e:
        raise InputError(
            f"{type(model).__name__} can't be exported as a SavedModel from JAX: {e}. Give "
            "input_signature= with fixed sizes, or export it with KERAS_BACKEND=tensorflow"
        ) from e


def write_openvino(
    model: keras.Model, path: str | os.PathLike, limits: Mapping[str, int], verbose: bool = False
) -> None:
    """Write a graph of OpenVINO, an `.xml` and a `.bin` file, from Keras's backend for OpenVINO.

    The exporter of Keras itself keeps the sizes that it traced with.

    Args:
        path: the `.xml` file to write.
    """
    openvino = import_extra("openvino", "openvino")
    _, graph = openvino_graph(
        lambda inputs: model(inputs, training=False),
        {
            name: ([-1 if n is None else n for n in x.shape], x.dtype)
            for name, x in model.input.items()
        },
    )
    openvino.save_model(graph, os.fspath(path), compress_to_fp16=False)


def write_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    limits: Mapping[str, int],
    verbose: bool = False,
    opset_version: int | None = None,
    sample_length: int = 7,
) -> None:
    """Write an ONNX graph from torch, whose inputs have the model's names and order.

    Args:
        path: the file to write.
        limits: the largest size of an open axis, by its name, where it has one.
        opset_version: ONNX's; torch's default where not given.
        sample_length: length of the rows that the graph is traced with.

    Raises:
        MissingExtraError: onnx or onnxscript isn't installed.
    """
    import torch

    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx")
    shapes = axis_names(model)
    dims = {
        axis: torch.export.Dim(axis, max=limits.get(axis))
        for axis in dict.fromkeys(a for shape in shapes.values() for a in shape)
        if isinstance(axis, str)
    }
    dynamic = tuple({i: dims.get(str(axis)) for i, axis in enumerate(s)} for s in shapes.values())
    outputs = model.output
    names = sorted(outputs) if isinstance(outputs, Mapping) else ["output"]
    samples = tuple(
        _sample(torch, model.input[name], shapes[name], sample_length) for name in shapes
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SHARED_AXIS)
        warnings.filterwarnings("ignore", category=FutureWarning)
        program = torch.onnx.export(
            _flat_module(torch, model, list(shapes)),
            samples,
            input_names=list(shapes),
            output_names=names,
            dynamic_shapes=(dynamic,),
            opset_version=opset_version,
            dynamo=True,
            verbose=verbose,
        )
        program.save(os.fspath(path))


def _flat_module(torch: Any, model: keras.Model, names: list[str]) -> Any:
    """Return the model as a torch module of positional inputs and of a tuple of outputs."""

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            outputs = self.model(dict(zip(names, tensors, strict=True)), training=False)
            return tuple(keras.tree.flatten(outputs))

    return Flat().eval()


def _sample(torch: Any, tensor: Any, shape: tuple[str | int, ...], length: int) -> Any:
    """Return a tensor to trace with; a batch or length of 1 would be taken for a constant."""
    sizes = [axis if isinstance(axis, int) else {"batch": 2}.get(axis, length) for axis in shape]
    return torch.ones(sizes, dtype=getattr(torch, tensor.dtype))


# By the name of the format.
WRITERS: dict[str, Callable[..., None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "saved_model": write_saved_model,
}
