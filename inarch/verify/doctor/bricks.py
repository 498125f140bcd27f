"""Layers that are wrong in one of the ways that they declare (`inarch.layers.alternatives`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.keras_private import sublayers
from inarch.layers.alternatives import (
    EPSILONS,
    Alternatives,
    activation_alternatives,
    changed,
    shown_attribute,
)
from inarch.layers.layer import Layer
from inarch.verify import trace
from inarch.verify.doctor.evidence import Evidence
from inarch.verify.trace import Tap

ops: Any = keras.ops  # Typed, every result may be None.

KERAS_BRICKS = (keras.layers.LayerNormalization, keras.layers.Dense)


def is_brick(layer: keras.layers.Layer) -> bool:
    """Return whether a layer has alternatives."""
    return hasattr(layer, "alternatives") or isinstance(layer, KERAS_BRICKS)


def alternatives_of(layer: keras.layers.Layer) -> Alternatives:
    """Return the alternatives of a layer: its own, or those of a layer of Keras."""
    if hasattr(layer, "alternatives"):
        return layer.alternatives()
    is_dense = isinstance(layer, keras.layers.Dense)
    return activation_alternatives(layer) if is_dense else _norm_alternatives(layer)


def _norm_alternatives(layer: Any) -> Alternatives:
    def norm(x: Any, center: Any, variance: Any) -> Any:
        x = (x - center) / ops.sqrt(variance + layer.epsilon)
        x = x if layer.gamma is None else x * layer.gamma
        return x if layer.beta is None else x + layer.beta

    mean, var = (
        lambda x, function=function: function(x, axis=-1, keepdims=True)
        for function in (ops.mean, ops.var)
    )
    return {
        **{
            f"an epsilon of {value:g}": {"epsilon": value}
            for value in EPSILONS
            if value != layer.epsilon
        },
        "the root mean square for a norm": {"call": lambda x: norm(x, 0.0, mean(ops.square(x)))},
        "the unbiased variance (n - 1)": {
            "call": lambda x: norm(x, mean(x), var(x) * x.shape[-1] / (x.shape[-1] - 1))
        },
        "centering without scaling": {"call": lambda x: norm(x, mean(x), 1 - layer.epsilon)},
        "no normalization": {"call": lambda x: x},
    }


def replay_changed(
    brick: keras.layers.Layer,
    attributes: Mapping[str, Any],
    layer: keras.layers.Layer,
    path: str,
    call: trace.Call,
    *arguments: Any,
) -> dict[Tap, np.ndarray]:
    """Replay a layer as `trace.replay` does, while a brick in it is changed.

    Nothing is returned where a bias for each head, or a layer of positions that refuses the width
    of a head, rules out another number of heads.
    """
    heads = attributes.get("num_heads")
    if heads is not None and any(bias.shape[1] not in (1, heads) for bias in _biases(call)):
        return {}
    with changed(brick, attributes):
        try:
            return trace.replay(layer, path, call, *arguments)
        except InputError:
            return {}


def _biases(call: trace.Call) -> list[Any]:
    """Return the biases on attention scores among the arguments of a call."""
    contexts = [call.kwargs, *(a for a in call.args if isinstance(a, Mapping))]
    contexts += [a for a in call.kwargs.values() if isinstance(a, Mapping)]
    found = (context.get("attention_bias") for context in contexts)
    return [bias for bias in found if bias is not None]


def bricks(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return a layer and those within it that have alternatives, by their paths from it."""
    found = {"": layer}

    def walk(parent: keras.layers.Layer, path: str) -> None:
        for inner in sublayers(parent):
            name = f"{path}/{inner.name}"
            found.setdefault(name, inner)
            walk(inner, name)

    walk(layer, "")
    return {path: inner for path, inner in found.items() if is_brick(inner)}


# --- diagnosis ---------------------------------------------------------------------------------


def diagnose(evidence: Evidence) -> str | None:
    """Say which alternatives the two sides compute, from the reference's inputs of a layer."""
    layer = evidence.layers.get(evidence.finding.layer)
    is_ours = isinstance(layer, Layer | keras.layers.LayerNormalization) or hasattr(
        layer, "alternatives"
    )
    return _diagnose(evidence, layer) if is_ours else None


def diagnose_dense(evidence: Evidence) -> str | None:
    """Say which activations the two sides compute, of a dense layer whose weights are right."""
    layer = evidence.layers.get(evidence.finding.layer)
    return _diagnose(evidence, layer) if isinstance(layer, keras.layers.Dense) else None


def _diagnose(evidence: Evidence, layer: Any) -> str | None:
    tap = _tap_within(evidence)
    theirs = ours = nearly = None
    for phrase, values in _replays(evidence, layer, tap):
        value = values.get(tap)
        if value is None:
            continue
        if theirs is None and evidence.same(value, evidence.theirs):
            theirs = phrase
        if ours is None and evidence.same(value, evidence.ours):
            nearly = phrase if nearly is None else nearly
            ours = phrase if _is_ours(evidence, values) else None
        if theirs is not None and ours is not None:
            break
    ours = nearly if ours is None else ours
    if theirs is None or ours is None or ours == theirs:
        return None
    evidence.memory[:] = [phrase for phrase in (theirs, ours) if phrase]
    return _sentence(type(layer).__name__, ours, theirs)


def _replays(
    evidence: Evidence, layer: keras.layers.Layer, tap: Tap
) -> Iterator[tuple[str, dict[Tap, np.ndarray]]]:
    """Yield what a copy of the layer gives as it is, and with each alternative."""
    path, is_attention = evidence.finding.layer, tap[2] == "attention"
    call = evidence.calls.get((path, tap[1])) or evidence.calls[path, 0]
    if isinstance(layer, keras.layers.Dense):  # whose config may have no name for its function
        copy = keras.layers.Dense(
            layer.units, layer.activation, layer.use_bias, dtype=layer.dtype_policy
        )
    else:
        copy = type(layer).from_config(layer.get_config())
    copy(*call.args, **call.kwargs)
    copy.set_weights(layer.get_weights())
    known = evidence.teacher_values
    yield "", trace.replay(copy, path, call, known, is_attention)
    tried = [
        (phrase + _of_ours(brick, attributes), brick, attributes)
        for name, brick in bricks(copy).items()
        if not (name and _is_known(evidence, f"{path}{name}"))
        for phrase, attributes in alternatives_of(brick).items()
    ]
    # What explained the finding before is tried first.
    for phrase, brick, attributes in sorted(tried, key=lambda one: one[0] not in evidence.memory):
        yield phrase, replay_changed(brick, attributes, copy, path, call, known, is_attention)


def _tap_within(evidence: Evidence) -> Tap:
    """Return the tap of a finding in its layer: the layer's output, where another one shows it."""
    path, values = evidence.finding.layer, evidence.teacher_forced
    if f"{evidence.tap[0]}/".startswith(f"{path}/"):
        return evidence.tap
    outputs = [tap for tap in values if tap[0] == path and tap[2] == "output"]
    return next((tap for tap in outputs if values[tap] is values[evidence.tap]), evidence.tap)


def _is_ours(evidence: Evidence, values: Mapping[Tap, np.ndarray]) -> bool:
    """Return whether a copy gives what ours gives everywhere in the layer."""
    return all(
        evidence.same(value, evidence.teacher_forced[tap])
        for tap, value in values.items()
        if tap in evidence.teacher_forced
    )


def _is_known(evidence: Evidence, path: str) -> bool:
    """Return whether what a layer within the one at hand gives is the reference's."""
    inner = [name for name in evidence.layers if name == path or name.startswith(f"{path}/")]
    ends = {tap[0] for tap in evidence.tensors if tap[2] == "output"}
    return bool(inner) and not ends.isdisjoint({path, inner[-1]})


def _of_ours(layer: keras.layers.Layer, attributes: Mapping[str, Any]) -> str:
    """Return the values that ours has of attributes that are numbers or names."""
    shown = {n: shown_attribute(getattr(layer, n)) for n in attributes if n[0] != "_"}
    return "".join(f" (ours: {name}={value})" for name, value in shown.items() if value)


def _sentence(name: str, ours: str, theirs: str) -> str:
    if not theirs:
        return f"{name}: ours has {ours}; without that the reference's values are restored"
    also = f"ours has {ours}, " if ours else ""
    return f"{name}: {also}the reference has {theirs}, which restores its values"
