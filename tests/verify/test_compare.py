"""Distances of tensors, and the place where a difference begins."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inarch.errors import ReferenceModelError
from inarch.models.variables import named_variables
from inarch.verify import trace
from inarch.verify.compare import FLOOR, noise_ratio, verify
from inarch.verify.faults.fault import after
from inarch.verify.golden import Golden
from inarch.verify.reference import Reference, TappedTensor, distance, real_tokens
from inarch.verify.report import Finding, Measure, Report
from inarch.verify.tokenizer import TextDifference, TokenizerParity

from .faults import GOLDENS, blocks, load

pytestmark = pytest.mark.turns(3)

READ = {path.stem: Golden.read(path) for path in GOLDENS}
SHAPE = (2, 4, 3)
MASK = {"padding_mask": np.array([[1, 1, 1, 1], [1, 2, 0, 0]])}
numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))
values = arrays("float64", SHAPE, elements=numbers)
masks = arrays("int32", (3, 5), elements=st.integers(0, 2)).filter(np.any)
relaxed = settings(deadline=None)


def tensor_of(value, noise=0.0):
    return TappedTensor(("x", 0, "output"), "theirs", value, noise, noise)


def ratio(ours, value, noise, inputs=MASK):
    return noise_ratio(ours, tensor_of(value, noise), noise, inputs)


# --- real tokens -------------------------------------------------------------------------------


@relaxed
@given(masks)
def test_real_tokens_are_the_rows_of_all_tokens_in_their_order(mask):
    batch, length = mask.shape
    where = np.stack(np.mgrid[:batch, :length], axis=-1)
    rows = real_tokens(where, {"padding_mask": mask})
    assert rows.tolist() == [[b, t] for b in range(batch) for t in range(length) if mask[b, t]]


@relaxed
@given(masks)
def test_real_tokens_of_attention_are_its_real_queries(mask):
    batch, length = mask.shape
    scores = np.random.default_rng(0).standard_normal((batch, 2, length, length))
    rows = real_tokens(scores, {"padding_mask": mask})
    real = [(b, q) for b in range(batch) for q in range(length) if mask[b, q]]
    assert rows.tolist() == [scores[b, :, q].ravel().tolist() for b, q in real]


@relaxed
@given(masks)
def test_a_row_that_a_batch_shares_counts_once_per_token(mask):
    row = np.random.default_rng(0).standard_normal((1, 5, 2))
    shared = real_tokens(row, {"padding_mask": mask})
    whole = real_tokens(np.repeat(row, 3, axis=0), {"padding_mask": mask})
    np.testing.assert_array_equal(shared, whole)


def test_what_has_no_tokens_has_no_padding():
    for shape in [(2, 3), (2, 6, 3), (4,)]:
        assert real_tokens(np.zeros(shape), MASK).size == math.prod(shape)
    assert real_tokens(np.zeros(SHAPE), {}).size == math.prod(SHAPE)


# --- the noise ratio ---------------------------------------------------------------------------


@relaxed
@given(values, st.floats(0, 1))
def test_equal_tensors_have_no_distance(value, noise):
    assert ratio(value, value, noise) == 0


@relaxed
@given(values, values, st.floats(1e-6, 1), st.integers(-20, 20))
def test_the_ratio_has_no_unit(ours, value, noise, power):
    scaled = ratio(ours * 2.0**power, value * 2.0**power, noise * 2.0**power)
    assert scaled == pytest.approx(ratio(ours, value, noise))


@relaxed
@given(values, values, st.floats(1e-3, 1))
def test_the_ratio_counts_the_reference_own_noise(ours, value, noise):
    floor = FLOOR * np.sqrt(np.mean(np.square(real_tokens(value, MASK))))
    expected = distance(ours, value, MASK) / max(noise, floor)
    assert ratio(ours, value, noise) == pytest.approx(expected)


@relaxed
@given(values.filter(lambda v: real_tokens(v, MASK).any()), st.floats(0, 1))
def test_no_reference_is_taken_to_be_nearer_than_the_floor(value, share):
    floor = FLOOR * float(np.sqrt(np.mean(np.square(real_tokens(value, MASK)))))
    ours = value + 3 * floor
    assert ratio(ours, value, share * floor) == pytest.approx(3)


def test_a_difference_from_exact_zeros_is_infinite():
    zeros = np.zeros(SHAPE)
    assert ratio(zeros, zeros, 0.0) == 0
    assert ratio(zeros + 1e-9, zeros, 0.0) == math.inf


@relaxed
@given(values, values, st.floats(1e-6, 1), st.sampled_from([1e6, math.inf, math.nan]))
def test_padding_has_no_part_in_it(ours, value, noise, odd):
    pads = (MASK["padding_mask"] == 0)[..., None]
    assert ratio(np.where(pads, odd, ours), value, noise) == ratio(ours, value, noise)


@relaxed
@given(values, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 4))
def test_what_is_no_number_is_infinitely_far(value, odd, token):
    ours = value.copy()
    ours[tuple(np.argwhere(MASK["padding_mask"])[token])] = odd
    assert ratio(ours, value, 1.0) == math.inf


# --- findings ----------------------------------------------------------------------------------


def give(model, path, change):
    layer, attributes = after(trace.layers_of(model)[path], change)
    object.__setattr__(layer, "call", attributes["call"])


def kernel_of_network(model, block, name):
    """Return the name of a kernel of a block's feed-forward network, or of all of its experts."""
    inside = f"{block}/feed_forward/"
    names = (f"{inside}{name}/kernel", f"{inside}experts/{name}")
    return next(name for name in names if name in named_variables(model))


def assign(model, name, change):
    variable = named_variables(model)[name]
    variable.assign(change(keras.ops.convert_to_numpy(variable)))


@pytest.fixture(params=READ.values(), ids=READ.keys())
def golden(request):
    return request.param


def test_a_fault_is_felt_by_all_that_follows_and_found_once(golden):
    model, reference = load(golden), golden.runs[""]
    first, second = (blocks(golden, i)[-1] for i in range(2))
    down = kernel_of_network(model, first, "down").rpartition("/")[0]
    give(model, down, lambda x: x * 1.01 + 0.01)  # a norm of it would take a factor out alone
    report = verify(model, reference)
    calls = dict.fromkeys(tensor.tap[1] for tensor in reference.tensors if tensor.tap[0] == down)
    assert [(f.layer, f.measure.call) for f in report.findings] == [(down, call) for call in calls]
    later = [m for m in report.measures if m.layer.startswith(second) or not m.layer]
    # The second call of a projection is for relative positions, which no layer's output reaches;
    # some have projections of their own.
    later = [m for m in later if not m.call and "/position_" not in m.layer]
    assert later
    assert min(m.ratio for m in later) > report.threshold
    assert max(m.local_ratio for m in later) < 4


def test_a_nan_on_our_side_alone_is_a_finding_at_its_layer(golden):
    model = load(golden)
    kernel = kernel_of_network(model, blocks(golden, 1)[-1], "up")
    up = kernel.rpartition("/")[0]
    assign(model, kernel, lambda w: np.where(np.arange(w.size).reshape(w.shape), w, np.nan))
    report = verify(model, golden.runs[""])
    assert not report.passed
    assert [f.layer for f in report.findings] == [up]
    assert report.first.measure.local_ratio == report.worst == math.inf
    json.dumps(report.to_json(), allow_nan=False)


def test_a_tensor_of_another_shape_is_infinitely_far(golden):
    model, reference = load(golden), golden.runs[""]
    up = kernel_of_network(model, blocks(golden, 0)[-1], "up").rpartition("/")[0]
    at = next(i for i, p in enumerate(reference.tensors) if p.tap == (up, 0, "output"))
    cut = dataclasses.replace(reference.tensors[at], value=reference.tensors[at].value[..., 1:])
    tensors = (*reference.tensors[:at], cut, *reference.tensors[at + 1 :])
    report = verify(model, dataclasses.replace(reference, tensors=tensors))
    assert report.measures[at].worst == math.inf
    assert report.measures[at].shape == reference.tensors[at].value.shape
    assert up in {f.layer for f in report.findings}


def test_a_layer_that_is_never_called_is_a_finding_and_infinitely_far():
    x = keras.Input((4, 3), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(3, name="dense")(x))
    inputs = {"x": np.ones(SHAPE, "float32")}
    ours = trace.run(model, inputs)
    tensors = [tensor_of(value.astype("float64")) for value in ours.values()]
    tensors = [dataclasses.replace(p, tap=tap) for p, tap in zip(tensors, ours, strict=True)]
    assert verify(model, Reference(inputs, tuple(tensors))).passed
    lost = dataclasses.replace(tensors[0], tap=("dense", 1, "output"))
    report = verify(model, Reference(inputs, (*tensors, lost)))
    assert report.worst == math.inf
    assert [f.measure.ratio for f in report.findings] == [None]


def test_pads_of_the_model_have_no_part_in_the_verdict(golden):
    model, reference = load(golden), golden.runs[""]
    *_, given = (v for n, v in reference.inputs.items() if n.endswith("padding_mask"))
    mask = model.position_mask(given)[..., None]
    before = verify(model, reference)
    give(model, blocks(golden, 1)[0], lambda x: keras.ops.where(mask == 0, 1e3, x))
    # Frames of sound that are padding attend as others do, and are compared.
    is_compared = bool(model.windows[0]) and not mask.all()
    assert (verify(model, reference).measures == before.measures) != is_compared


def test_noise_alone_is_about_one_and_a_lower_threshold_is_taken_at_its_word(golden):
    model, reference = load(golden), golden.runs[""]
    report = verify(model, reference)
    assert 0.2 < np.median([m.ratio for m in report.measures if m.ratio]) < 2
    strict = verify(model, reference, threshold=1e-3)
    assert not strict.passed
    assert strict.threshold == 1e-3
    assert strict.measures == report.measures


def test_progress_and_diagnoses_are_asked_for(golden):
    model = load(golden)
    name = kernel_of_network(model, blocks(golden, 0)[0], "up")
    assign(model, name, lambda kernel: kernel + 1)
    steps, asked = [], []

    def diagnose(finding, teacher_forced, calls):
        asked.append(finding)
        assert finding.measure.layer in {layer for layer, _, _ in teacher_forced}
        return "as expected"

    report = verify(model, golden.runs[""], diagnose=diagnose, progress=steps.append)
    assert [f.diagnosis for f in report.findings] == ["as expected"] * len(asked)
    assert asked
    assert steps == ["ours", "ours, layer by layer", "the diagnosis"]


def test_nothing_to_compare_is_no_pass(golden):
    run = golden.runs[""]
    with pytest.raises(ReferenceModelError, match="nothing to compare"):
        verify(load(golden), dataclasses.replace(run, tensors=()))


# --- the report --------------------------------------------------------------------------------


def measure(layer="x", of="output", ratio=1.0, local=1.0):
    return Measure(layer, 0, of, "theirs", SHAPE, ratio, local)


def report(*measures, findings=(), **more):
    return Report("Model", "somewhere", {}, measures, findings, **more)


def test_the_worst_ratio_is_that_of_the_same_inputs():
    assert report().worst == 0
    assert report(measure(ratio=2.0, local=9.0), measure(ratio=3.0)).worst == 3
    assert report(measure(ratio=2.0), measure(ratio=None, local=None)).worst == math.inf
    assert measure(ratio=2.0, local=9.0).worst == 9
    assert measure(ratio=2.0, local=None).worst == 2
    assert measure(ratio=None, local=None).worst == math.inf


def test_findings_and_texts_that_differ_are_what_fails():
    one = TokenizerParity(1, (TextDifference("a", "ids", "1", "2"),))
    assert report(measure()).passed
    assert report(measure(), tokenizer=TokenizerParity(1)).passed
    assert not report(measure(), tokenizer=one).passed
    assert not report(measure(), findings=(Finding("x", measure()),)).passed


odd = st.floats() | st.just(math.inf) | st.just(math.nan)


@settings(max_examples=30, deadline=None)
@given(odd, odd, odd, st.lists(odd, max_size=3))
def test_json_is_strict_whatever_the_numbers(ratio, local, error, heads):
    one = Measure("x", 0, "attention", "theirs", SHAPE, ratio, local, error, error, tuple(heads))
    plain = report(one, findings=(Finding("x", one, "why"),)).to_json()
    back = json.loads(json.dumps(plain, allow_nan=False))
    assert back == json.loads(json.dumps(plain))
    said = back["measures"][0]["ratio"]
    assert said == ratio if math.isfinite(ratio) else said == str(ratio)
    assert back["findings"][0]["where"] == "x: its attention"
    assert (back["passed"], back["findings"][0]["diagnosis"]) == (False, "why")


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (Finding("x/up", measure("x/up", "linear")), "x/up: its values before the activation"),
        (Finding("x", measure("x", "output")), "x: its output"),
        (Finding("", measure("", "logits")), "the model: its logits"),
        (Finding("x", measure("x/up", "input")), "within x, before x/up"),
        (Finding("", measure("x", "input")), "in the model's graph, before x"),
    ],
)
def test_a_finding_says_where_in_words(finding, said):
    assert finding.where == said
