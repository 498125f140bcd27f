"""Relative position bias: a trained number for each head and each bucket of distances."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.axes import HEADS
from inarch.layers.buckets import float32_log
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer
from inarch.layers.mask import position_range

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class RelativePositionBias(Layer):
    """Bias on attention scores by the bucket of the distance of query and key.

    Half of the buckets are for keys after the query, or none, in a decoder: those keys share the
    bucket of the query itself. Half of the buckets of a side are of one distance, the rest grow
    logarithmically up to `max_distance`, from where on all distances share the last one.
    The result is the `attention_bias` of attention layers, and may serve all layers of a model.

    Source: Raffel et al., 2020, arXiv:1910.10683, section 2.1; google-research/
    text-to-text-transfer-transformer; mesh_tensorflow/transformer/transformer_layers.py.

    Args:
        num_heads: number of attention heads.
        num_buckets: rows of the table.
        max_distance: distance in tokens that the logarithmic buckets end at.
        initializer: of the table.
        bidirectional: whether there are buckets for keys after the query.

    Call arguments:
        inputs: float `[batch, T, dim]`, read for its length alone.
        start_index: index of the first query among the keys, for decoding step by step.
        key_length: number S of keys; `None` is T.

    Returns:
        float `[1, num_heads, T, S]`: heads, queries, keys.

    Raises:
        InputError: `num_buckets` is no multiple of 4 (of 2 where not `bidirectional`), or
            `max_distance` is within the buckets of one distance.
    """

    axes: ClassVar = {"embeddings": (None, HEADS)}

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        initializer: Any = "glorot_uniform",
        bidirectional: bool = True,
        **kwargs: Any,
    ):
        parts = 4 if bidirectional else 2
        if num_buckets < parts or num_buckets % parts:
            raise InputError(f"num_buckets={num_buckets}. Pass a positive multiple of {parts}.")
        if max_distance <= num_buckets // parts:
            raise InputError(
                f"max_distance={max_distance} is within the {num_buckets // parts} buckets of one "
                f"distance that num_buckets={num_buckets} has. Pass more."
            )

    def build(self, inputs_shape: Any) -> None:
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_buckets, self.num_heads),
            initializer=fresh_initializer(self.initializer),
        )
        self.built = True

    def call(self, inputs: Any, start_index: Any = 0, key_length: int | None = None) -> Any:
        farthest = self.max_distance
        rows = self.buckets(np.arange(-farthest, farthest + 1))
        # Lookups of whole rows, which every exporter supports.
        by_distance = ops.take(ops.convert_to_tensor(self.embeddings), rows, axis=0)
        length = ops.shape(inputs)[1]
        keys = position_range(length if key_length is None else key_length)
        distances = ops.expand_dims(keys, 0) - ops.expand_dims(
            position_range(length, start_index), 1
        )
        places = ops.clip(distances, -farthest, farthest) + farthest
        bias = ops.transpose(ops.take(by_distance, places, axis=0), (2, 0, 1))
        bias = ops.expand_dims(bias, 0)
        return ops.cast(bias, self.compute_dtype)

    def buckets(self, distances: np.ndarray) -> np.ndarray:
        """Return the table row of each distance, the position of a key minus that of a query.

        Logarithms are taken in float32 and rounded down, as in the published code.
        """
        of_each_sign = self.num_buckets // 2 if self.bidirectional else self.num_buckets
        exact = of_each_sign // 2
        size = np.abs(distances) if self.bidirectional else np.maximum(-distances, 0)
        ratio = np.maximum(size, exact).astype("float32") / np.float32(exact)
        scale = np.float32(np.log(self.max_distance / exact))
        far = float32_log(ratio) / scale * np.float32(of_each_sign - exact)
        far = np.minimum(exact + far.astype("int64"), of_each_sign - 1)
        after = of_each_sign if self.bidirectional else 0
        return np.where(size < exact, size, far) + np.where(distances > 0, after, 0)

    def compute_output_spec(
        self, inputs: Any, start_index: Any = 0, key_length: int | None = None
    ) -> Any:
        length = inputs.shape[1]
        shape = (1, self.num_heads, length, length if key_length is None else key_length)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def alternatives(self) -> Alternatives:
        rows, count, farthest = self.buckets, self.num_buckets, self.max_distance
        lookups: dict[str, Any] = {
            "the bias of the distance plus one": lambda d: rows(d + 1),
            "the bias of the distance minus one": lambda d: rows(d - 1),
            "the bias of the next row": lambda d: (rows(d) + 1) % count,
            "one bias for all distances": lambda d: rows(0 * d),
        }
        if self.bidirectional:
            middle = count // 2
            other = {"buckets for keys before the query alone": {"bidirectional": False}}
            lookups |= {
                "the bias of the opposite distance": lambda d: rows(-d),
                "a bias without regard to the sign": lambda d: rows(np.abs(d)),
                "a bias by clipped distances": lambda d: (
                    np.minimum(np.abs(d), middle - 1) + np.where(d > 0, middle, 0)
                ),
            }
        else:
            middle = count
            other = {"buckets for keys after the query too": {"bidirectional": True}}
            lookups["a bias by clipped distances"] = lambda d: np.clip(-d, 0, count - 1)
        ends = [end for end in (farthest // 2, farthest * 2) if end > middle // 2]
        return {
            "no bias": {"call": lambda *args, **more: 0 * type(self).call(self, *args, **more)},
            **{name: {"buckets": lookup} for name, lookup in lookups.items()},
            **other,
            **{f"a bias whose buckets end at {end} tokens": {"max_distance": end} for end in ends},
        }
