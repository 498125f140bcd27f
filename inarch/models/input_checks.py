"""Checks of prepared arrays, before a backend reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError

# Of an encoder and a decoder, whose rows may differ in length: how their inputs' names begin.
STACKS = ("encoder_", "decoder_")


def check_names(model: Any, given: Mapping[str, Any]) -> None:
    """Raise InputError unless the inputs are those that `model` takes."""
    wanted = set(model.input)
    unknown, missing = sorted(given.keys() - wanted), sorted(wanted - given.keys())
    if unknown or missing:
        problems = [f"unknown: {', '.join(unknown)}"] if unknown else []
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        raise InputError(
            f"{model.name} takes the inputs {', '.join(sorted(wanted))}; " + "; ".join(problems)
        )


def check_arrays(
    model: Any, given: Mapping[str, Any], rows: Mapping[str, int], max_length: int | None
) -> None:
    """Raise an error that names what can't be computed in prepared inputs of `model`.

    Shapes are checked whatever holds the numbers, the numbers themselves in NumPy arrays alone:
    to read them elsewhere could cost a copy from an accelerator.

    Args:
        given: `{name: array}`, all of them.
        rows: of the table in which an input is looked up, by the input's name.
        max_length: the most tokens of a row; `None` for no limit.

    Raises:
        InputError: inputs are missing, unknown, of other shapes than each other or too long; or a
            number isn't whole or is beyond its table.
        InputTypeError: an input isn't an array.
    """
    check_names(model, given)
    whole = {n: x for n, x in given.items() if "int" in model.input[n].dtype}
    for name, array in given.items():
        if not hasattr(array, "shape"):
            numbers = " of whole numbers" if name in whole else ""
            raise InputTypeError(
                f"input {name!r} is a {type(array).__name__}; give an array{numbers}"
            )
    shapes = {n: tuple(x.shape) for n, x in whole.items()}
    for name, shape in shapes.items():
        if len(shape) != 2 or 0 in shape:
            raise InputError(
                f"input {name!r} has the shape {shape}; it must be [rows, length], with at least "
                "one row of at least one token"
            )
    _check_shapes(shapes)
    length = max((shape[1] for shape in shapes.values()), default=0)
    if max_length is not None and length > max_length:
        raise InputError(
            f"the inputs hold rows of {length} tokens, and {model.name} reads {max_length}: "
            f"truncate them to {max_length}"
        )
    for name, array in whole.items():
        if isinstance(array, np.ndarray):
            _check_numbers(name, array, rows.get(name))


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InputError unless those of a stack have one shape, and all of them as many rows."""
    by_stack: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        stack = next((each for each in STACKS if name.startswith(each)), "")
        by_stack.setdefault(stack, {})[name] = shape
    for stack, own in by_stack.items():
        if len({*own.values()}) > 1:
            which = f"integer inputs of the {stack.strip('_')}" if stack else "integer inputs"
            raise InputError(f"all {which} must have the same shape; got {_listed(own)}")
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise InputError(f"all integer inputs must have as many rows; got {_listed(shapes)}")


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _check_numbers(name: str, array: np.ndarray, rows: int | None) -> None:
    """Raise InputError unless all are whole numbers, from 0 up and below `rows`."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {name!r} holds {array.dtype}; it must hold whole numbers")
    if array.dtype.kind == "f":
        _refuse(name, array, array != np.floor(array), "isn't a whole number")
    if array.dtype.kind == "b" or not rows:
        return
    if array.min() < 0 or array.max() >= rows:
        wrong = (array < 0) | (array >= rows)
        _refuse(name, array, wrong, f"isn't one of the {rows}, 0 to {rows - 1}")


def _refuse(name: str, array: np.ndarray, wrong: np.ndarray, why: str) -> None:
    if wrong.any():
        row, place = (int(i) for i in np.argwhere(wrong)[0])
        value = array[row, place].item()
        raise InputError(f"{value} in row {row}, place {place} of {name!r} {why}")


def values_per_layer(name: str, given: Sequence[bool] | None, num_layers: int) -> tuple[bool, ...]:
    """Return the argument `name`, a value for each layer; true for all where none are given.

    Raises:
        InputError: there are more values than layers, or fewer.
    """
    values = (True,) * num_layers if given is None else tuple(given)
    if len(values) != num_layers:
        raise InputError(
            f"{name} has {len(values)} values and num_layers={num_layers}. Pass a value for each "
            "layer."
        )
    return values


def check_layer_types(given: Sequence[str], num_layers: int, known: Sequence[str]) -> None:
    """Raise InputError unless the argument `layer_types` has a known value for each layer."""
    if len(given) != num_layers:
        raise InputError(
            f"layer_types has {len(given)} values and num_layers={num_layers}. Pass a value for "
            "each layer."
        )
    for i, layer_type in enumerate(given):
        if layer_type not in known:
            raise InputError(f"layer_types[{i}]={layer_type!r}; pass one of {tuple(known)}.")
