"""Batches under a `keras.distribution`: cut for the devices where they divide its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.keras_private import lay_out_batches


def allow_partial_batches() -> None:
    """Let Keras train on batches that the devices don't divide, such as the last one of an epoch.

    Nothing is done where no distribution is set, or on a backend that has none.
    """
    if keras.backend.backend() == "jax" and keras.distribution.distribution() is not None:
        lay_out_batches(lay_out)


def distributed(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of inputs laid out by the distribution that is set, if one is."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return dict(inputs)
    return {
        name: lay_out(array, distribution) if isinstance(array, np.ndarray) else array
        for name, array in inputs.items()
    }


def lay_out(array: Any, distribution: Any) -> Any:
    """Return an array of a batch `[rows, ...]` as JAX's, laid out by `batch_sharding`."""
    import jax

    sharding = batch_sharding(distribution, array.shape)
    return jax.make_array_from_process_local_data(sharding, array)


def batch_sharding(distribution: Any, shape: Sequence[int]) -> Any:
    """Return JAX's sharding of a batch `[rows, ...]`.

    A batch that the devices don't divide is computed whole by each, so that its loss, metrics and
    outputs are those of its own rows and of no padding.

    Raises:
        InputError: they don't, and each of several processes has other rows.
    """
    import jax

    sharding = distribution.get_data_layout(shape).backend_layout
    processes = jax.process_count()
    parts = sharding.mesh.shape[distribution.batch_dim_name]
    if shape[0] % max(parts // processes, 1) == 0:
        return sharding
    if processes > 1:
        raise InputError(
            f"a batch of {shape[0]} rows can't be divided by the {parts // processes} devices of a "
            "process. Give batches of a multiple of them, the last one too "
            "(`drop_remainder=True`)"
        )
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
