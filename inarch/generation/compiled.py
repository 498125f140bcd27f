"""Decoding as programs of the backend's own, which the weights are handed to.

Reading prompts and the loop over tokens are two: the compiler needs less memory than for both in
one, and all strategies share the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.program import Loop, Prefill, Program

ops: Any = keras.ops  # Typed, every result may be None.

Run = Callable[..., Any]


def compiled(decoder: Decoder, program: Program) -> Run:
    """A function from caches and a program's inputs to what came of them, for every shape.

    The weights are read at every call, never copied and never taken away from the model.
    """
    if keras.backend.backend() == "torch":
        return _torch_loop(decoder, program)
    loop = backend_loop()

    def run(caches: Any, inputs: Any) -> Any:
        state = loop(
            lambda state: ops.logical_not(program.done(state, inputs)),
            lambda state: program.more(decoder, state, inputs),
            program.begin(caches, inputs),
        )
        return program.finish(state, inputs)

    return function_of_model(decoder, run)


def compiled_prefill(decoder: Decoder, prefill: Prefill) -> Run:
    """A function from a program's inputs to the caches of its prompts, for every shape."""
    loop = backend_loop()
    return function_of_model(decoder, lambda inputs: prefill.run(decoder, inputs, loop))


def backend_loop() -> Loop:
    """A loop over pure functions, as the backend compiles it."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.lax.while_loop
    if backend == "tensorflow":
        import tensorflow as tf

        def loop(condition: Any, body: Any, state: Any) -> Any:
            (state,) = tf.while_loop(condition, lambda state: (body(state),), (state,))
            return state

        return loop

    def stepwise(condition: Any, body: Any, state: Any) -> Any:
        while condition(state):
            state = body(state)
        return state

    return stepwise


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


def _torch_loop(decoder: Decoder, program: Program) -> Run:
    graphs: dict[Any, Callable[..., Any]] = {}

    def run(caches: Any, inputs: Any) -> Any:
        state = program.begin(caches, inputs)
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

    # The graph outlives this call: it keeps the nests alone, not the tensors in them.
    nests = keras.tree.map_structure(lambda tensor: 0, example)

    def flat(*tensors: Any) -> Any:
        state, inputs, values = keras.tree.pack_sequence_as(nests, tensors)
        return tuple(keras.tree.flatten(more(values, state, inputs)))

    with warnings.catch_warnings():
        # It warns of every shape that Python looks at; shapes are fixed here.
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(flat, tuple(keras.tree.flatten(example)), check_trace=False)
    return lambda *given: keras.tree.pack_sequence_as(nests[0], graph(*keras.tree.flatten(given)))
