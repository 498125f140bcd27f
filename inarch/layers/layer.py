"""Base class of layers, whose constructor signature is their config."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import keras

from inarch.errors import InputError
from inarch.keras_private import is_rematerialized, serialize_shared
from inarch.layers.activation import Activation, get_activation, serialize_activation
from inarch.layers.alternatives import Alternatives
from inarch.layers.axes import Axes
from inarch.layers.dense import Dense
from inarch.layers.direct_calls import DirectCall
from inarch.layers.initializer import fresh_initializer
from inarch.layers.rematerialize import rematerialized

INITIALIZER, ACTIVATION = "initializer", "activation"

# Arguments of `keras.layers.Layer`.
KERAS_OPTIONS = ("name", "dtype", "trainable", "autocast", "activity_regularizer")


class Layer(DirectCall):
    """Base class that records the arguments of a layer's constructor.

    Before the body of `__init__` runs, every argument is an attribute of the same name; those
    whose names end with `initializer` or `activation` are Keras initializers and functions.
    `get_config` gives the attributes. Arguments of `**kwargs` are Keras's (`name`, `dtype`,
    `trainable`, `autocast`).

    By default the output has the shape of the first input, and the layer passes on implicit masks.
    """

    # Whether the layer is a sublayer of a `Block`, which no other may have then.
    in_block = False

    # Whether a reference's module with the same weights computes the same. A layer that adds
    # what has no weights, such as positions, to the vectors of a table isn't the table's module.
    pairs_with_module = True

    # Names of its dense layers that are no modules in the reference, which multiplies by them
    # within the module of this layer, or are called with some tokens alone: they are compared
    # as a whole.
    parts_within: ClassVar[tuple[str, ...]] = ()

    # The logical axes of its weights, by their names or those of the dense layers that have them
    # (see `inarch.layers.axes`).
    axes: ClassVar[Mapping[str, Axes]] = {}

    # Arguments that are layers to be copied (`copy_layer`), and not themselves part of this one.
    templates: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign]

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        return inputs_shape

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output, scores if requested, and the caches that are given.

        They are known without a computation, also where lengths are open.
        """
        arguments = _signature_of(type(self).call).bind(self, *args, **kwargs).arguments
        _, inputs, *_ = arguments.values()
        outputs = [self._spec(self.compute_output_shape(inputs.shape))]
        if arguments.get("return_attention_scores"):
            outputs.append(self._spec(self._scores_shape(arguments)))
        for name, given in arguments.items():
            if name.endswith("cache") and given is not None:
                outputs.append(keras.tree.map_structure(lambda x: self._spec(x.shape), given))
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def rematerialized_call(self, layer_call: Any, *args: Any, **kwargs: Any) -> Any:
        if is_rematerialized(self):
            return rematerialized(self, layer_call)
        return super().rematerialized_call(layer_call, *args, **kwargs)

    def _spec(self, shape: Any) -> keras.KerasTensor:
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def _scores_shape(self, arguments: Mapping[str, Any]) -> Any:
        """Return the shape of attention probabilities; by default those of self-attention."""
        batch, length, _ = arguments["inputs"].shape
        return batch, self.num_heads, length, length

    def set_argument(self, name: str, value: Any) -> None:
        """Make an argument of the constructor an attribute."""
        if name.endswith(INITIALIZER):
            value = keras.initializers.get(value)
        elif name.endswith(ACTIVATION):
            value = get_activation(value)
        if name in self.templates:
            # Past Keras, which would save it as a layer that was never built.
            object.__setattr__(self, name, value)
        else:
            setattr(self, name, value)

    def branches(self) -> Alternatives:
        """Return what the arguments switch on, by name, each with the attributes without it.

        Inputs that it makes no difference for don't show whether it is right.
        """
        return {}

    def make_dense(
        self,
        name: str,
        units: int,
        inputs_shape: Any,
        use_bias: bool = True,
        activation: Activation = None,
    ) -> keras.layers.Dense:
        """Return a built `keras.layers.Dense` of the dtype and initializers of this layer."""
        layer = Dense(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=fresh_initializer(self.kernel_initializer),
            bias_initializer=fresh_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(inputs_shape)
        return layer

    def get_config(self) -> dict[str, Any]:
        given = {name: _serialized(name, getattr(self, name)) for name in self._argument_names}
        return {**super().get_config(), **given}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return super().from_config({name: _restored(name, v) for name, v in config.items()})


def copy_layer(layer: keras.layers.Layer, name: str, dtype: Any, **options: Any) -> Any:
    """Return a new layer of the same config, with its own name and dtype policy."""
    config = layer.get_config() | {"name": name, "dtype": dtype}
    return type(layer).from_config(config | options)


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap an `__init__` to call Keras's own, and to set arguments as attributes."""
    signature = inspect.signature(init)
    rest = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        options = bound.arguments.pop(rest[0]) if rest else {}
        _, *arguments = bound.arguments.items()
        if unknown := sorted(options.keys() - set(KERAS_OPTIONS)):
            raise InputError(
                f"{type(self).__name__} takes no {unknown[0]}={options[unknown[0]]!r}. It takes "
                f"{', '.join([*(name for name, _ in arguments), *KERAS_OPTIONS])}."
            )
        if type(self).__init__ is wrapper:  # not one that a subclass calls with its own choice
            keras.layers.Layer.__init__(self, **options)
            self._argument_names = tuple(name for name, _ in arguments)
        for name, value in arguments:
            self.set_argument(name, value)
        init(self, *args, **kwargs)

    # Keras reads it without looking behind a wrapper.
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    return wrapper


@functools.cache
def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _serialized(name: str, value: Any) -> Any:
    if name.endswith(INITIALIZER):
        return keras.initializers.serialize(value)
    if name.endswith(ACTIVATION):
        return serialize_activation(value)
    if isinstance(value, keras.layers.Layer):
        return serialize_shared(value)
    return list(value) if isinstance(value, tuple) else value


def _restored(name: str, value: Any) -> Any:
    is_layer = isinstance(value, dict) and "class_name" in value and name != "dtype"
    if is_layer and not name.endswith((INITIALIZER, ACTIVATION)):
        return keras.saving.deserialize_keras_object(value)
    return value
