"""Laws of vectors in fewer bits."""

import ml_dtypes
import numpy as np
import pytest

from inarch.answers.similarity import pairwise_similarity, similarity
from inarch.errors import InputError, InputTypeError
from inarch.sentence_transformers.sentence_fields import SIMILARITIES
from inarch.tasks import quantize_embeddings

VECTORS = np.random.default_rng(0).normal(size=(120, 11)).astype(np.float32)


def test_steps_are_counted_from_the_lowest_value_of_each_dimension():
    ranges = np.array([[0.0, -1.0], [255.0, 1.0]])
    numbers = quantize_embeddings(np.array([[3.5, -1.0], [300.0, 1.5]]), "uint8", ranges)
    np.testing.assert_array_equal(numbers, [[3, 0], [255, 255]])
    assert numbers.dtype == np.uint8
    signed = quantize_embeddings(np.array([[3.5, -1.0], [300.0, 1.5]]), "int8", ranges)
    np.testing.assert_array_equal(signed, [[-125, -128], [127, 127]])
    assert signed.dtype == np.int8


def test_ranges_are_those_of_the_calibration_vectors():
    ranges = np.stack([VECTORS.min(0), VECTORS.max(0)])
    by_ranges = quantize_embeddings(VECTORS[:3], "int8", ranges)
    by_sample = quantize_embeddings(VECTORS[:3], "int8", calibration_embeddings=VECTORS)
    np.testing.assert_array_equal(by_ranges, by_sample)
    np.testing.assert_array_equal(by_ranges, quantize_embeddings(VECTORS, "int8")[:3])


def test_a_bit_says_whether_a_number_is_above_zero():
    bits = quantize_embeddings(VECTORS, "ubinary")
    np.testing.assert_array_equal(np.unpackbits(bits, axis=-1)[:, :11], VECTORS > 0)
    signed = quantize_embeddings(VECTORS, "binary")
    np.testing.assert_array_equal(signed.astype(int) + 128, bits)
    assert (bits.dtype, signed.dtype) == (np.uint8, np.int8)
    np.testing.assert_array_equal(quantize_embeddings(VECTORS[0], "ubinary"), bits[0])


def test_floats_are_the_nearest():
    np.testing.assert_array_equal(quantize_embeddings(VECTORS, "float32"), VECTORS)
    np.testing.assert_array_equal(quantize_embeddings(VECTORS, "float16"), np.float16(VECTORS))
    low = VECTORS.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(
        quantize_embeddings(low, "ubinary"), np.packbits(np.float32(low) > 0, axis=-1)
    )


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_no_vectors_stay_none(precision):
    width = 2 if precision.endswith("binary") else 11
    assert quantize_embeddings(VECTORS[:0], precision).shape == (0, width)


def test_a_dimension_of_one_value_has_one_step():
    same = np.full((200, 2), 0.25, np.float32)
    assert (quantize_embeddings(same, "uint8") == 0).all()


@pytest.mark.parametrize(
    ("vectors", "precision", "options", "error", "named"),
    [
        (VECTORS, "int4", {}, InputError, "precision is 'int4'"),
        (VECTORS, 8, {}, InputError, "precision is 8"),
        (VECTORS.astype(np.int8), "int8", {}, InputTypeError, "dtype int8"),
        (VECTORS[:1], "int8", {}, InputError, "one vector has no ranges"),
        (VECTORS[0], "uint8", {}, InputError, "one vector has no ranges"),
        (VECTORS, "int8", {"ranges": VECTORS[:2, :3]}, InputError, r"\(2, 3\).* need \(2, 11\)"),
        (VECTORS, "int8", {"ranges": VECTORS[:3]}, InputError, r"\(3, 11\)"),
        (VECTORS, "int8", {"ranges": VECTORS[:2] * np.nan}, InputError, "ranges holds NaN"),
        (VECTORS * np.inf, "binary", {}, InputError, "embeddings holds NaN or infinity"),
        (VECTORS[None], "binary", {}, InputError, r"\(1, 120, 11\)"),
        (["a"], "binary", {}, InputTypeError, "dtype"),
    ],
)
def test_what_cannot_be_quantized_is_named(vectors, precision, options, error, named):
    with pytest.raises(error, match=named):
        quantize_embeddings(vectors, precision, **options)


def test_few_vectors_to_take_ranges_from_are_warned_of():
    with pytest.warns(UserWarning, match="taken from 5 vectors"):
        quantize_embeddings(VECTORS[:5], "int8")


@pytest.mark.reference
@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_the_bits_are_those_of_sentence_transformers(precision):
    reference = pytest.importorskip("sentence_transformers.util").quantize_embeddings
    random = np.random.default_rng(1)
    for scale, dim in ((1e-3, 64), (1.0, 384), (1e4, 13)):
        vectors = (scale * random.normal(size=(300, dim))).astype(np.float32)
        calibration = (scale * random.normal(size=(150, dim))).astype(np.float32)
        ranges = np.stack([calibration.min(0), calibration.max(0)])
        for options in ({}, {"ranges": ranges}, {"calibration_embeddings": calibration}):
            ours = quantize_embeddings(vectors, precision, **options)
            theirs = reference(vectors, precision, **options)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["int8", "uint8", "float16"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_of_quantized_vectors_do_not_overflow(name, precision):
    vectors = quantize_embeddings(100 * VECTORS, precision)
    exact = similarity(name, vectors.astype(np.float64), vectors.astype(np.float64))
    found = similarity(name, vectors, vectors)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        pairwise_similarity(name, vectors, vectors[::-1]), np.diag(exact[:, ::-1]),
        rtol=1e-5, atol=1e-3,
    )  # fmt: skip
