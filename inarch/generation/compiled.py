"""The loop over tokens as one program of the backend's own, that the weights are handed to."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.program import Program

Run = Callable[[Any], Any]


def compiled(decoder: Decoder, program: Program) -> Run:
    """A function from a program's inputs to what came of them; it compiles for each shape.

    The weights are read at every call, never copied and never taken away from the model.
    """
    backend = keras.backend.backend()
    loops = {"jax": _jax_loop, "tensorflow": _tensorflow_loop, "torch": _torch_loop}
    return loops[backend](decoder, program)


def pure(decoder: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of the variables' values and its own arguments."""
    variables = list(decoder.variables)

    def stateless(values: Any, *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    return stateless


def function_of_model(decoder: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function made of the decoder's layers, compiled where the backend compiles."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        stateless = jax.jit(pure(decoder, function))
        return lambda *arguments: stateless([v.value for v in decoder.variables], *arguments)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    return _without_gradients(function)


def _jax_loop(decoder: Decoder, program: Program) -> Run:
    import jax

    def rest(state: Any, inputs: Any) -> Any:
        state = jax.lax.while_loop(
            lambda state: ~program.done(state, inputs),
            lambda state: program.more(decoder, state, inputs),
            state,
        )
        return program.finish(state, inputs)

    # Two programs, one after another: the compiler needs less memory than for both in one.
    begin = function_of_model(decoder, lambda inputs: program.begin(decoder, inputs))
    go_on = function_of_model(decoder, rest)
    return lambda inputs: go_on(begin(inputs), inputs)


def _tensorflow_loop(decoder: Decoder, program: Program) -> Run:
    import tensorflow as tf

    def run(inputs: Any) -> Any:
        (state,) = tf.while_loop(
            lambda state: tf.logical_not(program.done(state, inputs)),
            lambda state: (program.more(decoder, state, inputs),),
            (program.begin(decoder, inputs),),
        )
        return program.finish(state, inputs)

    return tf.function(run, autograph=False)


def _torch_loop(decoder: Decoder, program: Program) -> Run:
    graphs: dict[Any, Callable[..., Any]] = {}

    def run(inputs: Any) -> Any:
        state = program.begin(decoder, inputs)
        values = [v.value.detach() for v in decoder.variables]
        given = keras.tree.flatten((state, inputs, values))
        shapes = tuple((x.shape, x.dtype) for x in given)
        while not program.done(state, inputs):
            if shapes not in graphs:
                graphs[shapes] = _traced(decoder, program, state, inputs, values)
            state = graphs[shapes](state, inputs, values)
        return program.finish(state, inputs)

    return _without_gradients(run)


def _without_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def run(*arguments: Any) -> Any:
        with torch.inference_mode():
            return function(*arguments)

    return run


def _traced(decoder: Decoder, program: Program, *example: Any) -> Callable[..., Any]:
    """One more token as a graph of torch's, which Python takes no part in.

    It is a function of the state, the inputs and the values of the weights. The graph takes them
    as a list of tensors.
    """
    import torch

    more = pure(decoder, lambda state, inputs: program.more(decoder, state, inputs))

    def flat(*tensors: Any) -> Any:
        state, inputs, values = keras.tree.pack_sequence_as(example, tensors)
        return tuple(keras.tree.flatten(more(values, state, inputs)))

    with warnings.catch_warnings():
        # It warns of every shape that Python looks at; shapes are fixed here.
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(flat, tuple(keras.tree.flatten(example)), check_trace=False)
    state = example[0]
    return lambda *given: keras.tree.pack_sequence_as(state, graph(*keras.tree.flatten(given)))
