"""Heads on top of an encoder."""

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.alternatives import Alternatives, activation_alternatives, changed_call
from inarch.layers.axes import EMBED, VOCABULARY
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class VocabularyHead(Layer):
    """Logits over the vocabulary at masked positions, or at all, of tokens as they are.

    They are products with the token embedding's own table (Press & Wolf, 2017, arXiv:1608.05859)
    or a kernel, plus a bias.

    Args:
        vocabulary_size: size of the vocabulary; may be left out if `token_embedding` is given.
        token_embedding: `keras.layers.ReversibleEmbedding` whose table is used; `None` makes a
            kernel of the head's own.
        activation: of the result; `None` gives logits.
        kernel_initializer: of the kernel.
        bias_initializer: of the bias.
        use_output_bias: whether there is a bias for each token of the vocabulary.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        mask_positions: int `[batch, masks]`, the positions to score; `None` scores all.

    Returns:
        float `[batch, masks or length, vocabulary_size]`, of the embedding's compute dtype.

    Raises:
        InputError: neither `vocabulary_size` nor `token_embedding` is given, or they disagree.
    """

    axes: ClassVar = {"output_kernel": (EMBED, VOCABULARY), "output_bias": (VOCABULARY,)}

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: keras.layers.ReversibleEmbedding | None = None,
        activation: Activation = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        use_output_bias: bool = True,
        **kwargs: Any,
    ):
        # The bias is added in the embedding's dtype, which may be wider than the head's.
        self.autocast = False
        self.vocabulary_size = _count_tokens(vocabulary_size, token_embedding)

    def build(self, inputs_shape: Any, mask_positions_shape: Any = None) -> None:
        self._build_output(inputs_shape, inputs_shape[-1])
        self.built = True

    def _build_output(self, inputs_shape: Any, width: int) -> None:
        """Make the kernel, or build the table, and make the bias, for vectors of a width."""
        if self.token_embedding is None:
            self.output_kernel = self.add_weight(
                name="output_kernel",
                shape=(width, self.vocabulary_size),
                initializer=fresh_initializer(self.kernel_initializer),
            )
        elif not self.token_embedding.built:
            self.token_embedding.build(inputs_shape[:-1])
        if self.use_output_bias:
            self.output_bias = self.add_weight(
                name="output_bias", shape=(self.vocabulary_size,), initializer=self.bias_initializer
            )

    def call(self, inputs: Any, mask_positions: Any = None) -> Any:
        x = inputs
        if mask_positions is not None:
            x = ops.take_along_axis(x, ops.expand_dims(mask_positions, -1), axis=1)
        x = self._transformed(x)
        if self.token_embedding is None:
            logits = ops.matmul(x, ops.cast(self.output_kernel, x.dtype))
        else:
            logits = ops.cast(self.token_embedding(x, reverse=True), self._logits_dtype)
        if self.use_output_bias:
            logits = logits + ops.cast(self.output_bias, logits.dtype)
        return self.activation(logits)

    def _transformed(self, x: Any) -> Any:
        # No layer before the product casts them.
        return ops.cast(x, self.compute_dtype)

    def alternatives(self) -> Alternatives:
        """Return what is wrong with the logits."""
        return self._logits_alternatives(self.hidden_width)

    @property
    def hidden_width(self) -> int:
        """Width of the vectors that are multiplied with the table or the kernel."""
        own = self.token_embedding
        return self.output_kernel.shape[0] if own is None else own.output_dim

    def _logits_alternatives(self, width: int) -> dict[str, Any]:
        call, of_logits = self.call, activation_alternatives(self)
        found: dict[str, Any] = {
            "logits divided by the root of the width": {
                "call": lambda *args, **others: call(*args, **others) * width**-0.5
            },
        }
        found |= {n: of_logits[n] for n in ("no activation", "softmax") if n in of_logits}
        if self.use_output_bias:
            found["no bias on the logits"] = {"output_bias": ops.zeros(self.vocabulary_size)}
        return found

    def compute_output_spec(self, inputs: Any, mask_positions: Any = None) -> Any:
        batch, length = (inputs if mask_positions is None else mask_positions).shape[:2]
        return keras.KerasTensor((batch, length, self.vocabulary_size), dtype=self._logits_dtype)

    @property
    def _logits_dtype(self) -> str:
        embedding = self.token_embedding
        if embedding is None:
            return self.compute_dtype
        return embedding.reverse_dtype or embedding.compute_dtype


def _count_tokens(
    vocabulary_size: int | None, token_embedding: keras.layers.ReversibleEmbedding | None
) -> int:
    """Return the size of a vocabulary by what is known of it; raise InputError for none or two."""
    words = token_embedding.input_dim if token_embedding is not None else vocabulary_size
    if words is None:
        raise InputError(
            "vocabulary_size=None and token_embedding=None. Pass the embedding whose table is "
            "to be shared, or the size of the vocabulary."
        )
    if vocabulary_size not in (None, words):
        raise InputError(
            f"vocabulary_size={vocabulary_size} disagrees with token_embedding, which has "
            f"{words} rows. Leave vocabulary_size out."
        )
    return words


@keras.saving.register_keras_serializable(package="inarch")
class MaskedLMHead(VocabularyHead):
    """Masked-LM head: logits over the vocabulary at masked positions, or at all.

    A dense `transform`, its normalization, then the vocabulary: through the token embedding's
    own table (Press & Wolf, 2017, arXiv:1608.05859) or a kernel, plus a bias.

    Args:
        vocabulary_size: size of the vocabulary; may be left out if `token_embedding` is given.
        token_embedding: `keras.layers.ReversibleEmbedding` whose table is used; `None` makes a
            kernel of the head's own.
        intermediate_activation: of `transform`; a name or a function (`get_activation`).
        activation: of the result; `None` gives logits.
        layer_norm_epsilon: added to the variance in layer normalization.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.
        intermediate_dim: width of `transform`; `None` is that of `token_embedding`, or of the
            inputs where there is none.
        use_bias: whether `transform` has a bias.
        center: whether the normalization adds an offset.
        use_output_bias: whether there is a bias for each token of the vocabulary.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        mask_positions: int `[batch, masks]`, the positions to score; `None` scores all.

    Returns:
        float `[batch, masks or length, vocabulary_size]`, of the embedding's compute dtype.

    Raises:
        InputError: neither `vocabulary_size` nor `token_embedding` is given, or they disagree; or
            `intermediate_dim` and `token_embedding` do.
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: keras.layers.ReversibleEmbedding | None = None,
        intermediate_activation: Activation = "relu",
        activation: Activation = None,
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        intermediate_dim: int | None = None,
        use_bias: bool = True,
        center: bool = True,
        use_output_bias: bool = True,
        **kwargs: Any,
    ):
        self.autocast = False  # as of the head without `transform`
        self.vocabulary_size = _count_tokens(vocabulary_size, token_embedding)
        narrow = token_embedding is not None and token_embedding.output_dim
        if narrow and intermediate_dim not in (None, narrow):
            raise InputError(
                f"intermediate_dim={intermediate_dim} can't be scored by token_embedding, whose "
                f"vectors have {narrow} numbers. Leave intermediate_dim out."
            )

    def build(self, inputs_shape: Any, mask_positions_shape: Any = None) -> None:
        embedding = self.token_embedding
        width = inputs_shape[-1] if embedding is None else embedding.output_dim
        width = self.intermediate_dim or width
        activation = self.intermediate_activation
        self.transform = self.make_dense(
            "transform", width, inputs_shape, self.use_bias, activation
        )
        self.transform_norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon,
            center=self.center,
            dtype=self.dtype_policy,
            name="transform_norm",
        )
        self.transform_norm.build((*inputs_shape[:-1], width))
        self._build_output(inputs_shape, width)
        self.built = True

    def _transformed(self, x: Any) -> Any:
        return self.transform_norm(self.transform(x))

    def alternatives(self) -> Alternatives:
        """Return what is wrong besides the activation of `transform` and its norm by itself."""
        transform, norm = self.transform, self.transform_norm
        act, linear = self.intermediate_activation, {"activation": keras.activations.linear}
        width = transform.units
        found: dict[str, Any] = {
            "the norm before the activation": {
                "transform": changed_call(transform, linear),
                "transform_norm": lambda x: act(norm(x)),
            },
            **self._logits_alternatives(width),
        }
        if transform.kernel.shape[0] == width:
            found["the norm before transform"] = {
                "transform": lambda x: x,
                "transform_norm": lambda x: transform(norm(x)),
            }
            found["the tokens in place of what transform gives"] = {"transform": lambda x: x}
        return found
