"""`Backbone`: a functional model wrapped in a class, from a checkpoint and back to it."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np

from inarch.checkpoints.layout import Layout
from inarch.errors import InputError, PresetError
from inarch.models import preset as presets
from inarch.models.resumable import Resumable
from inarch.models.variables import build_without_values


class Backbone(Resumable, keras.Model):
    """Base class of the architectures.

    A subclass builds its graph in `__init__` and hands inputs and outputs to this class; its
    signature is its config, recorded here, and its file formats are in `checkpoint.py` beside it.
    `dtype` is an argument of every backbone: a dtype or dtype policy for all of its layers.

    Attributes:
        arguments: the constructor's arguments, defaults included.
        layout: what the checkpoint looked like that the weights came from, or None.
        carried: tensors of that checkpoint that this model doesn't use, kept for export.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)
        keras.saving.register_keras_serializable(package="inarch")(cls)

    def __init__(self, inputs: Any, outputs: Any, **kwargs: Any):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.layout: Layout | None = None
        self.carried: Mapping[str, np.ndarray] = {}
        self.fresh_weights: tuple[str, ...] = ()

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        *,
        load_weights: bool = True,
        dtype: Any = None,
        **overrides: Any,
    ) -> Self:
        """The model of a checkpoint.

        Args:
            preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).
            load_weights: False for the same architecture with initial weights.
            dtype: dtype or dtype policy; Keras's default where not given.
            overrides: constructor arguments that replace those of the config, such as `dropout`.

        Raises:
            PresetError: `preset` leads nowhere, or to an architecture of another class.
            CheckpointFileError: a file is absent or damaged.
            ConfigError: a field of the config can't be computed as it stands.
            WeightMapError: tensors are missing, unknown or of another shape.
        """
        with presets.Checkpoint(preset) as checkpoint:
            found = cls.of(checkpoint)
            arguments = checkpoint.arguments(**overrides)
            if not load_weights:
                return found(**arguments, dtype=dtype)
            model, waiting = build_without_values(lambda: found(**arguments, dtype=dtype))
            checkpoint.restore(model, waiting)
        return model

    @classmethod
    def of(cls, checkpoint: presets.Checkpoint) -> type[Self]:
        """The class to build for a checkpoint: this one, if it is the right kind."""
        right = checkpoint.architecture.backbone
        if issubclass(cls, right):
            return cls
        if issubclass(right, cls):
            return right
        raise PresetError(
            f"{checkpoint.folder} holds model_type {checkpoint.config['model_type']!r}: "
            f"use {right.__name__}.from_preset (or Backbone.from_preset), not {cls.__name__}"
        )

    def save_to_preset(self, folder: str | os.PathLike) -> None:
        """Write config and weights to `folder` in the original's format.

        A model from a checkpoint that nothing has changed is written back tensor for tensor.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        presets.save(self, folder)

    def get_config(self) -> dict[str, Any]:
        config = {name: _serialized(value) for name, value in self.arguments.items()}
        config |= {"name": self.name, "trainable": self.trainable}
        config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        if self.layout:
            config["layout"] = self.layout.to_json()
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        config = dict(config)
        kept = config.pop("layout", None)
        model = cls(**config)
        if kept:
            model.layout = Layout.from_json(kept)
        return model

    def save_own_variables(self, store: Any) -> None:
        """Keep the carried tensors in `.keras` and weight files beside the layers' weights."""
        for name, value in self.carried.items():
            store[name] = value

    def load_own_variables(self, store: Any) -> None:
        self.carried = {name: np.array(store[name]) for name in store.keys()}


def text_inputs(*extra: str) -> dict[str, Any]:
    """The symbolic inputs of a text model, each `[batch, length]` int32.

    `token_ids`, `padding_mask` (0 for padding, 1 for tokens; 2 and up for the further sequences
    of a packed row), and any `extra` ones such as `segment_ids`.
    """
    names = ("token_ids", "padding_mask", *extra)
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def _serialized(value: Any) -> Any:
    return keras.saving.serialize_keras_object(value) if callable(value) else value


def _recording(init: Any) -> Any:
    """Wrap a backbone's `__init__` to record its arguments and to build under its dtype."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Backbone, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        arguments.pop("self", None)
        named = arguments.pop("kwargs", {})
        unknown = sorted(named.keys() - {"name", "trainable", "inputs", "outputs"})
        if unknown:
            raise InputError(f"{type(self).__name__} has no argument {', '.join(unknown)}")
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(keras.dtype_policies.get(dtype))
        try:
            init(self, *args, **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        self.arguments = arguments

    return wrapper
