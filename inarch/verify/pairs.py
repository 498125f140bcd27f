"""Pairs of the reference's modules and our layers, from the weight map alone.

Two are a pair when the same set of our variables lives under both. Nothing else is required of a
contributor: no names, no annotations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.maps.plan import Plan
from inarch.models.variables import named_variables
from inarch.verify.fused import Parts
from inarch.verify.hooks import ReferenceTap
from inarch.verify.trace import Tap, gives_attention, layers_of

Names = frozenset[str]

# How the names of variables end that are tables.
TABLE = "/embeddings"

# Our names of a model's outputs, and theirs.
OUTPUTS = {
    "sequence_output": ("last_hidden_state",),
    "pooled_output": ("pooler_output",),
    "encoder_sequence_output": ("encoder_last_hidden_state",),
    "decoder_sequence_output": ("last_hidden_state",),
    "output": ("logits", "last_hidden_state"),
}


def held_by_ours(model: keras.Model) -> dict[str, Names]:
    """Return the names of the variables under each of our layers that may have a counterpart."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return {
        path: frozenset(names[id(v)] for v in layer.weights if id(v) in names)
        for path, layer in layers_of(model).items()
        if getattr(layer, "pairs_with_module", True)
    }


def held_by_theirs(modules: Mapping[str, Any], tensors: list[str], plan: Plan) -> dict[str, Names]:
    """Return the names of our variables whose values all live under each of their modules.

    Args:
        modules: their modules by name.
        tensors: the names of their tensors, tied copies included.
    """
    below = {
        name: {plan.ties.get(t, t) for t in tensors if t.startswith(f"{name}.")} for name in modules
    }
    held: dict[str, set[str]] = defaultdict(set)
    for rule in plan.rules:
        for name, mine in below.items():
            if mine.issuperset(rule.theirs):
                held[name].update(rule.ours)
    return {name: frozenset(held[name]) for name in modules}


def pair(ours: Mapping[str, Names], theirs: Mapping[str, Names]) -> dict[str, list[list[str]]]:
    """For each of our layers the nests of their modules that hold the same variables.

    A nest is a module and those within it that hold no less, such as a module around a single
    linear layer; outermost first. Our innermost layer of several that hold the same gets the
    innermost module of a nest, any other one the nest.
    """
    by_names: dict[Names, list[str]] = defaultdict(list)
    for module, names in theirs.items():
        if names and module:
            by_names[names].append(module)
    # A module that looks up a table too, such as the one whose bias other layers share.
    exact = {*by_names}
    for module, names in theirs.items():
        rest = frozenset(name for name in names if not name.endswith(TABLE))
        if module and rest and rest not in exact:
            by_names[rest].append(module)
    pairs: dict[str, list[list[str]]] = {}
    for path, names in ours.items():
        nests: list[list[str]] = []
        for module in sorted(by_names.get(names, ()), key=lambda m: m.count(".")):
            around = next((n for n in nests if module.startswith(f"{n[0]}.")), None)
            if around is None:
                nests.append([module])
            else:
                around.append(module)
        outer = path.rpartition("/")[0]
        if outer in pairs and ours[outer] == names:
            nests = [nest[-1:] for nest in nests]
        if nests:
            pairs[path] = nests
    return pairs


def pair_attention(
    model: keras.Model, ours: Mapping[str, Names], theirs: Mapping[str, Names], giving: list[str]
) -> dict[str, str]:
    """For each of our layers that computes attention, the module that gives its probabilities.

    It holds some of our layer's variables and no other, queries and keys being enough.

    Args:
        giving: their modules that return attention probabilities.
    """
    found = {}
    for path, layer in layers_of(model).items():
        if gives_attention(layer):
            inside = [m for m in giving if theirs[m] and theirs[m] <= ours[path]]
            if inside:
                found[path] = max(inside, key=lambda m: len(theirs[m]))
    return found


# --- places ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TapPair:
    """A place that both sides have, and what the reference has there in float64, in our axes."""

    tap: Tap
    reference_tap: ReferenceTap
    value: np.ndarray

    @property
    def module(self) -> str:
        """The reference's module, or for the model itself the name of its output."""
        return self.reference_tap[0] or self.reference_tap[2]


def find_tap_pairs(
    model: keras.Model,
    ours: Mapping[Tap, np.ndarray],
    reference: Any,
    plan: Plan,
    calls: Mapping[ReferenceTap, np.ndarray],
    parts: Parts,
) -> list[TapPair]:
    """Return the places where both sides can be compared, in the order of the reference.

    Args:
        model: ours, and in `ours` what passes at its layers.
        reference: theirs, and in `calls` what passes at its modules.
        plan: the weight map matched with its tensors.
        parts: those of its fused layers.
    """
    modules = dict(reference.named_modules())
    mine = held_by_ours(model)
    theirs = held_by_theirs(modules, list(reference.state_dict()), plan)
    theirs |= {name: part.names for each in parts.values() for name, part in each.items()}
    wanted: dict[Tap, list[ReferenceTap]] = {}
    for path, nests in pair(mine, theirs).items():
        numbers = sorted({number for layer, number, _ in ours if layer == path})
        for number, nest, call in _calls(nests, numbers, calls):
            for key, reference_taps in _candidates(path, number, nest, call, ours, calls).items():
                if key in ours or not numbers:  # a layer that is never called has all of them
                    wanted[key] = reference_taps
    giving = [name for name, number, what in calls if what == "attention" and number == 0]
    for path, module in pair_attention(model, mine, theirs, giving).items():
        for number in sorted({n for layer, n, _ in ours if layer == path}):
            wanted[path, number, "attention"] = [(module, number, "attention")]
    for path, _, name in ours:
        if not path:
            wanted["", 0, name] = [("", 0, theirs_name) for theirs_name in OUTPUTS.get(name, ())]
    order = {reference_tap: at for at, reference_tap in enumerate(calls)}
    chosen = {
        key: reference_tap
        for key, reference_taps in wanted.items()
        if (
            reference_tap := next(
                (s for s in reference_taps if _fits(ours.get(key), calls.get(s))), None
            )
        )
    }
    places = [
        TapPair(key, reference_tap, _in_our_axes(ours.get(key), calls[reference_tap]))
        for key, reference_tap in chosen.items()
    ]
    return sorted(places, key=lambda place: order[place.reference_tap])


def _calls(
    nests: list[list[str]], numbers: list[int], calls: Mapping[ReferenceTap, np.ndarray]
) -> list[tuple[int, list[str], int]]:
    """Pair our k-th call of a layer with the k-th of any nest that holds its variables."""
    # A module that hands on something else than a tensor, such as a list of layers, shows nothing.
    showing = {name for name, _, what in calls if what == "output"}
    # One that adds a residual to what the one within gives, such as MegatronBERT's `output` around
    # `output.dense`, shows the sum, which is no layer's of ours.
    adding = {name for name, _, what in calls if what == "residual"}
    shown = [
        [m for m in nest if m in showing and (m not in adding or m == nest[-1])] for nest in nests
    ]
    outer = {nest[0]: nest for nest in shown if nest}
    made = [(n, call) for n, call, what in calls if n in outer and what == "output"]
    # A layer of ours that is never called still has a first call there.
    return [
        (number, outer[name], call)
        for number, (name, call) in zip(numbers or [0], made, strict=False)
    ]


def _candidates(
    path: str,
    number: int,
    nest: list[str],
    call: int,
    ours: Mapping[Tap, np.ndarray],
    calls: Mapping[ReferenceTap, np.ndarray],
) -> dict[Tap, list[ReferenceTap]]:
    """Return the taps of a nest of modules that each tap of our layer may be, best first."""
    outer, inner = nest[0], nest[-1]
    inputs: list[ReferenceTap] = [(outer, call, "input"), (inner, call, "input")]
    single = not any(layer.startswith(f"{path}/") for layer, _, _ in ours)
    if single and calls.get(inputs[0]) is not calls.get(inputs[1]):
        # What the module around computes before its one layer is computed before ours.
        inputs.reverse()
    found = {(path, number, "input"): inputs}
    last: list[ReferenceTap] = [(outer, call, "output")]
    linear = ours.get((path, number, "linear"))
    if linear is not None and linear is not ours[path, number, "output"]:
        # Our layer ends with an activation. So does a module around the linear one, or one
        # without weights comes after it.
        found[path, number, "linear"] = [(inner, call, "output")]
        last = [(outer, call, "next"), *(last if outer != inner else [])]
    found[path, number, "output"] = last
    return found


def _fits(ours: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    """Return whether two tensors have the same shape, apart from a batch axis of one."""
    if theirs is None:
        return False
    if ours is None:
        return True
    shape = _in_our_axes(ours, theirs).shape
    return shape in (ours.shape, (1, *ours.shape[1:]))


def _in_our_axes(ours: np.ndarray | None, theirs: np.ndarray) -> np.ndarray:
    """Return a tensor of the reference in the order of our axes.

    A table that is looked up for pairs of tokens gives `[T, S, heads]`, ours `[1, heads, T, S]`;
    a norm of queries may be of `[batch, heads, T, d]`, or before the split into heads of
    `[batch, T, heads * d]`, ours is of `[batch, T, heads, d]`.
    """
    if ours is None or ours.ndim != 4 or ours.shape == theirs.shape:
        return theirs
    if theirs.ndim == 3 and theirs.shape[1:] == (ours.shape[1], prod(ours.shape[2:])):
        return theirs.reshape(-1, *ours.shape[1:])
    if theirs.ndim == 3:
        return np.ascontiguousarray(np.moveaxis(theirs, -1, 0)[None])
    swapped = np.swapaxes(theirs, 1, 2) if theirs.ndim == 4 else theirs
    return np.ascontiguousarray(swapped) if swapped.shape == ours.shape else theirs
