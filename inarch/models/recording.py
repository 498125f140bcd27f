"""Constructors that record their arguments, build under a dtype, and continue clones."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import keras

from inarch.errors import InputError
from inarch.models.arguments import check_complete, mutable_arguments
from inarch.models.layer_settings import apply_layer_settings, read_layer_settings
from inarch.validation import check_rate


def recording(init: Any) -> Any:
    """Wrap an `__init__` to record its arguments and to build under its dtype."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        source = _clone_of(args[1]) if len(args) == 2 else None
        if source is not None:
            args, dtype = (), source.dtype_policy
            kwargs |= {name: _fresh(value) for name, value in source.arguments.items()}
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        # A list could be changed under the model, and is one in a saved model's config.
        given = bound.arguments.items()
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given}
        outermost = type(self).__init__ is wrapper
        named = arguments.pop("kwargs", {})
        del arguments[next(iter(arguments))]
        unknown = sorted(named.keys() - {"name", "trainable"})
        if unknown and outermost:
            raise InputError(f"{type(self).__name__} has no argument {', '.join(unknown)}")
        _check_rates(arguments)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(_policy(dtype))
        try:
            init(self, *args, **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        # Past Keras's tracking: an argument may be a model, which is a layer already.
        if outermost:
            check_complete(self)
            object.__setattr__(self, "_arguments", arguments)
        if source is not None:
            _continue_clone(self, source)

    # Where no argument has to be given, Keras takes them from the signature. Elsewhere it can't,
    # and looks at the wrapper alone.
    with suppress(TypeError):
        signature.bind(None)
        wrapper.__signature__ = _with_rest(signature)  # type: ignore[attr-defined]
    return wrapper


def _with_rest(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature with `*args`, by which Keras knows a constructor that makes clones."""
    parameters = [*signature.parameters.values()]
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    place = next(i for i, one in enumerate([*parameters, None]) if not one or one.kind in named)
    parameters.insert(place, inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL))
    return signature.replace(parameters=parameters)


def _continue_clone(clone: Any, source: Any) -> None:
    """Give a clone what its source's constructor wasn't given."""
    clone.layout, clone.passthrough = source.layout, source.passthrough
    for name in mutable_arguments(type(source)).keys() - source.arguments.keys():
        setattr(clone, name, _fresh(getattr(source, name)))
    apply_layer_settings(clone, read_layer_settings(source))


def _check_rates(arguments: Mapping[str, Any]) -> None:
    for name, rate in arguments.items():
        if name.endswith("dropout") and rate is not None:
            check_rate(name, rate)


def _policy(dtype: Any) -> Any:
    """Return the dtype policy of a name, which must be one of floating point."""
    known = "float32, bfloat16, float16, mixed_bfloat16 or mixed_float16"
    refusal = f"dtype is {dtype!r}; give {known}, or a keras.DTypePolicy of floating point"
    try:
        policy = keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as e:
        raise InputError(refusal) from e
    if not keras.backend.is_float_dtype(policy.compute_dtype):
        raise InputError(refusal)
    return policy


def _clone_of(outputs: Any) -> Any:
    tensors = keras.tree.flatten(outputs)
    return getattr(tensors[0], "cloned_model", None) if tensors else None


def _fresh(value: Any) -> Any:
    """Return an argument for a clone: a new model, or a copy of what can change in place."""
    if isinstance(value, keras.Model):
        return type(value).from_config(value.get_config())
    return copy.copy(value)
