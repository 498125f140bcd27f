"""Forward pass of a task for planned batches, in whose rows texts may be packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from inarch.data import PackedBatch, PlannedBatch
from inarch.preprocessors.preprocessor import TokenRow
from inarch.runtime.forward import compiled

if TYPE_CHECKING:
    from inarch.tasks.task import Task

Arrays = Mapping[str, Any]
InputsOf = Callable[[Sequence[TokenRow], PlannedBatch], Arrays]


class Forward:
    """Compiled outputs of a task for a batch, of each part as of a batch of its texts alone.

    The tokens of packed rows are computed together, then taken out of the rows text by text for
    the pooler and the head, which so need know nothing of packing.

    Args:
        task: the task.
        head: from the backbone's outputs and the arrays to what is to be computed; the task's own
            outputs where not given.
        tokens: from the backbone's inputs to its vectors of tokens; Keras computes them where not
            given. Pooler and head are always Keras's.
    """

    def __init__(
        self,
        task: Task,
        head: Callable[[Any, Arrays], Any] | None = None,
        tokens: Callable[[Arrays], np.ndarray] | None = None,
    ):
        backbone, below = task.backbone, task.backbone_outputs
        inputs, outputs = backbone.input, backbone.output
        names = list(outputs) if isinstance(outputs, dict) else None
        features = backbone.sequence_output(outputs)
        width = features.shape[-1]
        by_keras = keras.Function(inputs, features)
        # By lists: dicts of the same names come in several orders.
        everything = keras.Function([*inputs.values()], _listed(outputs, names))
        pool = keras.Function([*inputs.values(), features], _listed(outputs, names))
        own = keras.Function([*_listed(below, names), *task.input.values()], task.output)

        def own_head(found: Any, given: Arrays) -> Any:
            return own([*_listed(found, names), *(given[name] for name in task.input)])

        finish = head or own_head

        def named(found: Sequence[Any]) -> Any:
            return dict(zip(names, found, strict=True)) if names else found[0]

        def whole(given: Arrays) -> Any:
            return finish(named(everything([given[name] for name in inputs])), given)

        def rest(given: Arrays) -> Any:
            rows = ops.take(given["tokens"], given["places"], axis=0)
            found = pool([*(given[name] for name in inputs), rows])
            return finish(named(found), given)

        self._names = list(inputs)
        self._inputs_of: InputsOf = task.inputs_of
        self._rest = compiled(task, rest)
        if tokens is None:
            self._whole = compiled(task, whole)
            self._tokens = compiled(task, lambda x: ops.reshape(by_keras(x), (-1, width)))
        else:
            self._whole = self._in_two
            self._tokens = lambda x: tokens(x).reshape(-1, width)

    def __call__(
        self,
        encodings: Sequence[TokenRow],
        batch: PackedBatch | PlannedBatch,
        inputs_of: InputsOf | None = None,
    ) -> Iterator[tuple[PlannedBatch, Any]]:
        """Yield each part of a batch of `encodings` with the outputs for it, backend tensors.

        Args:
            inputs_of: from `encodings` and a part to its padded arrays, by default the task's; the
                head gets all of them.
        """
        inputs_of = inputs_of or self._inputs_of
        if isinstance(batch, PlannedBatch):
            yield batch, self._whole(inputs_of(encodings, batch))
            return
        arrays = [inputs_of(encodings, part) for part in batch.parts]
        packed = batch.pack([{name: x[name] for name in self._names} for x in arrays])
        tokens = self._tokens(packed)
        for part, given in zip(batch.parts, arrays, strict=True):
            yield part, self._rest({**given, "tokens": tokens, "places": part.token_places()})

    def _in_two(self, given: Arrays) -> Any:
        """Return the outputs for a batch whose rows are texts, in two steps."""
        tokens = self._tokens({name: given[name] for name in self._names})
        rows = len(given[self._names[0]])
        places = np.arange(len(tokens), dtype=np.int32).reshape(rows, -1)
        return self._rest({**given, "tokens": tokens, "places": places})


def _listed(outputs: Any, names: Sequence[str] | None) -> list[Any]:
    return [outputs] if names is None else [outputs[name] for name in names]
