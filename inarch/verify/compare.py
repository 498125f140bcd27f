"""Ours against the reference, tensor by tensor: how far apart, and where it begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from inarch.errors import ReferenceModelError
from inarch.verify import trace
from inarch.verify.reference import Reference, TappedTensor, distance, real_tokens
from inarch.verify.report import THRESHOLD, Finding, HeadAgreement, Measure, Report
from inarch.verify.trace import Tap

Values = Mapping[Tap, np.ndarray]
Calls = Mapping[tuple[str, int], trace.Call]

# So many findings are diagnosed; later ones mostly have the cause of one of these.
MOST = 10

# No float32 computation can be expected to be nearer to float64 than this share of its values:
# an error of a quarter of the last place. It keeps a lucky reference from raising an alarm.
FLOOR = float(np.finfo(np.float32).eps) / 4


def verify(
    model: keras.Model,
    reference: Reference,
    *,
    source: str = "",
    threshold: float = THRESHOLD,
    diagnose: Callable[[Finding, Values, Calls], str | None] | None = None,
    progress: Callable[[str], Any] = lambda step: None,
) -> Report:
    """Measure `model` against what the reference computes.

    The model runs twice: once on the same inputs, which says how far apart the two end, and once
    with every layer fed the reference's own values, which lists every place that is wrong.

    Args:
        source: the checkpoint or golden file that both sides have been loaded from.
        threshold: noise ratio above which a tensor has diverged.
        diagnose: returns the cause of a finding in a line, from the second run's values and calls.
        progress: called with the name of each step before it begins.
    """
    if not reference.tensors:
        raise ReferenceModelError(
            "the reference has no tensor that ours has too: nothing to compare"
        )
    progress("ours")
    free = trace.run(model, reference.inputs)
    progress("ours, layer by layer")
    calls: dict[tuple[str, int], trace.Call] = {}
    teacher_forced = trace.run(model, reference.inputs, teacher_values(reference), calls)
    measures = tuple(
        _measure(tensor, reference, free, teacher_forced) for tensor in reference.tensors
    )
    findings = _findings(measures, reference, teacher_forced, threshold)
    if diagnose is not None and findings:
        progress("the diagnosis")
        diagnosed = [
            Finding(f.layer, f.measure, diagnose(f, teacher_forced, calls)) for f in findings[:MOST]
        ]
        findings = diagnosed + findings[MOST:]
    return _report(model, reference, free, measures, tuple(findings), source, threshold)


def _report(
    model: keras.Model,
    reference: Reference,
    free: Values,
    measures: tuple[Measure, ...],
    findings: tuple[Finding, ...],
    source: str,
    threshold: float,
) -> Report:
    logits = [
        p for p in reference.tensors
        if not p.tap[0] and p.module == "logits" and p.value.shape == free[p.tap].shape
    ]  # fmt: skip
    tensors = {tensor.tap for tensor in reference.tensors}
    unseen = [name for layer, _, name in free if not layer and ("", 0, name) not in tensors]
    about = {"outputs not compared": ", ".join(unseen)} if unseen else {}
    models = (model, getattr(model, "backbone", None))
    layout = next((found for m in models if (found := getattr(m, "layout", None))), None)
    return Report(
        model=type(model).__name__,
        model_type=layout.model_type if layout else "",
        source=source,
        about={
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            **reference.about,
            **about,
        },
        measures=measures,
        findings=findings,
        outputs={p.tap[2]: _agreement(free[p.tap], p.value, reference) for p in logits},
        threshold=threshold,
    )


def teacher_values(reference: Reference) -> dict[Tap, np.ndarray]:
    """Return the reference's values that layers are fed; probabilities and outputs feed none."""
    return {
        tensor.tap: tensor.value
        for tensor in reference.tensors
        if tensor.tap[0] and tensor.tap[2] != "attention"
    }


def noise_ratio(
    ours: np.ndarray, tensor: TappedTensor, noise: float, inputs: Mapping[str, np.ndarray]
) -> float:
    """Return our distance from float64 over the reference's `noise`; infinity for no number."""
    error = distance(ours, tensor.value, inputs)
    if not math.isfinite(error):
        return math.inf
    values = real_tokens(tensor.value, inputs)
    least = max(noise, FLOOR * float(np.sqrt(np.mean(np.square(values)))))
    return error / least if least else (math.inf if error else 0.0)


def _measure(
    tensor: TappedTensor, reference: Reference, free: Values, teacher_forced: Values
) -> Measure:
    layer, call, name = tensor.tap
    if tensor.tap not in free:
        return Measure(layer, call, name, tensor.module, tensor.value.shape, None, None)
    inputs, ours = reference.inputs, free[tensor.tap]
    if real_tokens(ours, inputs).shape != real_tokens(tensor.value, inputs).shape:
        return Measure(layer, call, name, tensor.module, ours.shape, math.inf, math.inf)
    difference = np.abs(real_tokens(ours, inputs) - real_tokens(tensor.value, inputs))
    values = real_tokens(tensor.value, inputs)
    size = float(np.sqrt(np.mean(np.square(values))))
    error = float(np.sqrt(np.mean(np.square(difference))))
    heads: tuple[float, ...] = ()
    if name == "attention":
        heads = _per_head(difference, ours.shape)
    return Measure(
        layer, call, name, tensor.module, ours.shape,
        ratio=noise_ratio(ours, tensor, tensor.noise, inputs),
        local_ratio=noise_ratio(teacher_forced[tensor.tap], tensor, tensor.local_noise, inputs),
        max_abs=float(difference.max()),
        relative_rms=error / size if size else error,
        heads=heads,
    )  # fmt: skip


def _per_head(difference: np.ndarray, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Return the largest difference in each head; a row is of a token, or of a batch element."""
    rows = difference.reshape(len(difference), shape[1], -1)
    return tuple(float(h) for h in rows.max(axis=(0, 2)))


def _agreement(ours: np.ndarray, value: np.ndarray, reference: Reference) -> HeadAgreement:
    """Return Kullback-Leibler divergence and equal best classes, over tokens or over rows."""
    classes = value.shape[-1]
    rows = [
        real_tokens(a, reference.inputs).astype("float64").reshape(-1, classes)
        for a in (ours, value)
    ]
    with np.errstate(invalid="ignore"):  # Of infinite logits the divergence is no number.
        mine, theirs = (r - np.logaddexp.reduce(r, axis=-1, keepdims=True) for r in rows)
        kl = np.sum(np.exp(theirs) * (theirs - mine), axis=-1)
    same = np.argmax(mine, axis=-1) == np.argmax(theirs, axis=-1)
    return HeadAgreement(float(np.mean(kl)), float(np.max(kl)), float(np.mean(same)))


# --- findings ----------------------------------------------------------------------------------


def _findings(
    measures: tuple[Measure, ...], reference: Reference, teacher_forced: Values, threshold: float
) -> list[Finding]:
    """Return every wrong place, in the order in which ours computes."""
    tensors = {tensor.tap: tensor for tensor in reference.tensors}
    order = {key: at for at, key in enumerate(teacher_forced)}
    wrong: list[tuple[int, Tap, Measure]] = []
    at = 0
    for measure in measures:
        key = (measure.layer, measure.call, measure.role)
        at = order.get(key, at)  # what is never called comes after what the reference does before
        if measure.ratio is None or (measure.local_ratio or 0) > threshold:
            wrong.append((at, key, measure))
    called = {layer for layer, _, _ in teacher_forced}
    # Of what no layer of the reference gives; of two layers that give one tensor, the inner one.
    given: dict[int, str] = {}
    for tap, value in teacher_forced.items():
        if tap[2] == "output" and tap[0]:
            given.setdefault(id(value), "" if tap in tensors else tap[0])
    findings: dict[Any, Finding] = {}
    for _, key, measure in sorted(wrong, key=lambda w: w[0]):
        layer = _innermost(key, teacher_forced, called)
        if measure.role == "input" or not key[0]:
            layer = given.get(id(teacher_forced.get(key))) or layer
        if measure.role == "output" and (layer, "never called") in findings:
            continue  # a layer that leaves out a part of itself
        # One tensor that several layers read, or a layer's probabilities and what comes of them,
        # are one place.
        place: Any = (layer, id(tensors[key].value))
        if measure.ratio is None:
            place = (layer, "never called")
        elif measure.role == "attention" or _mixed(key, teacher_forced):
            place = (layer, "attention")
        findings.setdefault(place, Finding(layer, measure))
    if not findings and (first := _first_apart(measures, order, threshold)):
        return [Finding(first.layer, first)]
    return list(findings.values())


def _innermost(key: Tap, teacher_forced: Values, called: set[str]) -> str:
    """Return the innermost layer of ours that computes the tensor at `key` from known values."""
    layer, call, role = key
    outer = layer.rpartition("/")[0]
    if key not in teacher_forced:  # the layer around it that should have called it, if called
        while outer and outer not in called:
            layer, outer = outer, outer.rpartition("/")[0]
        return outer or layer
    if role != "input":
        return layer
    # What a layer hands on as it is was made before it.
    while outer and teacher_forced.get((outer, call, "input")) is teacher_forced[key]:
        outer = outer.rpartition("/")[0]
    return outer


def _mixed(key: Tap, teacher_forced: Values) -> bool:
    """Return whether the tensor is what attention makes of queries, keys and values."""
    layer, call, role = key
    outer = layer.rpartition("/")[0]
    return (
        role == "input"
        and (outer, call, "attention") in teacher_forced
        and layer.endswith("/output")
    )


def _first_apart(
    measures: tuple[Measure, ...], order: Mapping[Tap, int], threshold: float
) -> Measure | None:
    """Return the first tensor that diverges on the same inputs though no single place is wrong."""
    apart = [m for m in measures if (m.ratio or 0) > threshold]
    return min(apart, key=lambda m: order[m.layer, m.call, m.role], default=None)
