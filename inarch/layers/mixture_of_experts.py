"""Mixture of experts: a feed-forward network of which each token passes a few parts."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.alternatives import Alternatives, activation_alternatives
from inarch.layers.axes import EMBED, EXPERTS, MLP
from inarch.layers.expert_products import top_k, weighted_experts
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class MixtureOfExperts(Layer):
    """Gated feed-forward networks, of which a router chooses a few for each token.

    Source: Shazeer et al., 2017, arXiv:1701.06538; the probabilities of all experts are computed
    before the choice, as in Fedus et al., 2021, arXiv:2101.03961, and Jiang et al., 2024,
    arXiv:2401.04088. A token gets the sum of what its experts give, weighted by their
    probabilities. It doesn't depend on other tokens: none is left out where many choose one expert.

    A `Router` named `router` gives a logit for each expert, `Experts` named `experts` choose and
    compute.

    Args:
        num_experts: number of experts.
        experts_per_token: how many of them each token passes.
        intermediate_dim: inner width of each expert.
        activation: of the gates; a name or a function (`get_activation`).
        normalize_weights: whether the weights of the chosen experts are divided by their sum.
        kernel_initializer: of the kernels.

    Call arguments:
        inputs: float `[..., dim]`.

    Returns:
        float `[..., dim]`.

    Raises:
        InputError: `experts_per_token` isn't from 1 to `num_experts`.
    """

    def __init__(
        self,
        num_experts: int,
        experts_per_token: int,
        intermediate_dim: int,
        activation: Activation = "silu",
        normalize_weights: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        self.supports_masking = True
        _check_choice(num_experts, experts_per_token)

    def build(self, inputs_shape: Any) -> None:
        self.router = Router(
            self.num_experts,
            fresh_initializer(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="router",
        )
        self.router.build(inputs_shape)
        self.experts = Experts(
            self.num_experts,
            self.experts_per_token,
            self.intermediate_dim,
            self.activation,
            self.normalize_weights,
            fresh_initializer(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="experts",
        )
        self.experts.build(inputs_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.experts(inputs, self.router(inputs), training=training)


@keras.saving.register_keras_serializable(package="inarch")
class Router(Layer):
    """Product of each token with a vector of each expert, from which experts are chosen.

    It is no `Dense`, since the reference's is no linear module, which PEFT could update; and int8
    would change the choice.

    Args:
        num_experts: number of experts.
        kernel_initializer: of the kernel `[dim, experts]`.

    Call arguments:
        inputs: float `[..., dim]`.

    Returns:
        float `[..., experts]`.
    """

    axes: ClassVar = {"kernel": (EMBED, None)}

    def __init__(self, num_experts: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any):
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        shape = (inputs_shape[-1], self.num_experts)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.kernel)

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        return (*inputs_shape[:-1], self.num_experts)

    def alternatives(self) -> Alternatives:
        call = self.call
        return {
            "logits of the normalized token": {
                "call": lambda x: call(x / ops.norm(x, axis=-1, keepdims=True))
            },
            "logits over the root of the width": {"call": lambda x: call(x) / x.shape[-1] ** 0.5},
        }


@keras.saving.register_keras_serializable(package="inarch")
class Experts(Layer):
    """Experts side by side, each `down(activation(gate(x)) * up(x))`, of which a few are chosen.

    The kernels of all are in one variable for each projection, `gate` and `up` `[experts, dim,
    intermediate_dim]` and `down` `[experts, intermediate_dim, dim]`. The softmax over the experts
    is taken in float32 at least. What isn't chosen isn't computed where the backend allows it
    (`inarch.layers.expert_products`).

    Arguments are those of `MixtureOfExperts`; the activation is `gate_activation`, since the layer
    doesn't end with it.

    Call arguments:
        inputs: float `[..., dim]`.
        logits: float `[..., experts]`.

    Returns:
        float `[..., dim]`.

    Raises:
        InputError: `experts_per_token` isn't from 1 to `num_experts`.
    """

    axes: ClassVar = {
        "gate": (EXPERTS, EMBED, MLP),
        "up": (EXPERTS, EMBED, MLP),
        "down": (EXPERTS, MLP, EMBED),
    }

    def __init__(
        self,
        num_experts: int,
        experts_per_token: int,
        intermediate_dim: int,
        gate_activation: Activation = "silu",
        normalize_weights: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        self.supports_masking = True
        _check_choice(num_experts, experts_per_token)

    def build(self, inputs_shape: Any, logits_shape: Any = None) -> None:
        sizes = (inputs_shape[-1], self.intermediate_dim)
        self.gate, self.up = (self._add_kernels(name, *sizes) for name in ("gate", "up"))
        self.down = self._add_kernels("down", *sizes[::-1])
        self.built = True

    def _add_kernels(self, name: str, inputs: int, outputs: int) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(self.num_experts, inputs, outputs),
            initializer=fresh_initializer(self.kernel_initializer),
        )

    def call(self, inputs: Any, logits: Any, training: bool | None = None) -> Any:
        indices, weights = self.choose(ops.reshape(logits, (-1, logits.shape[-1])))
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))
        kernels = [ops.convert_to_tensor(k) for k in (self.gate, self.up, self.down)]
        y = weighted_experts(self.compute_expert, x, kernels, indices, weights, bool(training))
        return ops.reshape(ops.cast(y, inputs.dtype), ops.shape(inputs))

    def choose(self, logits: Any) -> tuple[Any, Any]:
        """Return the numbers of the chosen experts and their weights, `[tokens, chosen]` each."""
        weights, indices = top_k(self.score(logits), self.experts_per_token)
        return indices, self.normalize(weights) if self.normalize_weights else weights

    def score(self, logits: Any) -> Any:
        """Return the probability of each expert, in float32 at least."""
        return ops.softmax(ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")))

    def normalize(self, weights: Any) -> Any:
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def compute_expert(self, x: Any, gate: Any, up: Any, down: Any) -> Any:
        """Return what one expert gives of `x` `[rows, dim]`, or all of theirs where stacked."""
        return ops.matmul(self.gate_activation(ops.matmul(x, gate)) * ops.matmul(x, up), down)

    def branches(self) -> Alternatives:
        """Return each expert: without what it gives, some output is another one."""
        choose = self.choose

        def without(number: int, logits: Any) -> tuple[Any, Any]:
            indices, weights = choose(logits)
            return indices, ops.where(indices == number, ops.zeros_like(weights), weights)

        return {
            f"expert {number}": {"choose": lambda logits, n=number: without(n, logits)}
            for number in range(self.num_experts)
        }

    def alternatives(self) -> Alternatives:
        ways = self._network_alternatives()
        return {
            **self._choice_alternatives(),
            **{name: {"compute_expert": way} for name, way in ways.items()},
            **activation_alternatives(self, "gate_activation"),
        }

    def _choice_alternatives(self) -> Alternatives:
        """Return what is wrong with the choice of experts, and with their weights."""
        score, choose, last = self.score, self.choose, self.num_experts - 1

        def numbered(change: Any) -> Any:
            def changed(logits: Any) -> tuple[Any, Any]:
                indices, weights = choose(logits)
                return change(indices), weights

            return changed

        def lowest(logits: Any) -> tuple[Any, Any]:
            probabilities = score(logits)
            _, indices = ops.top_k(-probabilities, self.experts_per_token)
            weights = ops.take_along_axis(probabilities, indices, axis=-1)
            return indices, self.normalize(weights) if self.normalize_weights else weights

        def equal(logits: Any) -> tuple[Any, Any]:
            indices, weights = choose(logits)
            return indices, ops.ones_like(weights) / self.experts_per_token

        counts = [self.experts_per_token + n for n in (-1, 1)]
        return {
            "weights as they are" if self.normalize_weights else "weights divided by their sum": {
                "normalize_weights": not self.normalize_weights
            },
            "a softmax of the weights": {
                "normalize": ops.softmax,
                **({} if self.normalize_weights else {"normalize_weights": True}),
            },
            "equal weights": {"choose": equal},
            "sigmoids in place of the softmax": {"score": ops.sigmoid},
            "the experts of the lowest logits": {"choose": lowest},
            "the experts in reverse order": {"choose": numbered(lambda i: last - i)},
            "the expert after each": {"choose": numbered(lambda i: (i + 1) % (last + 1))},
            **{
                f"{n} experts for each token": {"experts_per_token": n}
                for n in counts
                if 1 <= n <= self.num_experts
            },
        }

    def _network_alternatives(self) -> dict[str, Any]:
        """Return ways to compute an expert that are wrong, each as `compute_expert`."""
        f, own = self.gate_activation, self.compute_expert

        def product(x: Any, kernel: Any) -> Any:
            return ops.matmul(x, kernel)

        return {
            "the activation on the values alone": lambda x, g, u, d: product(
                product(x, g) * f(product(x, u)), d
            ),
            "an activation on the values too": lambda x, g, u, d: product(
                f(product(x, g)) * f(product(x, u)), d
            ),
            "the activation of the product": lambda x, g, u, d: product(
                f(product(x, g) * product(x, u)), d
            ),
            "the sum of gate and values": lambda x, g, u, d: product(
                f(product(x, g)) + product(x, u), d
            ),
            "no gate": lambda x, g, u, d: product(f(product(x, u)), d),
            "kernels of gate and values swapped": lambda x, g, u, d: own(x, u, g, d),
        }


def _check_choice(num_experts: int, experts_per_token: int) -> None:
    if not 1 <= experts_per_token <= num_experts:
        raise InputError(
            f"experts_per_token={experts_per_token}, and num_experts={num_experts}: pass at least "
            "1, and at most as many as there are."
        )
