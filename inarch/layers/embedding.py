"""Embeddings of tokens, positions and relative positions."""

from numbers import Integral
from typing import Any, ClassVar

import keras
import numpy as np

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.axes import EMBED
from inarch.layers.buckets import table_span
from inarch.layers.initializer import fresh_initializer, wavelengths
from inarch.layers.layer import Layer
from inarch.layers.mask import (
    masked_positions,
    position_range,
    sequence_positions,
    token_positions,
)

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class PositionEmbedding(Layer):
    """A trained vector per position (Devlin et al., 2019, arXiv:1810.04805).

    Args:
        sequence_length: rows of the table, the longest sequence there is a position for.
        initializer: of the table.
        offset: further rows of the table, before that of position 0; no position has them.

    Call arguments:
        inputs: float `[..., length, dim]`, read for its shape alone.
        start_index: position of the first token, for decoding step by step.
        positions: int `[length]` or `[batch, length]`, used in place of `start_index`.
        padding_mask: int or bool `[batch, length]` of sequence ids (see `inarch.layers.mask`);
            positions restart with every packed sequence. Not needed where rows hold one sequence.

    Returns:
        float of the shape of `inputs`, to be added to it.

    Raises:
        InputError: `inputs` is longer than the table, where its length is known and no
            `positions` are given.
    """

    axes: ClassVar = {"embeddings": (None, EMBED)}

    def __init__(
        self,
        sequence_length: int,
        initializer: Any = "glorot_uniform",
        offset: int = 0,
        **kwargs: Any,
    ):
        if sequence_length is None:
            raise InputError("sequence_length=None. Pass the longest sequence length as an int.")
        self.sequence_length = int(sequence_length)
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        self.position_embeddings = self.add_weight(
            name="embeddings",
            shape=(self.sequence_length + self.offset, inputs_shape[-1]),
            initializer=self.initializer,
        )
        self.built = True

    def call(
        self, inputs: Any, start_index: Any = 0, positions: Any = None, padding_mask: Any = None
    ) -> Any:
        shape = ops.shape(inputs)
        table = ops.convert_to_tensor(self.position_embeddings, dtype=self.compute_dtype)
        if positions is None:
            self.check_length(inputs.shape[-2], start_index)
            if padding_mask is not None:
                positions = sequence_positions(padding_mask) + start_index
        if positions is None:
            vectors = ops.slice(table, (start_index + self.offset, 0), (shape[-2], shape[-1]))
        else:
            vectors = ops.take(table, positions + self.offset, axis=0)
        return ops.broadcast_to(vectors, shape)

    def alternatives(self) -> Alternatives:
        call, last = self.call, self.sequence_length - 1

        def shifted(x: Any, start_index: Any = 0, positions: Any = None, **others: Any) -> Any:
            length = ops.shape(x)[-2]
            if positions is None and start_index + length <= last:
                return call(x, start_index + 1, **others)
            positions = position_range(length, start_index) if positions is None else positions
            return call(x, positions=ops.minimum(positions + 1, last), **others)

        return {
            "positions that are one too large": {"call": shifted},
            "no position vectors": {"call": lambda x, *args, **others: ops.zeros_like(x)},
        }

    def check_length(self, length: int | None, start_index: Any = 0) -> None:
        """Raise InputError if tokens of a known `length` from `start_index` on leave the table."""
        # A traced start can't be read; the length alone can still be too large. Nor can the open
        # length of a graph that is exported, which the exporter bounds.
        start = int(start_index) if isinstance(start_index, Integral) else 0
        if isinstance(length, Integral) and start + length > self.sequence_length:
            raise InputError(
                f"a sequence of length {length} from position {start} on exceeds the "
                f"{self.sequence_length} positions of {self.name!r}. Truncate the input to "
                f"{self.sequence_length} tokens, or build with a larger sequence_length."
            )


@keras.saving.register_keras_serializable(package="inarch")
class TokenAndPositionEmbedding(Layer):
    """The sum of a token embedding and a position embedding.

    Args:
        vocabulary_size: rows of the token table.
        sequence_length: rows of the position table.
        embedding_dim: columns of both.
        tie_weights: whether `token_embedding(x, reverse=True)` uses the token table, not its own.
        embeddings_initializer: of both tables.
        mask_zero: whether token 0 is padding, marked in an implicit Keras mask.
        position_initializer: of the position table; `None` is `embeddings_initializer`.
        padding_id: id of the padding token, for positions as fairseq counts them: from
            `padding_id + 1` on, over the tokens that aren't padding. `None` counts from 0.
        position_offset: rows of the position table before that of position 0, which aren't among
            `sequence_length`: 2 in OPT.
        skips_padding: whether positions count the tokens of `padding_mask` alone, so that padding
            before them shifts none.

    Call arguments:
        inputs: int `[batch, length]`, token ids.
        start_index: position of the first token, for decoding step by step.
        positions: int `[length]` or `[batch, length]`, used as they are.
        padding_mask: int or bool `[batch, length]` of sequence ids (see `inarch.layers.mask`);
            positions restart with every packed sequence. Not needed where rows hold one sequence.

    Returns:
        float `[batch, length, embedding_dim]`.

    Raises:
        InputError: `inputs` is longer than the table and no `positions` are given; or both
            `padding_id` and `position_offset` are.
    """

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        embedding_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        *,
        position_initializer: Any = None,
        padding_id: int | None = None,
        position_offset: int = 0,
        skips_padding: bool = False,
        **kwargs: Any,
    ):
        if padding_id is not None and position_offset:
            raise InputError(
                f"padding_id={padding_id} and position_offset={position_offset} both say where "
                "positions begin. Pass one of them."
            )
        for argument in ("vocabulary_size", "sequence_length", "embedding_dim"):
            if getattr(self, argument) is None:
                raise InputError(f"{argument}=None. Pass an int.")
        # Made here, not in build: a masked-LM head takes `token_embedding` before the first call.
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            embedding_dim,
            tie_weights=tie_weights,
            embeddings_initializer=fresh_initializer(self.embeddings_initializer),
            mask_zero=mask_zero,
            # Keras would widen the product to the dtype of the table under mixed precision.
            reverse_dtype=self.compute_dtype,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            sequence_length,
            initializer=fresh_initializer(self.position_initializer or self.embeddings_initializer),
            offset=position_offset,
            dtype=self.dtype_policy,
            name="position_embedding",
        )

    def build(self, inputs_shape: Any) -> None:
        self.token_embedding.build(inputs_shape)
        self.position_embedding.build(self.compute_output_shape(inputs_shape))
        self.built = True

    def call(
        self, inputs: Any, start_index: Any = 0, positions: Any = None, padding_mask: Any = None
    ) -> Any:
        if positions is None and self.padding_id is not None:
            start = self.padding_id + 1
            self.position_embedding.check_length(inputs.shape[-1], start)
            mask = ops.ones_like(inputs) if padding_mask is None else padding_mask
            positions = token_positions(inputs, self.padding_id, mask) + start_index
        elif positions is None and self.skips_padding and padding_mask is not None:
            self.position_embedding.check_length(inputs.shape[-1])
            positions = masked_positions(padding_mask) + start_index
        tokens = self.token_embedding(inputs)
        return tokens + self.position_embedding(
            tokens, start_index=start_index, positions=positions, padding_mask=padding_mask
        )

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return (*inputs_shape, self.embedding_dim)


@keras.saving.register_keras_serializable(package="inarch")
class SinePositionEncoding(Layer):
    """Sinusoidal positions, computed rather than looked up: no weights and no longest sequence.

    Sine in even columns, cosine in odd ones, as in `SinePositions`.

    Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.5.

    Args:
        max_wavelength: the longest wavelength over 2 pi, in tokens.

    Call arguments:
        inputs: float `[..., length, dim]`, read for its shape alone.
        start_index: position of the first token, for decoding step by step.
        positions: int `[length]` or `[batch, length]`, used in place of `start_index`.

    Returns:
        float of the shape of `inputs`, to be added to it.
    """

    def __init__(self, max_wavelength: float = 10000, **kwargs: Any):
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any, start_index: Any = 0, positions: Any = None) -> Any:
        shape = ops.shape(inputs)
        dim = inputs.shape[-1]
        # A 16-bit float can't hold positions above a few hundred, so angles are float32 at least.
        angle_dtype = keras.backend.result_type(self.compute_dtype, "float32")
        if positions is None:
            positions = ops.arange(shape[-2], dtype="int32") + start_index
        columns = ops.convert_to_tensor(wavelengths(dim, self.max_wavelength), dtype=angle_dtype)
        angles = ops.expand_dims(ops.cast(positions, angle_dtype), -1) / columns
        is_sine = ops.convert_to_tensor(np.arange(dim) % 2 == 0)
        encoding = ops.where(is_sine, ops.sin(angles), ops.cos(angles))
        return ops.broadcast_to(ops.cast(encoding, self.compute_dtype), shape)


@keras.saving.register_keras_serializable(package="inarch")
class RelativeEmbedding(Layer):
    """A trained vector for every distance, or bucket of distances, between two tokens.

    Source: He et al., 2021, arXiv:2006.03654, section 3.1.

    Args:
        max_relative_positions: the longest distance of either sign.
        bucket_size: buckets of either sign, in place of distances; below 1 for none.
        initializer: of the table.

    Call arguments:
        inputs: float `[batch, length, dim]`, read for its width alone.

    Returns:
        float `[2 * bucket_size or 2 * max_relative_positions, dim]`, whatever the batch.
    """

    axes: ClassVar = {"embeddings": (None, EMBED)}

    def __init__(
        self,
        max_relative_positions: int = 512,
        bucket_size: int = 256,
        initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ): ...

    def build(self, inputs_shape: Any) -> None:
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=self.compute_output_shape(inputs_shape),
            initializer=self.initializer,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.convert_to_tensor(self.embeddings)

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return 2 * table_span(self.bucket_size, self.max_relative_positions), inputs_shape[-1]
