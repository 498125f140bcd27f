"""Calls of layers whose intermediate values are computed again for the gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from inarch.keras_private import uncast_values


def rematerialized(layer: keras.layers.Layer, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call` of a layer under `keras.remat`, with arguments of any kind and any dropout.

    Keras itself traces every argument, flags too, and the state of dropout can't leave what it
    traces. Here tensors and variables alone are arguments of what is computed again, and what the
    counters of random numbers have become is one of its results. Both times draw the same ones.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        variables = layer.variables
        # A frozen layer's weights are among those that aren't trained, and don't change.
        untrained = layer.non_trainable_variables
        changing = [v for v in untrained if not keras.backend.is_float_dtype(v.dtype)]
        flat = keras.tree.flatten((args, kwargs))
        places = [i for i, item in enumerate(flat) if keras.ops.is_tensor(item)]

        def pure(values: Sequence[Any], tensors: Sequence[Any]) -> Any:
            given = [*flat]
            for place, tensor in zip(places, tensors, strict=True):
                given[place] = tensor
            mapping = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=mapping) as scope:
                positional, named = keras.tree.pack_sequence_as((args, kwargs), given)
                outputs = call(*positional, **named)
            return outputs, [scope.get_current_value(v) for v in changing]

        values = uncast_values(variables)
        outputs, after = keras.remat(pure)(values, [flat[place] for place in places])
        for variable, value in zip(changing, after, strict=True):
            variable.assign(value)
        return outputs

    return run
