"""A task's graph in two parts: tokens of packed rows, and what is made of each text's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from inarch.data import PackedBatch, PackedPart
from inarch.runtime.forward import compiled

if TYPE_CHECKING:
    from inarch.tasks.task import Task

FEATURES = "sequence_output"


class PackedForward:
    """Outputs of a task for packed batches, of each part as for a batch of its sequences alone.

    The tokens of all rows are computed together, then taken out of the rows sequence by sequence
    for the pooler and the head, which so need know nothing of packing.
    """

    def __init__(self, task: Task):
        backbone, below = task.backbone, task.backbone_outputs
        inputs, outputs = backbone.input, backbone.output
        features = outputs[FEATURES] if isinstance(outputs, dict) else outputs
        # In one order: dicts of the same names may have several.
        if isinstance(outputs, dict):
            outputs, below = zip(*((outputs[name], below[name]) for name in outputs), strict=True)
        tokens = keras.Function(inputs, features)
        pool = keras.Function([*inputs.values(), features], outputs)
        head = keras.Function([below, *task.input.values()], task.output)
        width = features.shape[-1]

        def rest(given: Mapping[str, Any]) -> Any:
            rows = ops.take(ops.reshape(given["tokens"], (-1, width)), given["places"], axis=0)
            pooled = pool([*(given[name] for name in inputs), rows])
            return head([pooled, *(given[name] for name in task.input)])

        self._tokens = compiled(task, tokens)
        self._rest = compiled(task, rest)

    def __call__(
        self, batch: PackedBatch, inputs: Sequence[Mapping[str, np.ndarray]]
    ) -> Iterator[tuple[PackedPart, Any]]:
        """Yield each part of a batch with the outputs for it, backend tensors.

        Args:
            inputs: the padded arrays of each part.
        """
        tokens = self._tokens(batch.pack(inputs))
        for part, arrays in zip(batch.parts, inputs, strict=True):
            places = part.tokens_of(batch.rows * batch.length)
            yield part, self._rest({**arrays, "tokens": tokens, "places": places})
