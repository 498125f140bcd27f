"""A diagnosis names the alternative of a layer that either side computes."""

import keras
import numpy as np
import pytest

from inarch.layers import Block, FeedForward, MultiHeadAttention, RelativePositionBias
from inarch.layers.alternatives import BIASES, changed
from inarch.layers.pooling import SequencePooling
from inarch.models.variables import to_numpy
from inarch.verify import trace
from inarch.verify.compare import verify
from inarch.verify.doctor import Doctor
from inarch.verify.doctor.attention import attend
from inarch.verify.doctor.bricks import alternatives_of
from inarch.verify.reference import Reference, TappedTensor

pytestmark = pytest.mark.turns(3)

TOKENS = {"x": np.random.default_rng(0).standard_normal((3, 7, 12)).astype("float32")}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    x = keras.Input((7, 12), name="x")
    bias = RelativePositionBias(3, 8, 9, "random_normal", name="relative_bias")(x)
    outputs = x
    for number in range(2):
        block = Block(
            MultiHeadAttention(3, bias_initializer="random_normal"),
            FeedForward(20, "gelu", bias_initializer="random_normal"),
            keras.layers.LayerNormalization(),
            name=f"layer_{number}",
        )
        outputs = block(outputs, {"attention_bias": 5 * bias})
    return keras.Model({"x": x}, outputs)


@pytest.fixture(scope="module")
def reference(model):
    values = trace.run(model, TOKENS)
    tensors = [TappedTensor(tap, "theirs", v.astype("float64"), 0, 0) for tap, v in values.items()]
    return Reference(TOKENS, tuple(tensors))


def report_of(model, reference, *injected):
    """The report on a model while attributes of layers, by their paths, are others."""
    layers = trace.layers_of(model)
    before = {path: dict(layers[path].__dict__) for path, _ in injected}
    for path, attributes in injected:
        for name, value in attributes.items():
            object.__setattr__(layers[path], name, value)
    try:
        return verify(model, reference, diagnose=Doctor(model, reference))
    finally:
        for path, attributes in before.items():
            layers[path].__dict__.clear()
            layers[path].__dict__.update(attributes)


@pytest.mark.parametrize("where", [("layer_0", "layer_1"), ("layer_1",)], ids=["all", "later"])
@pytest.mark.parametrize("phrase", BIASES)
def test_how_a_bias_enters_the_scores_is_diagnosed(phrase, where, model, reference):
    layers = trace.layers_of(model)
    paths = [f"{layer}/attention" for layer in where]
    wrong = [(path, alternatives_of(layers[path])[phrase]) for path in paths]
    report = report_of(model, reference, *wrong)
    assert [finding.layer for finding in report.findings] == paths
    assert all(f"ours has {phrase};" in finding.diagnosis for finding in report.findings)


def test_what_the_reference_has_is_named_where_ours_is_as_declared(model, reference):
    attention = trace.layers_of(model)["layer_0/attention"]
    with changed(attention, alternatives_of(attention)["a causal mask"]):
        values = trace.run(model, TOKENS)
    tensors = [TappedTensor(tap, "theirs", v.astype("float64"), 0, 0) for tap, v in values.items()]
    report = report_of(model, Reference(TOKENS, tuple(tensors)))
    assert "the reference has a causal mask, which restores its values" in report.first.diagnosis
    assert report.first.layer == "layer_0/attention"


def test_a_wrong_argument_is_named_with_its_value(model, reference):
    report = report_of(model, reference, ("layer_1/attention_norm", {"epsilon": 0.1}))
    assert "an epsilon of 0.001 (ours: epsilon=0.1)" in report.first.diagnosis


def test_plain_attention_is_recognised_without_any_layer_of_ours():
    x = keras.Input((7, 12), name="x")
    model = keras.Model({"x": x}, MultiHeadAttention(3, name="attention")(x, x))
    values = trace.run(model, TOKENS)
    parts = [values[f"attention/{name}", 0, "output"] for name in ("query", "key", "value")]
    mask = np.ones((3, 7, 7), bool)
    mixed = attend(*(part.astype("float64") for part in parts), mask, heads=3)
    np.testing.assert_allclose(values["attention/output", 0, "input"], mixed, atol=1e-5)
    tensors = [TappedTensor(tap, "theirs", v.astype("float64"), 0, 0) for tap, v in values.items()]
    broken = {"_softmax": lambda scores, mask: scores**2, "_fusible": False}
    report = report_of(model, Reference(TOKENS, tuple(tensors)), ("attention", broken))
    assert "attends as Vaswani et al. (2017) do, in 3 heads" in report.first.diagnosis


def test_a_wrong_part_of_a_fused_tensor_is_named(model, reference):
    attention = trace.layers_of(model)["layer_1/attention"]
    dense = (attention.query_dense, attention.key_dense, attention.value_dense)
    kernels = [to_numpy(layer.kernel).astype("float64") for layer in dense]
    fused = Reference(TOKENS, reference.tensors, {"qkv": np.concatenate(kernels, axis=1)})
    dense[0].kernel.assign(kernels[1])
    try:
        report = verify(model, fused, diagnose=Doctor(model, fused))
    finally:
        dense[0].kernel.assign(kernels[0])
    assert report.first.layer == "layer_1/attention/query"
    assert report.first.diagnosis == "it holds qkv[1] where the reference has qkv[0]"


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False, "center": False}])
def test_every_way_to_get_a_norm_wrong_is_computed_with_and_without_weights(options):
    norm = keras.layers.LayerNormalization(**options)
    right = to_numpy(norm(TOKENS["x"]))
    for phrase, attributes in alternatives_of(norm).items():
        with changed(norm, attributes):
            wrong = to_numpy(norm(TOKENS["x"]))
        assert wrong.shape == right.shape
        assert np.isfinite(wrong).all(), phrase
        assert (wrong != right).any(), phrase


def test_a_layer_that_the_reference_has_no_counterpart_of_is_named_and_diagnosed():
    x, mask = keras.Input((7, 12), name="x"), keras.Input((7,), dtype="int32", name="padding_mask")
    pooled = SequencePooling("mean", name="pooling")(x, mask)
    outputs = keras.layers.Dense(3, name="logits")(pooled)
    model = keras.Model({"x": x, "padding_mask": mask}, outputs)
    inputs = {**TOKENS, "padding_mask": (np.arange(7) < np.array([[7], [5], [2]])).astype("int32")}
    values = trace.run(model, inputs)
    tensors = [
        TappedTensor(tap, "theirs", v.astype("float64"), 0, 0)
        for tap, v in values.items()
        if tap[0] != "pooling"
    ]
    reference = Reference(inputs, tuple(tensors))
    report = report_of(model, reference, ("pooling", {"modes": ("cls",)}))
    assert report.first.where == "within pooling, before logits"
    assert report.first.diagnosis == (
        "SequencePooling: the reference has the pooling 'mean' (ours: modes=('cls',)), "
        "which restores its values"
    )


def test_another_activation_is_named_on_both_sides(model, reference):
    wrong = ("layer_1/feed_forward/up", {"activation": keras.activations.relu})
    report = report_of(model, reference, wrong)
    assert report.first.where == "layer_1/feed_forward/up: its output"
    assert "has GELU (exact) (ours: activation=ReLU), which restores" in report.first.diagnosis


def test_an_activation_without_a_name_is_diagnosed_too(model, reference):
    wrong = ("layer_1/feed_forward/up", {"activation": lambda x: 2 * keras.ops.relu(x)})
    report = report_of(model, reference, wrong)
    assert report.first.where == "layer_1/feed_forward/up: its output"
    wrong = ("layer_1/feed_forward/up", {"activation": lambda x: keras.ops.relu(x)})
    assert "the reference has GELU (exact)" in report_of(model, reference, wrong).first.diagnosis
