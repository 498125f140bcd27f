"""Further entries of an author format's table: equal parts, zeros, constants, ignored tensors."""

from dataclasses import replace

import numpy as np
import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import constant, field
from inarch.checkpoints.maps.config_map import ConfigMap
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.proof import prove
from inarch.checkpoints.maps.rule import norm, under, zeros
from inarch.checkpoints.maps.source import Source
from inarch.checkpoints.maps.transfer import load
from inarch.errors import ConfigError, WeightMapError

from .toy import Memory

SOURCE = Source(
    model_type="toy",
    architecture="Toy",
    prefix="toy/",
    config=[],
    weights=[
        norm("norm", "norm"),
        under("layer_{i}", "layer_{i}", zeros("bias", "width", reason="no bias")),
    ],
    ignored_tensors={"step": "steps", "*/slot": "state"},
)
ARGUMENTS = {"num_layers": 2, "width": 3}
OURS = {"norm/gamma": (4,), "norm/beta": (4,), "layer_0/bias": (3,), "layer_1/bias": (3,)}
HEADER = {name: TensorInfo("F32", (4,)) for name in ("norm.weight", "norm.bias", "step", "a/slot")}


def test_equal_parts_are_solved_from_one_side():
    pattern = Pattern.parse("(o + o + o) i -> i o, i o, i o")
    fused = np.arange(18).reshape(6, 3)
    shapes = pattern.our_shapes(pattern.sizes([fused.shape], None))
    assert shapes == [(3, 2)] * 3
    parts = pattern.load([fused], [fused.shape], shapes)
    for part, expected in zip(parts, np.split(fused, 3)):
        np.testing.assert_array_equal(part, expected.T)
    (back,) = pattern.export(parts, [fused.shape], shapes)
    np.testing.assert_array_equal(back, fused)


def test_parts_that_are_not_equal_are_refused():
    pattern = Pattern.parse("(o + o + o) i -> i o, i o, i o")
    with pytest.raises(WeightMapError, match="does not fit"):
        pattern.sizes([(7, 3)], None)


def test_a_variable_that_the_author_format_has_nothing_of_is_zero():
    proof = prove(SOURCE, HEADER, OURS, ARGUMENTS)
    assert (proof.tensors, proof.variables) == (2, 4)
    found = {}
    from inarch.checkpoints.maps.plan import match

    arrays = {name: np.ones(4, "float32") for name in HEADER}
    load(match(SOURCE, HEADER, OURS, ARGUMENTS), Memory(arrays), OURS, found.__setitem__)
    assert found.keys() == OURS.keys()
    np.testing.assert_array_equal(found["layer_1/bias"], np.zeros(3))


def test_what_is_aside_is_listed_with_its_reason_and_nothing_else_is():
    assert prove(SOURCE, HEADER, OURS, ARGUMENTS).passthrough == {
        "step": "steps",
        "a/slot": "state",
    }
    with pytest.raises(WeightMapError, match="unknown in the file: steps"):
        prove(replace(SOURCE, strict=True), HEADER | {"steps": HEADER["step"]}, OURS, ARGUMENTS)


def test_a_constant_is_an_argument_that_no_field_sets():
    known = ConfigMap((field("width", "width"), constant("epsilon", 1e-5)))
    assert known.arguments({"width": 3}) == {"width": 3, "epsilon": 1e-5}
    with pytest.raises(ConfigError, match="epsilon"):
        known.arguments({"width": 3, "epsilon": 1e-5})
