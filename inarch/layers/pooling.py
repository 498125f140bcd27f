"""Pooling of token vectors to one vector per sequence."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.layers.alternatives import Alternatives
from inarch.layers.layer import Layer
from inarch.validation import shown

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def pooling_modes(modes: str | Sequence[str]) -> tuple[str, ...]:
    """Return one mode or several as a tuple, checked.

    Raises:
        InputTypeError: neither a string nor several.
        InputError: an unknown mode, or none.
    """
    known = ", ".join(MODES)
    if not isinstance(modes, Iterable):
        raise InputTypeError(f"pooling is {shown(modes)}; give a mode or a list of modes: {known}")
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise InputError(f"pooling mode {unknown or 'missing'}; known: {known}")
    return modes


@keras.saving.register_keras_serializable(package="inarch")
class SequencePooling(Layer):
    """Pooling over the tokens that aren't padding; several modes are concatenated.

    Source: sentence-transformers, modules/pooling.py.

    Args:
        modes: `"cls"` (the first token), `"max"`, `"mean"`, `"mean_sqrt_len_tokens"` (the sum
            over the root of the length), `"weightedmean"` (weights 1, 2, ...), `"lasttoken"`.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        padding_mask: int `[batch, length]`, 0 for padding.
        token_weights: factor of each token `[batch, length]`, or None; a mean is over their sum.

    Returns:
        float `[batch, dim * len(modes)]`.
    """

    def __init__(self, modes: str | Sequence[str] = "mean", **kwargs: Any):
        self.modes = pooling_modes(modes)
        self.built = True

    def call(self, inputs: Any, padding_mask: Any, token_weights: Any = None) -> Any:
        # Sums are taken in float32, as the reference takes them.
        x = ops.cast(inputs, "float32")
        mask = ops.cast(ops.not_equal(padding_mask, 0), "float32")
        factors = None
        if token_weights is not None:
            factors = ops.cast(token_weights, "float32") * mask
            x = x * factors[..., None]
        pooled = [getattr(self, f"_{mode}")(x, mask, factors) for mode in self.modes]
        return ops.cast(ops.concatenate(pooled, axis=-1), self.compute_dtype)

    # Each from tokens, their mask, and their factors or None.

    def _mean(self, x: Any, mask: Any, factors: Any) -> Any:
        return _sum(x, mask) / _count(mask if factors is None else factors)

    def _mean_sqrt_len_tokens(self, x: Any, mask: Any, factors: Any) -> Any:
        return _sum(x, mask) / ops.sqrt(_count(mask if factors is None else factors))

    def _weightedmean(self, x: Any, mask: Any, factors: Any) -> Any:
        weights = ops.cumsum(mask, axis=-1) * mask
        return self._mean(x, weights, factors)

    def _max(self, x: Any, mask: Any, factors: Any) -> Any:
        return ops.max(ops.where(mask[..., None] > 0, x, float("-inf")), axis=1)

    def _cls(self, x: Any, mask: Any, factors: Any) -> Any:
        return _token(x, ops.argmax(mask, axis=-1))

    def _lasttoken(self, x: Any, mask: Any, factors: Any) -> Any:
        return _token(x, ops.argmax(ops.cumsum(mask, axis=-1), axis=-1))

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        return (inputs_shape[0], inputs_shape[-1] * len(self.modes))

    def alternatives(self) -> Alternatives:
        call = self.call
        found: dict[str, Any] = {
            "padding that counts as tokens": {
                "call": lambda x, mask, *weights: call(x, ops.ones_like(mask), *weights)
            }
        }
        if len(self.modes) == 1:
            others = [mode for mode in MODES if mode not in self.modes]
            found |= {f"the pooling {mode!r}": {"modes": (mode,)} for mode in others}
        return found


@keras.saving.register_keras_serializable(package="inarch")
class WeightedLayerSum(Layer):
    """Sum of what all layers give, with weights that are trained (Yang et al., 2021,
    arXiv:2105.01051).

    Call arguments:
        inputs: float `[batch, layers, length, dim]`.

    Returns:
        float `[batch, length, dim]`.
    """

    axes: ClassVar = {"weights": (None,)}

    def __init__(self, **kwargs: Any):
        pass

    def build(self, inputs_shape: Any) -> None:
        self.layer_weights = self.add_weight(
            name="weights", shape=(inputs_shape[1],), initializer="ones"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self._sum(inputs, ops.softmax(self.layer_weights))

    def _sum(self, inputs: Any, weights: Any) -> Any:
        return ops.sum(inputs * ops.reshape(weights, (-1, 1, 1)), axis=1)

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        batch, _, length, dim = inputs_shape
        return batch, length, dim

    def alternatives(self) -> Alternatives:
        return {
            "weights without a softmax": {"call": lambda x: self._sum(x, self.layer_weights)},
            "the last layer alone": {"call": lambda x: x[:, -1]},
            "the mean of the layers": {"call": lambda x: ops.mean(x, axis=1)},
        }


@keras.saving.register_keras_serializable(package="inarch")
class LastTokenOf(Layer):
    """Vector of the last token of one id, such as the end token of a text.

    Source: transformers, models/bart/modeling_bart.py, `BartForSequenceClassification`.

    Args:
        token_id: the id.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        token_ids: int `[batch, length]`.
        padding_mask: int `[batch, length]`, 0 for padding.

    Returns:
        float `[batch, dim]`; where a row has no such token, of its last token.
    """

    def __init__(self, token_id: int, **kwargs: Any):
        self.built = True

    def call(self, inputs: Any, token_ids: Any, padding_mask: Any) -> Any:
        mask = ops.cast(ops.not_equal(padding_mask, 0), "float32")
        found = ops.cast(ops.equal(token_ids, self.token_id), "float32") * mask
        has_any = ops.any(found > 0, axis=-1, keepdims=True)
        found = ops.where(has_any, found, mask)
        last = ops.argmax(ops.cumsum(found, axis=-1), axis=-1)
        return _token(inputs, last)

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        return (inputs_shape[0], inputs_shape[-1])

    def alternatives(self) -> Alternatives:
        call = self.call
        return {
            "the first token in place of the last": {
                "call": lambda x, token_ids, padding_mask: x[:, 0]
            },
            "the last token, whatever its id": {
                "call": lambda x, token_ids, padding_mask: call(
                    x, ops.full_like(token_ids, self.token_id), padding_mask
                )
            },
        }


@keras.saving.register_keras_serializable(package="inarch")
class TokenWeights(Layer):
    """Weight of each token by its id, such as its inverse document frequency.

    Source: sentence-transformers, modules/word_weights.py.

    Args:
        vocabulary_size: number of tokens.

    Call arguments:
        inputs: int `[batch, length]`, token ids.

    Returns:
        float `[batch, length]`.
    """

    def __init__(self, vocabulary_size: int, **kwargs: Any):
        pass

    def build(self, inputs_shape: Any) -> None:
        self.table = self.add_weight((self.vocabulary_size,), "ones", name="table")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.take(self.table, inputs, axis=0)


@keras.saving.register_keras_serializable(package="inarch")
class Normalize(Layer):
    """Vectors of length one: `x / max(|x|, 1e-12)`, as torch's `functional.normalize`."""

    def __init__(self, **kwargs: Any):
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
        return ops.cast(x / ops.maximum(length, 1e-12), self.compute_dtype)


def _sum(x: Any, weights: Any) -> Any:
    return ops.sum(x * weights[..., None], axis=1)


def _count(weights: Any) -> Any:
    return ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-9)


def _token(x: Any, index: Any) -> Any:
    # By comparison, and not by a lookup: that would fix the length of an exported graph.
    places = ops.arange(ops.shape(x)[1], dtype="int32")
    chosen = ops.equal(ops.expand_dims(places, 0), ops.expand_dims(ops.cast(index, "int32"), 1))
    return ops.sum(ops.where(ops.expand_dims(chosen, -1), x, 0.0), axis=1)


STRATEGIES = ("max", "sum")
SPLADE_ACTIVATIONS = ("relu", "log1p_relu")


@keras.saving.register_keras_serializable(package="inarch")
class SpladePooling(Layer):
    """Term weights from logits over the vocabulary: `log(1 + relu(logit))`, pooled over the tokens.

    Source: Formal et al., 2021, arXiv:2107.05720 (sum) and arXiv:2109.10086 (max);
    sentence-transformers, modules/splade_pooling.py.

    Args:
        strategy: `"max"` or `"sum"`, over the tokens that aren't padding.
        activation_function: `"relu"`, or `"log1p_relu"` for a second `log(1 + ...)` (Shen et al.,
            2025, arXiv:2504.14839).

    Call arguments:
        inputs: float `[batch, length, vocabulary]`.
        padding_mask: int `[batch, length]`, 0 for padding.

    Returns:
        float `[batch, vocabulary]`, none below 0.

    Raises:
        InputError: an unknown strategy or activation.
    """

    def __init__(self, strategy: str = "max", activation_function: str = "relu", **kwargs: Any):
        for name, value, known in (
            ("strategy", strategy, STRATEGIES),
            ("activation_function", activation_function, SPLADE_ACTIVATIONS),
        ):
            if value not in known:
                raise InputError(f"{name} is {shown(value)}; known: {', '.join(known)}")
        self.built = True

    def call(self, inputs: Any, padding_mask: Any) -> Any:
        # A weight of padding is 0, which no other is below.
        x = ops.where(ops.not_equal(padding_mask, 0)[..., None], inputs, 0.0)
        if self.strategy == "max":
            # Before the logarithm, which keeps the order: so that is of one row for each text.
            return self._weights(ops.max(x, axis=1))
        return ops.cast(ops.sum(self._weights(ops.cast(x, "float32")), axis=1), self.compute_dtype)

    def _weights(self, x: Any) -> Any:
        x = ops.log1p(ops.relu(x))
        return ops.log1p(x) if self.activation_function == "log1p_relu" else x

    def compute_output_shape(self, inputs_shape: Any, padding_mask_shape: Any = None) -> Any:
        return (inputs_shape[0], inputs_shape[-1])
