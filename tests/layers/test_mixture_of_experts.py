"""Mixture of experts against the formula, token by token, in each way that it is computed."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.errors import InputError
from inarch.layers import MixtureOfExperts, expert_products
from inarch.layers.alternatives import changed
from inarch.layers.expert_products import block_size

from ..compiled import compiled

DIM, INNER = 6, 7


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def made(experts=5, chosen=2, seed=0, **options):
    layer = MixtureOfExperts(experts, chosen, INNER, **options)
    layer.build((None, 3, DIM))
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(random.standard_normal(weight.shape))
    return layer


def formula(layer, x):
    """Return what each token gets, in float64, one expert after another."""
    router, gate, up, down = (ops.convert_to_numpy(w).astype("float64") for w in layer.weights)
    found = np.zeros(x.shape)
    for place in np.ndindex(*x.shape[:-1]):
        token = x[place].astype("float64")
        powers = np.exp(token @ router)
        probabilities = powers / powers.sum()
        chosen = np.argsort(-probabilities)[: layer.experts_per_token]
        weights = probabilities[chosen]
        if layer.normalize_weights:
            weights = weights / weights.sum()
        for number, weight in zip(chosen, weights, strict=True):
            a = token @ gate[number]
            found[place] += weight * ((a / (1 + np.exp(-a)) * (token @ up[number])) @ down[number])
    return found


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(("experts", "chosen"), [(5, 2), (2, 1), (3, 3), (40, 4)])
def test_a_token_gets_the_weighted_sum_of_its_experts(
    normal, compiled, experts, chosen, normalized
):
    layer, x = made(experts, chosen, normalize_weights=normalized), normal(2, 9, DIM)
    wanted = formula(layer, x)
    for call in (layer, compiled(layer)):  # a program of JAX has another way
        np.testing.assert_allclose(array(call(x)), wanted, atol=2e-5 * np.abs(wanted).max())


def test_rows_may_have_any_number_of_axes(normal, compiled):
    layer, x = made(), normal(2, 3, 2, DIM)
    for shape in ((DIM,), (12, DIM), (2, 3, 2, DIM)):
        given = x.reshape(-1, DIM)[: int(np.prod(shape[:-1]))].reshape(shape)
        np.testing.assert_allclose(array(compiled(layer)(given)), formula(layer, given), atol=1e-4)


# A way to compute it, on the backend that has it.
WAYS = {"torch": ["experts_in_turn", "copied_experts"], "jax": ["experts_in_blocks"]}


LAYERS = {sizes: made(*sizes[1:]) for sizes in [(1, 4, 2), (9, 4, 2), (6, 5, 1), (7, 3, 3)]}


@functools.cache
def way(name, sizes):
    """Return a way for a layer, as one program where JAX would compile each operation apart."""
    experts = LAYERS[sizes].experts
    function = functools.partial(getattr(expert_products, name), experts.compute_expert)
    return compiled(
        lambda x, *given: function(x, [ops.convert_to_tensor(w) for w in experts.weights], *given)
    )


@pytest.mark.parametrize("name", WAYS.get(keras.backend.backend(), []))
@given(sizes=st.sampled_from(sorted(LAYERS)), data=st.data())
@settings(deadline=None)
def test_what_is_chosen_alone_is_the_sum_over_all(name, sizes, data):
    """Whatever is chosen: one expert by all tokens, none by most, weights of 0 among them."""
    tokens, experts, chosen = sizes
    orders = data.draw(st.lists(st.permutations(range(experts)), min_size=tokens, max_size=tokens))
    random = np.random.default_rng(0)
    weights = random.random((tokens, chosen)) * (random.random((tokens, chosen)) > 0.2)
    given = (
        ops.convert_to_tensor(random.standard_normal((tokens, DIM)), dtype="float32"),
        ops.convert_to_tensor(np.array(orders)[:, :chosen], dtype="int32"),
        ops.convert_to_tensor(weights, dtype="float32"),
    )
    found, wanted = (array(way(each, sizes)(*given)) for each in (name, "all_experts"))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@given(pairs=st.integers(1, 10**6), experts=st.integers(1, 300))
def test_blocks_are_no_larger_than_what_an_expert_gets(pairs, experts):
    size = block_size(pairs, experts)
    assert 1 <= size <= expert_products.MOST_ROWS
    assert size in (1, 8) or 2 * size * experts <= pairs


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch's graphs of generation")
@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("tokens", [1, 9])  # fewer choices than experts, and more
def test_a_recorded_graph_goes_by_the_choices_of_each_call(tokens, normal):
    import torch

    layer = made()
    one, other = (torch.tensor(np.array(normal(seed, tokens, DIM))) for seed in (1, 2))
    with torch.no_grad():
        graph = torch.jit.trace(layer, (one,), check_trace=False)
        np.testing.assert_allclose(graph(other), layer(other), atol=1e-5)


def test_an_expert_that_is_not_chosen_may_be_infinite(normal):
    layer, x = made(), normal(18, DIM)
    before, gate = array(layer(x)), layer.experts.gate
    chosen = ops.convert_to_numpy(layer.experts.choose(layer.router(x))[0])
    tokens = (chosen != 3).all(-1)
    assert tokens.any()
    kernels = ops.convert_to_numpy(gate).copy()
    kernels[3] = np.inf
    gate.assign(kernels)
    np.testing.assert_allclose(array(layer(x))[tokens], before[tokens], atol=1e-4)


def test_tokens_do_not_depend_on_each_other(normal, compiled):
    layer, x = made(), normal(2, 9, DIM)
    together, others = compiled(layer)(x), x.copy()
    others[:, 4:] = 1e3
    np.testing.assert_allclose(
        array(compiled(layer)(others))[:, :4], array(together)[:, :4], atol=1e-4
    )


def test_the_choice_is_made_in_float32(normal):
    layer = made(dtype="bfloat16")
    output = layer(ops.cast(normal(2, 9, DIM), "bfloat16"))
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    _, weights = layer.experts.choose(ops.cast(normal(4, 5), "bfloat16"))
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    np.testing.assert_allclose(array(ops.sum(weights, -1)), 1, atol=1e-6)


def test_it_is_trained(normal, train):
    x = keras.Input((None, DIM))
    layer = made()
    model = keras.Model(x, layer(x))
    before = [array(w) for w in layer.weights]
    train(model, normal(4, 3, DIM))
    for weight, old in zip(layer.weights, before, strict=True):
        assert np.abs(array(weight) - old).max() > 0, weight.path


def test_it_survives_saving(normal, reload):
    x = keras.Input((None, DIM))
    layer = made(normalize_weights=False)
    model = keras.Model(x, layer(x))
    again, data = reload(model), normal(4, 3, DIM)
    assert again.layers[-1].get_config() == layer.get_config()
    np.testing.assert_allclose(array(again(data)), array(model(data)), atol=1e-6)


@pytest.mark.parametrize("normalized", [True, False])
def test_every_alternative_gives_other_numbers(normal, normalized):
    layer, x = made(normalize_weights=normalized), normal(2, 9, DIM)
    right = array(layer(x))
    for brick in (layer.router, layer.experts):
        for phrase, attributes in brick.alternatives().items():
            with changed(brick, attributes):
                assert np.abs(array(layer(x)) - right).max() > 1e-5, phrase
    np.testing.assert_array_equal(array(layer(x)), right)


def test_an_expert_is_a_branch_that_these_tokens_reach(normal):
    layer, x = made(), normal(2, 9, DIM)
    right, branches = array(layer(x)), layer.experts.branches()
    assert len(branches) == 5
    for name, without in branches.items():
        with changed(layer.experts, without):
            assert np.abs(array(layer(x)) - right).max() > 1e-5, name


@pytest.mark.parametrize("chosen", [0, 6])
def test_more_experts_for_a_token_than_there_are_are_refused(chosen):
    with pytest.raises(InputError, match=f"experts_per_token={chosen}, and num_experts=5"):
        MixtureOfExperts(5, chosen, INNER)
