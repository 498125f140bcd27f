"""A layer or function as one program, where JAX would compile each operation of a call apart."""

from functools import partial

import keras


def is_array(value):
    """Return whether a value is an array, or a structure of nothing else."""
    leaves = keras.tree.flatten(value)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def compiled(function):
    """Return a function of arrays as one program per shape; weights are those of its first call."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    @partial(jax.jit, static_argnums=2)
    def program(args, arrays, options):
        return function(*args, **arrays, **dict(options))

    def call(*args, **kwargs):
        arrays = {name: value for name, value in kwargs.items() if is_array(value)}
        options = tuple((name, kwargs[name]) for name in kwargs if name not in arrays)
        return program(args, arrays, options)

    return call
