"""Values through a weight map: load into variables, export from them.

Nothing here depends on what a variable is: `put(name, array)` and `get(name)` are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inarch.checkpoints.formats.weights import DTYPES, TensorInfo, Weights
from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import Plan
from inarch.errors import WeightMapError

Shape = tuple[int, ...]


def load(
    plan: Plan,
    weights: Weights,
    ours: Mapping[str, Shape],
    put: Callable[[str, np.ndarray], None],
    progress: Callable[[int], Any] = lambda nbytes: None,
) -> dict[str, np.ndarray]:
    """Give every variable its value, the largest first; return the tensors that pass through.

    The peak of memory is the weights and one tensor: the largest is copied while nothing else
    is there yet.

    Raises:
        WeightMapError: the two copies of a tied tensor differ, or a derived tensor is not what
            it is derived to be; loading either would change the numbers.
    """
    header = weights.header
    _check_copies(plan, weights)

    def nbytes(rule: Rule) -> int:
        return sum(header[name].nbytes for name in rule.theirs)

    for rule in sorted(plan.rules, key=nbytes, reverse=True):
        theirs = [header[name].shape for name in rule.theirs]
        mine = [ours[name] for name in rule.ours]
        arrays = [weights.read(name) for name in rule.theirs]
        for name, array in zip(
            rule.ours, Pattern.parse(rule.pattern).load(arrays, theirs, mine), strict=True
        ):
            put(name, array)
        for name in rule.theirs:
            weights.release(name)
        progress(nbytes(rule))
    for name in plan.zeros:
        put(name, np.zeros(ours[name], np.float32))
    return {name: np.array(weights.read(name)) for name in plan.passthrough}


# The user's way to load output and input embeddings as two.
UNTIE = "set 'tie_word_embeddings': false in config.json"


def _check_copies(plan: Plan, weights: Weights) -> None:
    for alias, name in plan.ties.items():
        check_copy(weights, alias, name)
    for name, entry in plan.derived.items():
        stored = weights.read(name)
        try:
            made = entry.make(stored.shape)
            # Numbers that aren't whole are rounded to the precision of the file.
            is_rounded = made.dtype.kind == "f" and stored.dtype.itemsize < made.dtype.itemsize
            same = np.array_equal(stored, made.astype(stored.dtype) if is_rounded else made)
        except (IndexError, ValueError):  # a shape that none can be made for
            same = False
        if not same:
            raise WeightMapError(f"{name!r} is not the {entry.reason} that the graph computes")


def check_copy(weights: Weights, alias: str, name: str, untie: str = UNTIE) -> None:
    """Check that two copies of a tensor are equal, byte for byte.

    Args:
        untie: what makes them two in such a checkpoint; "" where nothing does.

    Raises:
        WeightMapError: they aren't.
    """
    one, two = weights.read(alias), weights.read(name)
    same = one.shape == two.shape and one.dtype == two.dtype and _equal(one, two)
    weights.release(alias)
    weights.release(name)
    if not same:
        raise WeightMapError(
            f"{alias!r} and {name!r} are tied, and the file holds two different tensors. "
            + (f"If they were trained apart, {untie}" if untie else "Fetch it again")
        )


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    return np.array_equal(one.reshape(-1).view(np.uint8), two.reshape(-1).view(np.uint8))


def exporter(
    plan: Plan,
    header: Mapping[str, TensorInfo],
    ours: Mapping[str, Shape],
    get: Callable[[str], np.ndarray],
    passthrough: Mapping[str, np.ndarray],
) -> Callable[[str], np.ndarray]:
    """Return a function that gives the values of any tensor of `header`, in its dtype there."""
    rules = plan.rule_of()
    siblings: dict[str, np.ndarray] = {}  # the other tensors of a rule that joins several

    def mapped(name: str) -> np.ndarray:
        if name in siblings:
            return siblings.pop(name)
        rule = rules[name]
        theirs = [header[n].shape for n in rule.theirs]
        mine = [ours[n] for n in rule.ours]
        pattern = Pattern.parse(rule.pattern)
        arrays = pattern.export([get(n) for n in rule.ours], theirs, mine)
        siblings.update(zip(rule.theirs, arrays, strict=True))
        return siblings.pop(name)

    def value(name: str) -> np.ndarray:
        name = plan.ties.get(name, name)
        if name in plan.passthrough:
            return passthrough[name]
        dtype = DTYPES[header[name].dtype]
        if name in plan.derived:
            return plan.derived[name].make(header[name].shape).astype(dtype)
        return mapped(name).astype(dtype, copy=False)

    return value
