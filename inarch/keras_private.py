"""Functions of Keras beyond its public interface: no other module imports them."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend import get_keras_mask as get_keras_mask
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope
from keras.src.saving import serialization_lib
from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

_WAITING = "uninitialized_variables"
_VALUE_OF = operator.attrgetter("_value")
# What Keras takes from the variables for a run on JAX, in the order it hands it out.
_STATE = (
    "trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables",
)  # fmt: skip


# --- what Keras imports ------------------------------------------------------------------------


class _TensorFlowIfImported:
    """TensorFlow for Keras's serialization, which imports it to look for values of its types.

    That takes seconds on other backends, and no value is of a type that hasn't been imported.
    """

    def __init__(self, module: Any):
        self._module = module

    @property
    def available(self) -> bool:
        return "tensorflow" in sys.modules and self._module.available

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


if not isinstance(serialization_lib.tf, _TensorFlowIfImported):
    serialization_lib.tf = _TensorFlowIfImported(serialization_lib.tf)


# --- data sets ---------------------------------------------------------------------------------


def read_batches(dataset: keras.utils.PyDataset, count: int) -> Iterator[Any]:
    """Yield the batches of a `PyDataset` of `count` ones in order, by its workers if it has some.

    Its workers are threads or processes, as it declares them for `fit`.
    """
    workers, processes = dataset.workers, dataset.use_multiprocessing
    if workers < 2 and not (workers and processes):
        yield from (dataset[index] for index in range(count))
        return
    enqueuer = OrderedEnqueuer(dataset, workers, processes, dataset.max_queue_size)
    enqueuer.start()
    try:
        yield from itertools.islice(enqueuer.get(), count)
    finally:
        enqueuer.stop()


def lay_out_batches(lay_out: Callable[[Any, Any], Any]) -> None:
    """Have Keras's trainer on JAX lay out each array by `lay_out(array, distribution)`.

    By itself it lays out all batches of an epoch as the first one, and fails at a last one that has
    fewer rows. From this call on that holds for all models, where a distribution is set.
    """
    from keras.src.backend.jax import trainer

    as_keras_does = trainer._distribute_data
    if getattr(as_keras_does, "lay_out", None) is lay_out:
        return

    def distribute(data: Any, layouts: Any = None) -> Any:
        distribution = keras.distribution.distribution()
        if distribution is None:
            return as_keras_does(data, layouts)
        return keras.tree.map_structure(
            lambda array: None if array is None else lay_out(array, distribution), data
        )

    distribute.lay_out = lay_out  # type: ignore[attr-defined]
    trainer._distribute_data = distribute


# --- optimizers --------------------------------------------------------------------------------


def replace_adam_update(optimizer: Any, update: Callable[..., bool]) -> None:
    """Have Keras's own Adam or AdamW on torch change variables by another function.

    Args:
        optimizer: any; of another kind, or of a subclass with an update of its own, it stays as it
            is.
        update: called with tensors of the variables, of their gradients and of their first and
            second moments, the optimizer and the learning rate; returns False where it did nothing,
            and Keras's update is wanted.
    """
    by_keras = getattr(type(optimizer), "_parallel_update_step", None)
    is_adam = isinstance(optimizer, keras.optimizers.Adam)
    if not is_adam or by_keras is None or not by_keras.__module__.startswith("keras."):
        return

    def change(grads: Any, variables: Any, learning_rate: Any) -> None:
        indices = [optimizer._get_variable_index(variable) for variable in variables]
        values = [variable.value for variable in variables]
        first, second = (
            [moments[i].value for i in indices]
            for moments in (optimizer._momentums, optimizer._velocities)
        )
        if not update(values, grads, first, second, optimizer, learning_rate):
            by_keras(optimizer, grads, variables, learning_rate)

    optimizer._parallel_update_step = change


# --- layers ------------------------------------------------------------------------------------


def sublayers(layer: Any) -> list[Any]:
    """Return the layers that a layer holds itself."""
    return list(layer._layers)


def all_layers(layer: Any, include_self: bool = True) -> Iterator[Any]:
    """Return a layer and every layer below it, each once."""
    return layer._flatten_layers(include_self=include_self)


def part_lists(layers: Sequence[Any]) -> list[list[Any]]:
    """Return the lists in which layers hold their variables, seed generators and layers.

    A layer that is built keeps these lists, and changes what is in them.
    """
    return [
        parts
        for layer in layers
        for parts in (
            layer._trainable_variables,
            layer._non_trainable_variables,
            layer._seed_generators,
            layer._layers,
        )
    ]


def serialize_shared(layer: Any) -> dict[str, Any]:
    """Return the config of a layer that is an argument of another, as Keras serializes it.

    In a file one that several layers have is one when it is loaded. Keras marks it in a copy of the
    first config, which the file doesn't get.
    """
    config = keras.saving.serialize_keras_object(layer)
    if global_state.get_global_attribute("shared_objects/id_to_config_map") is not None:
        config["shared_object_id"] = id(layer)
    return config


def own_trainable_variables(layer: Any) -> list[Any]:
    """Return the variables that a layer made to be trained, whatever their flags are now."""
    return list(layer._trainable_variables)


def is_quantized(layer: Any) -> bool:
    """Return whether a layer itself is quantized."""
    return bool(getattr(layer, "_is_quantized", False))


def is_rematerialized(layer: Any) -> bool:
    """Return whether a layer was made in a `keras.RematScope` that names it."""
    mode = layer._remat_mode
    return mode is not None and mode.mode == "list_of_layers" and layer.name in mode.layer_names


def stored_values(variables: Sequence[Any]) -> list[Any]:
    """Return the values of variables outside any scope of Keras, without asking for one at each."""
    values = [*map(_VALUE_OF, variables)]
    if not all(map(operator.is_not, values, itertools.repeat(None))):
        return [variable.value for variable in variables]
    return values


def uncast_values(variables: Sequence[Any]) -> list[Any]:
    """Return the values of variables in their own dtypes, also within a call in another one."""
    with AutocastScope(None):
        return [variable.value for variable in variables]


def is_autocasting() -> bool:
    """Return whether variables are read in the dtype of a layer around this call."""
    scope = get_autocast_scope()
    return scope is not None and scope.dtype is not None


def lora_base_variables(layer: Any) -> list[Any]:
    """Return the variables to which a low-rank update of a layer is added."""
    return [getattr(layer, name) for name in ("_kernel", "_embeddings") if hasattr(layer, name)]


def delete_variable(layer: Any, name: str) -> None:
    """Delete an attribute of a layer that is a variable.

    By itself Keras collects the garbage of the whole process at each, and a model has many.
    """
    layer._untrack_variable(getattr(layer, name))
    super(keras.layers.Layer, layer).__delattr__(name)


# --- variables without values ------------------------------------------------------------------


@contextmanager
def no_values() -> Iterator[list[Any]]:
    """Have variables made within get no values, and list those that wait at the end."""
    # Keras has no public list of waiting variables. Left there, they would be initialized a
    # second time at the end of the next scope.
    before = global_state.get_global_attribute(_WAITING) or []
    global_state.set_global_attribute(_WAITING, [])
    waiting: list[Any] = []
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield waiting
        waiting += global_state.get_global_attribute(_WAITING) or []
    finally:
        global_state.set_global_attribute(_WAITING, before)


def has_value(variable: Any) -> bool:
    """Return whether a variable has been given a value."""
    return variable._value is not None


def initialize_value(variable: Any) -> None:
    """Give a waiting variable its initial value."""
    variable._deferred_initialize()


def set_first_value(variable: Any, tensor: Any) -> None:
    """Give a waiting variable a tensor that it may keep."""
    variable._initialize(tensor)
    variable._initializer = None


# --- models ------------------------------------------------------------------------------------


class ModelHooks(keras.Model):
    """Functional model that clones as its own class, and whose state survives a failed run."""

    _jax_state: Any

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_jax_state":  # of which Keras would make tracked copies at every step
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _run_through_graph(self, *args: Any, **kwargs: Any) -> Any:
        # keras.models.clone_model copies the graph by this method and gives the class nothing
        # but the copy's tensors; with the config on them the copy is of the same class.
        outputs = super()._run_through_graph(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            if isinstance(tensor, keras.KerasTensor):
                tensor.cloned_model = self
        return outputs

    def _get_jax_state(self, **kwargs: Any) -> Any:
        # Keras remembers what it takes from the variables only once a step has ended; remembered
        # at once, it can be given back when the first step fails. A step that ends puts its own
        # values here, so the ones that it was lent (and JAX has used up) are not held.
        state = super()._get_jax_state(**kwargs)
        if kwargs.get("purge_model_variables"):
            names = [name for name in _STATE if kwargs.get(name)]
            self._jax_state = dict(zip(names, state, strict=True))
        return state

    def give_back_state(self) -> None:
        """Give the variables their values again, which Keras takes away for a run on JAX."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()
            self._jax_state = None  # no later run shall find this one's


# --- the OpenVINO backend ------------------------------------------------------------------------


def openvino_tensor(output: Any) -> Any:
    """Return the output of a node of OpenVINO as a tensor of Keras's OpenVINO backend."""
    from keras.src.backend.openvino.core import OpenVINOKerasTensor

    return OpenVINOKerasTensor(output)
