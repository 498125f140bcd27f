"""Verification is itself verified: faults put into right models are caught, and at their place."""

import keras
import pytest

from inarch.verify.compare import verify
from inarch.verify.doctor import attention
from inarch.verify.golden import Golden

from .fault import at, calls, computes
from .faults import GOLDENS, astray, blocks, caught, diagnosed, examine, faults_for, load
from .faults_of_attention import PLACES, attend
from .faults_of_fourier import mix_and_feed_forward
from .faults_of_graph import encode
from .faults_of_speech import CROSS, ENCODER, HEARING, SAYING, hear

READ = {path.stem: Golden.read(path) for path in GOLDENS}
# On JAX the page of faults is made anew of all kinds, which tests those that aren't fast; the
# other backends take turns with them, for what verification makes of arrays is NumPy's.
BACKENDS = ("torch", "tensorflow")


def slow(turn):
    backend = BACKENDS[turn % len(BACKENDS)]
    elsewhere = keras.backend.backend() != backend
    return [
        pytest.mark.reference,
        pytest.mark.skipif(elsewhere, reason=f"tried on {backend}, on JAX by the page of faults"),
    ]


KINDS = [
    pytest.param(golden, fault, id=f"{name}-{fault.name}", marks=[] if fault.fast else slow(turn))
    for name, golden in READ.items()
    for turn, fault in enumerate(faults_for(golden))
]
RUNS = [pytest.param(g, head, id=f"{name}-{head}") for name, g in READ.items() for head in g.runs]


@pytest.mark.parametrize(("golden", "fault"), KINDS)
def test_a_fault_is_caught_at_its_place_and_diagnosed(golden, fault):
    if fault.mixed and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow itself refuses to add two precisions")
    report = examine(golden, fault)
    assert caught(report)
    assert not report.passed
    assert not astray(fault, report)
    if fault.diagnosis:
        assert diagnosed(fault, report), report.first.diagnosis


@pytest.mark.parametrize(("golden", "head"), RUNS)
def test_a_right_model_raises_no_alarm(golden, head):
    report = verify(load(golden, head), golden.runs[head])
    assert report.passed
    assert not caught(report)


# By what is in the layers they are of; the first counts.
REWRITTEN = {
    "layer_0/attention/": [(PLACES, attend), (at("layer_1"), encode)],
    "layer_0/attention_norm": [(at("layer_0", "layer_1"), mix_and_feed_forward)],
    "decoder_layer_0/": [(HEARING | SAYING | CROSS, attend), (at(ENCODER), hear)],
}


@pytest.mark.parametrize("golden", READ.values(), ids=READ.keys())
def test_a_rewritten_layer_without_a_fault_raises_no_alarm(golden):
    layers = {tensor.tap[0] for tensor in golden.runs[""].tensors}
    within = next(w for w in REWRITTEN if any(layer.startswith(w) for layer in layers))
    for places, function in REWRITTEN[within]:
        model = load(golden)
        computes(places, function)(model)
        assert verify(model, golden.runs[""]).passed, function


@pytest.mark.parametrize("golden", READ.values(), ids=READ.keys())
def test_verifying_leaves_the_calls_of_a_model_as_they_were(golden):
    model, run = load(golden), golden.runs[""]
    seen = []

    def count(call, *args, **kwargs):
        seen.append(call)
        return call(*args, **kwargs)

    calls(at(blocks(golden, 0)[-1]), count)(model)
    verify(model, run)
    seen.clear()
    model(run.inputs)
    assert len(seen) == 1


@pytest.mark.parametrize("golden", READ.values(), ids=READ.keys())
@pytest.mark.parametrize(
    "name",
    ["Mask ignored", "Attention unscaled", "One head too few", "Causal mask missing",
     "Cross-attention unscaled"],
)  # fmt: skip
def test_one_row_of_many_is_enough_to_diagnose_attention(name, golden, monkeypatch):
    found = [fault for fault in faults_for(golden) if fault.name == name]
    if not found:
        pytest.skip("another kind of layer mixes the tokens, or under another name")
    monkeypatch.setattr(attention, "FEW", 0)
    monkeypatch.setattr(attention, "ENOUGH", 7)
    tried, attend = [], attention.attend

    def counted(query, *others):
        tried.append(len(query))
        return attend(query, *others)

    monkeypatch.setattr(attention, "attend", counted)
    assert diagnosed(found[0], examine(golden, found[0]))
    assert set(tried) == {1}


def test_names_of_faults_are_unique():
    for golden in READ.values():
        names = [fault.name for fault in faults_for(golden)]
        assert len(set(names)) == len(names)
