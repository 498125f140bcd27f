"""Generation compiled by the backend, with the weights as inputs of the programs.

The prefill of prompts and the loop over tokens are two programs: the compiler needs less memory
than for one, and all strategies share the prefill.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.program import Loop, Prefill, Program
from inarch.generation.strategy import State
from inarch.layers.cache import overwritten_caches
from inarch.layers.prepacked import (
    given_kernels,
    noted_layers,
    prepacked_kernel,
    prepacked_where_small,
)
from inarch.runtime.compile_cache import announced, enable_compile_cache

ops: Any = keras.ops  # Typed, every result may be None.

CompiledFunction = Callable[..., Any]


def compile_program(decoder: Decoder, program: Program) -> CompiledFunction:
    """Return a function from caches and inputs to the results of `program`, for every shape.

    The weights are read at every call; they are neither copied nor donated.
    """
    if keras.backend.backend() == "torch":
        return _torch_loop(decoder, program)
    loop = backend_loop()

    def run(caches: Any, inputs: Any) -> Any:
        state = loop(
            lambda state: ops.logical_not(program.done(state, inputs)),
            lambda state: program.step(decoder, state, inputs),
            program.begin(decoder, caches, inputs),
        )
        return program.finish(state, inputs)

    return compile_function(decoder, run)


def compile_steps(decoder: Decoder, program: Program) -> tuple[CompiledFunction, CompiledFunction]:
    """Return two functions of a program that is run some tokens at a time.

    The first one is from caches and inputs to the state before the first token. The second one is
    from a state, which it takes over, inputs, and a number of tokens at which to halt, to the
    state, the results so far, and whether all rows are finished.
    """
    if keras.backend.backend() == "torch":
        begin, advance = _torch_steps(decoder, program)
        return _in_inference(decoder, begin), _in_inference(decoder, advance)
    loop = backend_loop()

    def run(state: Any, inputs: Any, halt: Any) -> Any:
        state = loop(
            lambda state: ops.logical_and(
                ops.logical_not(program.done(state, inputs)), state["count"] < halt
            ),
            lambda state: program.step(decoder, state, inputs),
            state,
        )
        return state, program.finish(state, inputs), program.done(state, inputs)

    return (
        compile_function(decoder, lambda *given: program.begin(decoder, *given)),
        compile_function(decoder, run, consumes_first=True),
    )


def compile_prefill(decoder: Decoder, prefill: Prefill) -> CompiledFunction:
    """Return a function from inputs to the caches of their prompts, for every shape."""
    loop = backend_loop()
    return compile_function(decoder, lambda inputs: prefill.run(decoder, inputs, loop))


def backend_loop() -> Loop:
    """Return the backend's loop over pure functions."""
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


def as_pure_function(decoder: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as one of the values of the variables and its own arguments."""
    variables = list(decoder.variables)

    def stateless(values: Any, *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    return stateless


def compile_function(
    decoder: Any, function: Callable[..., Any], consumes_first: bool = False
) -> Callable[..., Any]:
    """Return `function` of a decoder's layers, compiled if the backend compiles.

    Args:
        consumes_first: whether the first argument's memory is reused for results, where the
            backend can, so that the caller must not use it again.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        enable_compile_cache()
        donated = (1,) if consumes_first else ()  # after the variables
        stateless = jax.jit(as_pure_function(decoder, function), donate_argnums=donated)
        return announced(
            lambda *arguments: stateless([v.value for v in decoder.variables], *arguments)
        )
    if backend == "tensorflow":
        import tensorflow as tf

        return announced(tf.function(function, autograph=False))
    return _in_inference(decoder, function)


def _torch_loop(decoder: Decoder, program: Program) -> CompiledFunction:
    begin, advance = _torch_steps(decoder, program)

    def run(caches: Any, inputs: Any) -> Any:
        _, found, _ = advance(begin(caches, inputs), inputs, float("inf"))
        return found

    return _in_inference(decoder, run)


def _torch_steps(decoder: Decoder, program: Program) -> tuple[CompiledFunction, CompiledFunction]:
    """Return the two functions of `compile_steps`."""
    graphs: dict[Any, Callable[..., Any]] = {}

    def advance(state: Any, inputs: Any, halt: Any) -> Any:
        values = [v.value.detach() for v in decoder.variables]
        given = keras.tree.flatten((state, inputs, values))
        shapes = tuple((x.shape, x.dtype) for x in given)
        step = None
        while not (done := bool(program.done(state, inputs))) and state["count"] < halt:
            if step is None:
                if shapes not in graphs:
                    graphs[shapes] = _traced(decoder, program, state, inputs, values)
                step = graphs[shapes](inputs, values)
            state = step(state)
        return state, program.finish(state, inputs), done

    def begin(caches: Any, inputs: Any) -> Any:
        state = program.begin(decoder, caches, inputs)
        # Copies, since steps overwrite them, and the caller may go on from the same caches again.
        return state | {"caches": keras.tree.map_structure(lambda x: x.clone(), state["caches"])}

    return begin, advance


def _in_inference(decoder: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function without gradients, and with kernels laid out for a CPU's products."""
    import torch

    prepacked = prepacked_where_small(decoder.variables)

    def run(*arguments: Any) -> Any:
        with torch.inference_mode(), prepacked():
            return function(*arguments)

    return run


def _traced(decoder: Decoder, program: Program, *example: Any) -> Callable[..., Any]:
    """Return one token step as a traced torch graph, which runs without Python.

    It is a function of the inputs and the values of the weights, and returns one of the state. The
    kernels that the step multiplies with in another layout are further inputs of the graph.
    """
    import torch

    state, inputs, _ = example
    with noted_layers() as layers:
        program.step(decoder, state, inputs)
    step = as_pure_function(decoder, lambda state, inputs: program.step(decoder, state, inputs))

    # The graph outlives this call: keep the structure of the nests, not their tensors.
    nests = keras.tree.map_structure(lambda tensor: 0, example)

    def flat(*tensors: Any) -> Any:
        kernels = dict(zip(layers, tensors[len(tensors) - len(layers) :], strict=True))
        rest = tensors[: len(tensors) - len(layers)]
        state, inputs, values = keras.tree.pack_sequence_as(nests, rest)
        with given_kernels(kernels), overwritten_caches():
            return tuple(keras.tree.flatten(step(values, state, inputs)))

    def bound(inputs: Any, values: Any) -> Callable[[State], State]:
        rest = keras.tree.flatten((inputs, values)) + [prepacked_kernel(one) for one in layers]

        def run(state: State) -> State:
            found = graph(*keras.tree.flatten(state), *rest)
            made: State = keras.tree.pack_sequence_as(nests[0], found)
            return made

        return run

    with warnings.catch_warnings():
        # Tracing warns of every shape that Python reads; shapes are fixed here.
        warnings.simplefilter("ignore")
        flattened = [*keras.tree.flatten(example), *(prepacked_kernel(one) for one in layers)]
        graph = torch.jit.trace(flat, tuple(flattened), check_trace=False)
    return bound
