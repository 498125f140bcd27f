"""Heads on top of an encoder."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import MaskedLMHead, SoftCap, VocabularyHead
from inarch.layers.alternatives import changed


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def embedding(**kwargs):
    layer = keras.layers.ReversibleEmbedding(11, 8, **kwargs)
    layer.build((None, None))
    return layer


def built(perturb, dim=8, **kwargs):
    layer = MaskedLMHead(**kwargs)
    layer.build((None, None, dim))
    return perturb(layer)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_the_transform_s_product_with_the_vocabulary(perturb, normal, compiled, tied):
    given = {"token_embedding": embedding()} if tied else {"vocabulary_size": 11}
    layer = built(perturb, intermediate_activation="gelu", **given)
    x = normal(2, 3, 8)
    hidden = array(compiled(lambda x: layer.transform_norm(layer.transform(x)))(x)).astype(
        "float64"
    )
    kernel = array(layer.token_embedding.embeddings).T if tied else array(layer.output_kernel)
    expected = hidden @ kernel + array(layer.output_bias)
    np.testing.assert_allclose(array(compiled(layer)(x)), expected, atol=1e-5)


def test_masked_positions_are_scored_as_they_are_among_all(perturb, normal, compiled):
    layer, x = compiled(built(perturb, vocabulary_size=11)), normal(2, 5, 8)
    positions = np.array([[4, 0, 0], [2, 3, 1]])
    everywhere = array(layer(x))
    assert everywhere.shape == (2, 5, 11)
    chosen = array(layer(x, positions))
    expected = np.take_along_axis(everywhere, positions[..., None], axis=1)
    np.testing.assert_allclose(chosen, expected, atol=2e-6)


def test_an_activation_acts_on_the_logits(perturb, normal):
    y = array(built(perturb, vocabulary_size=11, activation="softmax")(normal(2, 3, 8)))
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)


def test_variables_have_the_names_that_weight_maps_use(perturb):
    own = built(perturb, vocabulary_size=11, name="head")
    tied = built(perturb, token_embedding=embedding(name="words"), name="head")
    shared = {
        "head/transform/kernel": (8, 8),
        "head/transform/bias": (8,),
        "head/transform_norm/gamma": (8,),
        "head/transform_norm/beta": (8,),
        "head/output_bias": (11,),
    }

    def shapes(layer):
        return {weight.path: tuple(weight.shape) for weight in layer.weights}

    assert shapes(own) == {**shared, "head/output_kernel": (8, 11)}
    assert shapes(tied) == {**shared, "words/embeddings": (11, 8)}


def test_a_transform_leads_from_any_width_to_the_embedding_s(perturb, normal):
    layer = built(perturb, dim=5, token_embedding=embedding())
    assert layer(normal(2, 3, 5)).shape == (2, 3, 11)


@pytest.mark.parametrize("layer", [MaskedLMHead, VocabularyHead])
def test_sizes_that_are_missing_or_disagree_are_refused(layer):
    with pytest.raises(ValueError, match="vocabulary_size=None and token_embedding=None"):
        layer()
    with pytest.raises(ValueError, match="vocabulary_size=12 disagrees .* 11 rows"):
        layer(12, embedding())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_head_of_the_vocabulary_alone_scores_tokens_as_they_are(
    perturb, normal, compiled, reload, tied, bias
):
    words = embedding() if tied else None
    head, x = VocabularyHead(11, words, use_output_bias=bias, name="head"), normal(2, 5, 8)
    inputs, places = keras.Input((None, 8)), keras.Input((None,), dtype="int32")
    model = keras.Model([inputs, places], head(inputs, places))
    perturb(head)
    table = array(words.embeddings).T if tied else array(head.output_kernel)
    wanted = x @ table + (array(head.output_bias) if bias else 0)
    np.testing.assert_allclose(array(compiled(head)(x)), wanted, atol=1e-5)
    positions = np.array([[4, 0, 0], [2, 3, 1]])
    chosen = np.take_along_axis(wanted, positions[..., None], axis=1)
    for each in (model, reload(model)):
        np.testing.assert_allclose(array(each([x, positions])), chosen, atol=1e-5)
    names = {weight.path.partition("/")[2] for weight in head.weights}
    assert names == {"embeddings" if tied else "output_kernel", *(["output_bias"] if bias else [])}
    for phrase, attributes in head.alternatives().items():
        with changed(head, attributes):
            assert np.abs(array(head(x)) - wanted).max() > 1e-3, phrase


@pytest.mark.parametrize(("of_embedding", "of_logits"), [(None, "bfloat16"), ("float32",) * 2])
def test_logits_of_a_head_of_the_vocabulary_have_the_compute_dtype(normal, of_embedding, of_logits):
    words = embedding(dtype=of_embedding) if of_embedding else None
    head = VocabularyHead(11, words, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(head(normal(2, 3, 8)).dtype) == of_logits


@pytest.mark.parametrize(
    ("of_head", "of_embedding", "of_logits"),
    [
        ("bfloat16", "bfloat16", "bfloat16"),
        ("mixed_bfloat16", "mixed_bfloat16", "bfloat16"),
        ("mixed_bfloat16", "float32", "float32"),
    ],
)
def test_logits_have_the_compute_dtype_of_the_embedding(
    perturb, normal, compiled, of_head, of_embedding, of_logits
):
    words = embedding(dtype=of_embedding)
    layer = built(perturb, token_embedding=words, dtype=of_head)
    x = ops.cast(normal(2, 3, 8), "bfloat16")
    output = compiled(layer)(x)
    assert keras.backend.standardize_dtype(output.dtype) == of_logits
    assert layer(keras.KerasTensor((2, 3, 8), "bfloat16")).dtype == of_logits
    single = built(perturb, token_embedding=words)
    np.testing.assert_allclose(array(output), array(compiled(single)(x)), atol=0.15)


def test_a_tied_embedding_stays_tied_in_a_saved_model(perturb, normal, reload):
    ids, positions = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    words = embedding()
    head = MaskedLMHead(token_embedding=words, intermediate_activation="gelu_approximate")
    model = keras.Model([ids, positions], head(words(ids), positions))
    perturb(head)
    data = [np.array([[3, 1, 4]]), np.array([[0, 2]])]
    again = reload(model)
    np.testing.assert_array_equal(array(again(data)), array(model(data)))
    assert len(again.weights) == len(model.weights)
    assert again.layers[-1].token_embedding is again.layers[1]


def test_an_untied_head_survives_saving(perturb, normal, reload):
    x = keras.Input((None, 8))
    head = MaskedLMHead(11, activation="softmax", kernel_initializer="he_normal")
    model = keras.Model(x, head(x))
    perturb(head)
    again = reload(model)
    assert again.layers[-1].get_config() == head.get_config()
    np.testing.assert_array_equal(array(again(normal(1, 2, 8))), array(model(normal(1, 2, 8))))


def test_a_head_without_biases_is_one_whose_biases_are_zero(perturb, normal, compiled):
    whole = built(perturb, vocabulary_size=11)
    bare = built(perturb, vocabulary_size=11, use_bias=False, center=False, use_output_bias=False)
    named = {weight.path.partition("/")[2]: weight for weight in whole.weights}
    kept = {weight.path.partition("/")[2]: weight for weight in bare.weights}
    biases = {"transform/bias", "transform_norm/beta", "output_bias"}
    assert kept.keys() == named.keys() - biases
    for name, weight in kept.items():
        weight.assign(named[name])
    x = normal(2, 3, 8)
    assert np.abs(array(compiled(whole)(x)) - array(compiled(bare)(x))).max() > 0.1
    for name in biases:
        named[name].assign(np.zeros(named[name].shape))
    np.testing.assert_allclose(array(compiled(bare)(x)), array(compiled(whole)(x)), atol=1e-6)


def test_a_soft_cap_bends_logits_and_its_alternatives_show(normal, compiled):
    layer, x = SoftCap(2.0), 3 * normal(2, 5)
    right = array(compiled(layer)(x))
    np.testing.assert_allclose(right, 2 * np.tanh(x / 2), atol=1e-6)
    for phrase, attributes in layer.alternatives().items():
        with changed(layer, attributes):
            assert np.abs(array(layer(x)) - right).max() > 1e-2, phrase


@pytest.mark.parametrize("cap", [0, -1.0, float("nan")])
def test_a_cap_that_is_not_positive_is_refused(cap):
    with pytest.raises(InputError, match="Pass a positive number"):
        SoftCap(cap)
