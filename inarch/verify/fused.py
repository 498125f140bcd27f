"""Linear layers of the reference that are several of ours, such as a fused query, key and value.

Each of ours is compared with its columns of what the fused layer gives. Which columns they are
follows from the weight map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.checkpoints.maps.plan import Plan


@dataclass(frozen=True, eq=False)
class Part:
    """Part of a fused layer that is a layer of ours.

    Args:
        names: the names of our layer's variables.
        columns: int `[n]`, the indices of its outputs among those of the fused layer.
        bias: the tensor that the reference adds to these outputs where the fused layer doesn't
            have its bias, as DeBERTa's `q_bias`; "" for none.
    """

    names: frozenset[str]
    columns: np.ndarray
    bias: str = ""


# By module of the reference, the parts by the names that they are shown under: `c_attn[0]`.
Parts = Mapping[str, Mapping[str, Part]]


def find_parts(
    plan: Plan,
    ours: Mapping[str, frozenset[str]],
    theirs: Mapping[str, frozenset[str]],
    our_shapes: Mapping[str, Shape],
    their_shapes: Mapping[str, Shape],
) -> Parts:
    """Return the parts of every fused linear layer of the reference.

    Args:
        plan: the weight map matched with the reference's tensors.
        ours: the names of our variables that each of our layers holds.
        theirs: the names of our variables that each module holds.
        our_shapes, their_shapes: of the variables and of the tensors.
    """
    found = {}
    elsewhere = {r.ours[0]: r.theirs[0] for r in plan.rules if len(r.ours) == len(r.theirs) == 1}
    for rule in plan.rules:
        module = rule.theirs[0].rpartition(".")[0]
        layers = [name.removesuffix("/kernel") for name in rule.ours if name.endswith("/kernel")]
        is_fused = len(rule.theirs) == 1 and 1 < len(layers) == len(rule.ours)
        all_names, held = frozenset().union(*(ours[p] for p in layers)), theirs.get(module)
        if not is_fused or held is None or not held <= all_names:
            continue
        biases = {name: elsewhere.get(name) for name in all_names - held}
        if not all(tensor and name.endswith("/bias") for name, tensor in biases.items()):
            continue
        columns = _columns(rule, their_shapes[rule.theirs[0]], [our_shapes[n] for n in rule.ours])
        found[module] = {
            f"{module}[{number}]": Part(ours[path], own, biases.get(f"{path}/bias") or "")
            for number, (path, own) in enumerate(zip(layers, columns, strict=False))
        }
    return found


def _columns(rule: Rule, fused: Shape, kernels: Sequence[Shape]) -> list[np.ndarray]:
    """Return which outputs of the fused kernel each of our kernels `[in, out]` has; [] for none."""
    if len(fused) != 2 or any(len(shape) != 2 for shape in kernels):
        return []
    for axis, index in enumerate(np.indices(fused)):
        (*parts,) = Pattern.parse(rule.pattern).load([index], [fused], kernels)
        is_output = fused[axis] == sum(shape[1] for shape in kernels)
        if is_output and all((part == part[:1]).all() for part in parts):
            return [part[0] for part in parts]
    return []
