"""Stand-in of a drafted graph for a layer that must still be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import keras

from inarch.errors import MissingLayerError
from inarch.layers.layer import Layer


@keras.saving.register_keras_serializable(package="inarch")
class MissingLayer(Layer):
    """Place of a layer that no brick here computes, in a graph that `inarch port new` drafts.

    It has no weights and never computes anything: a model with it can't be built, so that it gives
    no numbers that would be wrong. Put the layer in its place that its argument names.

    Args:
        what: what is lacking, with the tensors of the checkpoint that the layer must have.

    Raises:
        MissingLayerError: a model with it is built, or it is called.
    """

    def __init__(self, what: str, **kwargs: Any):
        self.supports_masking = True

    def build(self, *shapes: Any, **others: Any) -> NoReturn:
        raise MissingLayerError(
            f"{self.name}: {self.what}. Write that layer, and put it in the place of MissingLayer "
            "in backbone.py"
        )

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> NoReturn:
        self.build(shape)

    def call(self, inputs: Any, **others: Any) -> NoReturn:
        self.build(None)
