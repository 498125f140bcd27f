"""Which of their modules is which of our layers, from the weight map alone.

Two are a pair when the same set of our variables lives under both. Nothing else is asked of a
contributor: no names, no annotations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import keras

from inarch.checkpoints.source import Plan
from inarch.models.variables import named_variables
from inarch.verify.trace import gives_attention, layers_of

Names = frozenset[str]


def held_by_ours(model: keras.Model) -> dict[str, Names]:
    """The names of the variables under each of our layers."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return {
        path: frozenset(names[id(v)] for v in layer.weights if id(v) in names)
        for path, layer in layers_of(model).items()
    }


def held_by_theirs(modules: Mapping[str, Any], tensors: list[str], plan: Plan) -> dict[str, Names]:
    """The names of our variables whose values all live under each of their modules.

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
