"""`Model`: what backbones and tasks have in common as Keras models."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import keras
import numpy as np

from inarch.checkpoints.maps.layout import Layout
from inarch.json_fields import OBJECT, read_field
from inarch.keras_private import ModelHooks
from inarch.models import exporting
from inarch.models.arguments import check_settable, checked_values, mutable_arguments
from inarch.models.input_checks import check_arrays, check_names
from inarch.models.interrupt import SafeInterrupt
from inarch.models.layer_settings import (
    apply_layer_settings,
    check_exportable,
    check_quantization,
    check_trainable,
    read_layer_settings,
    redraw_idle_lora,
)
from inarch.models.lora import LowRankUpdates
from inarch.models.publishing import Publishing
from inarch.models.recording import recording
from inarch.models.registry import inputs_of
from inarch.models.stored_config import check_arguments, stored_layout, stored_settings
from inarch.runtime.distribution import allow_partial_batches
from inarch.validation import Validator, check_count

# Keys of a config that are no arguments of the constructor.
NOT_ARGUMENTS = frozenset(["layout", "layer_settings", "settings"])
LAYERS = Validator(
    "an object of objects",
    lambda value: isinstance(value, dict) and all(map(OBJECT.fits, value.values())),
)


class Model(LowRankUpdates, Publishing, ModelHooks):
    """A functional model wrapped in a class whose signature is its config.

    A subclass builds its graph in `__init__` and hands inputs and outputs to this class. The
    arguments of `__init__` are recorded, so that `get_config` need not repeat them. `dtype`
    is an argument of every subclass: a dtype or dtype policy for all of its layers.

    Attributes that are arguments are read-only, since the graph was built by them, but for those
    that the class declares to be a `MutableArgument`. What is changed on the layers themselves
    (frozen, low-rank updates, quantization) is part of the config too.

    A `fit`, `evaluate` or `predict` that fails or is interrupted leaves the model the weights that
    it had after the last whole step.

    Attributes:
        arguments: the constructor's arguments as they are now, defaults included; read-only.
        layout: what the checkpoint looked like that the weights came from, or None.
        passthrough: tensors of that checkpoint that this model doesn't use, kept for export.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    _arguments: dict[str, Any]
    layout: Layout | None
    passthrough: Mapping[str, np.ndarray]
    fresh_weights: tuple[str, ...]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = recording(cls.__init__)  # type: ignore[method-assign]
        keras.saving.register_keras_serializable(package="inarch")(cls)

    def __init__(self, inputs: Any, outputs: Any, **kwargs: Any):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        allow_partial_batches()
        self.layout = None
        self.passthrough = {}
        self.fresh_weights = ()

    @property
    def sidecar_variables(self) -> frozenset[str]:
        """Return the names of weights that a checkpoint has in files of their own."""
        return frozenset()

    @property
    def arguments(self) -> Mapping[str, Any]:
        mutable = mutable_arguments(type(self))
        given = self._arguments.items()
        return MappingProxyType({n: getattr(self, n) if n in mutable else v for n, v in given})

    def argument(self, name: str, default: Any = None) -> Any:
        """Return one of `arguments`, or `default` where there is none of that name."""
        if name in mutable_arguments(type(self)):
            return getattr(self, name)
        return self._arguments.get(name, default)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_arguments" in vars(self) and not name.startswith("_"):
            check_settable(self, name, self._arguments)
        if name not in mutable_arguments(type(self)):
            super().__setattr__(name, value)
            return
        object.__setattr__(self, name, value)
        if "_arguments" in vars(self):
            self.argument_changed(name)

    def argument_changed(self, name: str) -> None:
        """Drop what was made from a mutable argument's value before it was set anew."""

    # --- config and Keras files ----------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        settings = checked_values(self)
        values = {name: settings.get(name, value) for name, value in self._arguments.items()}
        config = {name: _serialized(value) for name, value in values.items()}
        config |= {"name": self.name, "trainable": self.trainable}
        config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        if self.layout:
            config["layout"] = self.layout.to_json()
        config["layer_settings"] = read_layer_settings(self)
        # Of a subclass whose own constructor doesn't take them.
        rest = {name: v for name, v in settings.items() if name not in self._arguments}
        if rest:
            config["settings"] = {name: _serialized(value) for name, value in rest.items()}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Build the model that `get_config` described.

        Raises:
            ConfigError: the config is of another form; a `.keras` file may hold anything.
            CheckpointError: its settings of layers are of another architecture.
        """
        where = f"the config of a {cls.__name__}"
        layers = read_field(config, "layer_settings", LAYERS, None, where=where)
        settings = stored_settings(config, cls, where)
        arguments = {name: config[name] for name in config if name not in NOT_ARGUMENTS}
        check_arguments(cls, arguments, where)
        model = cls(**arguments)
        model.layout = stored_layout(config, model, where)
        for name, value in settings.items():
            setattr(model, name, value)
        if layers is not None:
            apply_layer_settings(model, layers)
        return model

    def save_own_variables(self, store: Any) -> None:
        """Keep the passthrough tensors in `.keras` and weight files with the layers' weights."""
        for name, value in self.passthrough.items():
            store[name] = value

    def load_own_variables(self, store: Any) -> None:
        self.passthrough = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118

    def load_weights(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Load weights as `keras.Model.load_weights`; low-rank updates merged there start anew."""
        super().load_weights(filepath, *args, **kwargs)
        redraw_idle_lora(self)

    def quantize(self, mode: Any = None, config: Any = None, **kwargs: Any) -> None:
        """Quantize as `keras.Model.quantize` does, in a mode that needs no calibration.

        Files of Keras and clones keep it; `save_to_preset` refuses, since the format that it
        writes holds floating point.

        Raises:
            InputError: the mode is "gptq" or "awq", or the model has a mixture of experts.
        """
        check_quantization(self, mode, config)
        super().quantize(mode, config=config, **kwargs)

    # --- running -------------------------------------------------------------------------------

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        if isinstance(inputs, Mapping):
            check_names(self, inputs)
        return super().call(inputs, training=training, mask=mask, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        check_trainable(self)
        return self._run(super().fit, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(super().evaluate, *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(super().predict, *args, **kwargs)

    def export(
        self, filepath: str | os.PathLike, format: str = "saved_model", **kwargs: Any
    ) -> None:
        """Write the graph for another runtime, for any batch and any length that the model takes.

        Inputs keep the model's names and order. The graph is compared with Keras on inputs of three
        other shapes, of which one has several texts in a row; where they differ nothing is written.

        Where this Keras backend doesn't write a format, a process of its own does so by one that
        does: ONNX by torch, OpenVINO by Keras's backend for it, a SavedModel by TensorFlow or JAX.

        Args:
            filepath: a folder; or an `.onnx` or `.xml` file, which are `model.onnx` and
                `openvino_model.xml` in a folder.
            format: "onnx", "openvino" or "saved_model". Any other one is Keras's exporter as it is,
                and so are these where `input_signature` or `jax2tf_kwargs` is given: not compared.
            kwargs: `opset_version` of ONNX; `verbose`.

        Raises:
            MissingExtraError: a package that the format needs isn't installed.
            InputError: the graph differs from Keras, an operation can't be exported, or the model
                is quantized.
            CheckpointFileError: it can't be written there.
        """
        known = format.removeprefix("tf_")
        as_keras_does = {"input_signature", "jax2tf_kwargs"} & kwargs.keys()
        if known in exporting.FORMATS and not as_keras_does:
            check_exportable(self)
            exporting.export(self, filepath, known, **kwargs)
            return
        name = "tf_saved_model" if format == "saved_model" else format
        super().export(filepath, format=name, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        # Keras has no hook after a `.keras` file is loaded; this is before the first step.
        if self.train_function is None or force:
            redraw_idle_lora(self)
        return super().make_train_function(force)

    def _run(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(method).bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        callbacks = given.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return method(**given)  # an evaluation within fit, which holds interrupts back
        if given.get("batch_size") is not None:
            check_count("batch_size", given["batch_size"])
        self._check(given.get("x"))
        validation = given.get("validation_data")
        self._check(validation[0] if isinstance(validation, list | tuple) else None)
        try:
            with SafeInterrupt() as interrupt:
                listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
                given["callbacks"] = [*(c for c in listed if c is not None), interrupt]
                return method(**given)
        finally:
            # Keras does so at the end; after an exception the variables would be empty.
            self.give_back_state()

    def _check(self, x: Any) -> None:
        if isinstance(x, Mapping):
            below: Any = getattr(self, "backbone", self)
            counts = {n: i.value_count(below.arguments) for n, i in inputs_of(type(below)).items()}
            rows = {name: count for name, count in counts.items() if count is not None}
            check_arrays(self, x, rows, getattr(below, "max_length", None))


def _serialized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    return keras.saving.serialize_keras_object(value) if callable(value) else value
