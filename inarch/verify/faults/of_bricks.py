"""Layers that are wrong as they declare it themselves, and Keras's own."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import keras
import numpy as np

from inarch.layers.alternatives import shown_attribute
from inarch.verify import trace
from inarch.verify.doctor.bricks import alternatives_of, bricks, replay_changed
from inarch.verify.faults.fault import NEVER_CALLED, Fault, Subject, Trial, role

Calls = dict[tuple[str, int], trace.Call]
# Path of the weighted layer around a brick, the brick, and its alternatives.
Declared = tuple[str, Any, Any]

# A change of a layer's output that counts, relative to its largest value; rounding makes 1e-7.
LEAST = 3e-6
LINEAR = keras.activations.linear


def trials(subject: Subject) -> list[Trial]:
    """Return the faults of a model's layers, in each way that one of them declares."""
    calls: dict[tuple[str, int], trace.Call] = {}
    trace.run(subject.model, subject.reference.inputs, calls=calls)
    found = []
    for kind, layers in _by_class(subject).items():
        for turn, phrase in enumerate(dict.fromkeys(p for _, _, own in layers for p in own)):
            name = f"{kind.__name__}: {phrase}"
            # Layers of Keras are everywhere; each alternative is tried on those of one role.
            only = turn if kind.__module__.startswith("keras") else None
            make = partial(_wrong_layers, subject, calls, layers, phrase, only, name)
            found.append(subject.trial(name, make))
            if re.search(r"\bbias\b", phrase) and len(layers) > 1:
                name += ", but for the first layer"
                make = partial(_wrong_layers, subject, calls, layers, phrase, None, name, True)
                found.append(subject.trial(name, make))
    return found


def _wrong_layers(
    subject: Subject,
    calls: Calls,
    layers: list[Declared],
    phrase: str,
    turn: int | None,
    name: str,
    skip_first: bool = False,
) -> Fault:
    """Return the fault of all layers that an alternative changes; without places if there is none.

    Args:
        turn: number of the role whose layers alone are changed; None for all.
    """
    # Layers of one role may differ in what they declare: some have a window, others none.
    ways = {(role(path), *declared): (path, brick, declared[phrase])
            for path, brick, declared in layers[::-1] if phrase in declared}  # fmt: skip
    shows = [way for way, one in ways.items() if _effect(subject, calls, *one) > LEAST]
    if turn is not None and shows:
        roles = list(dict.fromkeys(way[0] for way in shows))
        shows = [way for way in shows if way[0] == roles[turn % len(roles)]]
    chosen = [
        (path, brick, declared[phrase])
        for path, brick, declared in layers
        if (role(path), *declared) in shows
    ]
    return _fault(subject, name, phrase, chosen[skip_first:])


def _by_class(subject: Subject) -> dict[type, list[Declared]]:
    """Return the bricks of each class and their alternatives, by the weighted layer around."""
    holders: dict[int, tuple[str, keras.layers.Layer]] = {}
    for path in sorted(subject.own, key=lambda path: (-path.count("/"), path)):
        for brick in bricks(subject.layers[path]).values():
            # A dense layer that has no activation is wrong in its weights.
            if not isinstance(brick, keras.layers.Dense) or brick.activation is not LINEAR:
                holders.setdefault(id(brick), (path, brick))
    found: dict[type, list[Declared]] = {}
    for path, brick in sorted(holders.values(), key=lambda held: held[0]):
        # One class, whether Keras's own or what blocks make of it.
        kind = keras.layers.Dense if isinstance(brick, keras.layers.Dense) else type(brick)
        found.setdefault(kind, []).append((path, brick, alternatives_of(brick)))
    return found


def _fault(subject: Subject, name: str, phrase: str, chosen: list[tuple[str, Any, Any]]) -> Fault:
    plain = [
        f"ours: {attribute}={shown}"
        for _, _, attributes in chosen[:1]
        for attribute, value in attributes.items()
        if (shown := shown_attribute(value))
    ]
    diagnosis = "|".join(re.escape(text) for text in (phrase, *plain))
    if "in place of" in phrase:
        diagnosis += f"|{NEVER_CALLED}"
    places = [path for path, _, _ in chosen]
    return subject.fault(
        name, places, diagnosis, *((brick, changes) for _, brick, changes in chosen)
    )


def _effect(subject: Subject, calls: Calls, path: str, brick: Any, attributes: Any) -> float:
    """Return how much an alternative changes what a layer gives, relative to the largest value.

    No mask or bias may be there to be changed, an epsilon may be too small to count, and inputs
    may be too short for a distance.
    """
    if (path, 0) not in calls:
        return 0.0
    layer, call = subject.layers[path], calls[path, 0]
    right = trace.replay(layer, path, call, {})
    wrong = replay_changed(brick, attributes, layer, path, call, {})
    shared = wrong.keys() & right.keys()
    return max((_distance(wrong[tap], right[tap]) for tap in shared), default=0.0)


def _distance(wrong: np.ndarray, right: np.ndarray) -> float:
    """Return the largest difference over the largest value; infinity for another shape or NaN."""
    if wrong.shape != right.shape or not np.isfinite(wrong).all():
        return float("inf")
    return float(np.abs(wrong - right).max() / np.abs(right).max())
