"""Layers that are wrong as they declare it themselves, and Keras's own."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from inarch.verify import trace
from inarch.verify.doctor.bricks import alternatives_of, bricks, replay_changed
from inarch.verify.doctor.wiring import ACTIVATIONS

from .fault import NEVER_CALLED, Fault, Subject, role

# The least relative change that counts; rounding alone makes 1e-7 or so.
LEAST = 3e-6


def faults(subject: Subject) -> list[Fault]:
    """Return the faults of a model's layers; one without places changes nothing there."""
    calls: dict[tuple[str, int], trace.Call] = {}
    trace.run(subject.model, subject.reference.inputs, calls=calls)
    found = []
    for kind, layers in _by_class(subject).items():
        # Layers of one role may differ in what they declare: some have a window, others none.
        ways = {(role(path), *declared): (path, brick, declared)
                for path, brick, declared in layers[::-1]}  # fmt: skip
        matter = {way: _matter(subject.layers[one[0]], calls, *one) for way, one in ways.items()}
        roles = list(dict.fromkeys(way[0] for way in ways))
        for turn, phrase in enumerate(dict.fromkeys(p for _, _, own in layers for p in own)):
            # Norms of Keras are everywhere; each alternative is tried on those of one role.
            only = roles[turn % len(roles)] if kind.__module__.startswith("keras") else None
            chosen = [
                (path, brick, declared[phrase])
                for path, brick, declared in layers
                if only in (None, role(path)) and phrase in matter[role(path), *declared]
            ]
            found.append(_fault(subject, f"{kind.__name__}: {phrase}", phrase, chosen))
            if re.search(r"\bbias\b", phrase) and len(layers) > 1:
                name = f"{kind.__name__}: {phrase}, but for the first layer"
                found.append(_fault(subject, name, phrase, chosen[1:]))
    return [*found, *_activations(subject)]


def _by_class(subject: Subject) -> dict[type, list[tuple[str, Any, Any]]]:
    """Return the bricks of each class and their alternatives, by the weighted layer around."""
    holders: dict[int, tuple[str, keras.layers.Layer]] = {}
    for path in sorted(subject.own, key=lambda path: (-path.count("/"), path)):
        for brick in bricks(subject.layers[path]).values():
            holders.setdefault(id(brick), (path, brick))
    found: dict[type, list[tuple[str, Any, Any]]] = {}
    for path, brick in sorted(holders.values(), key=lambda held: held[0]):
        found.setdefault(type(brick), []).append((path, brick, alternatives_of(brick)))
    return found


def _fault(subject: Subject, name: str, phrase: str, chosen: list[tuple[str, Any, Any]]) -> Fault:
    plain = [
        f"ours: {attribute}={value!r}"
        for _, _, attributes in chosen[:1]
        for attribute, value in attributes.items()
        if isinstance(value, int | float | str)
    ]
    diagnosis = "|".join(re.escape(text) for text in (phrase, *plain))
    if "in place of" in phrase:
        diagnosis += f"|{NEVER_CALLED}"
    places = [path for path, _, _ in chosen]
    return subject.fault(
        name, places, diagnosis, *((brick, changes) for _, brick, changes in chosen)
    )


def _matter(layer: Any, calls: Any, path: str, brick: Any, declared: Any) -> set[str]:
    """Return the alternatives by which a layer gives something else for its inputs.

    No mask or bias may be there to be changed, an epsilon may be too small to count, and inputs
    may be too short for a distance.
    """
    if (path, 0) not in calls:
        return set()
    right = trace.replay(layer, path, calls[path, 0], {})
    found = set()
    for phrase, attributes in declared.items():
        if "epsilon" in attributes:
            wrong = replay_changed(brick, attributes, layer, path, calls[path, 0], {})
            differs = abs(attributes["epsilon"] - brick.epsilon) > 5e-6
            is_other = differs and any(_distance(wrong[tap], right[tap]) > LEAST for tap in wrong)
        elif re.search("mask|bias|heads|distance|bucket", phrase):
            wrong = replay_changed(brick, attributes, layer, path, calls[path, 0], {})
            is_other = any(not np.array_equal(wrong[tap], right[tap]) for tap in wrong)
        else:
            is_other = True
        found |= {phrase} if is_other else set()
    return found


def _distance(wrong: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(wrong - right).max() / np.abs(right).max())


def _activations(subject: Subject) -> list[Fault]:
    """Return other activations, each of them tried on the dense layers of one role."""
    linear = keras.activations.linear
    groups = [
        paths
        for paths in subject.roles(keras.layers.Dense).values()
        if subject.layers[paths[0]].activation is not linear
    ]
    x, found = np.linspace(-3, 3, 24, dtype="float32").reshape(2, 12), []
    for turn, (name, function) in enumerate(ACTIVATIONS.items() if groups else ()):
        paths = groups[turn % len(groups)]
        if not np.allclose(function(x), subject.layers[paths[0]].activation(x)):
            changes = [(subject.layers[path], {"activation": function}) for path in paths]
            places = [subject.shown(path) for path in paths]
            found.append(
                subject.fault(f"{role(paths[0])}: {name}", places, re.escape(name), *changes)
            )
    return found
