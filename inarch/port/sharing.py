"""Layers of a reference that share their weights: which stored one each of them is.

A module that is called several times in one forward pass shows it, whatever its architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.port.known_arguments import LAYERS
from inarch.port.patterns import index_names
from inarch.port.tiny_inputs import run_ids

# Numbers of layers and of stored ones that are tried. In the last, the formula that divides in
# floating point has another result than in whole numbers.
TRIED = ((1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (5, 2), (5, 3), (6, 4), (18, 14))
# Ways to choose the stored layer of layer `i`, as code of ours, the likeliest first.
WAYS: Mapping[str, Callable[[int, int, int], int]] = {
    "i * {stored} // {layers}": lambda i, layers, stored: i * stored // layers,
    "int(i / ({layers} / {stored}))": lambda i, layers, stored: int(i / (layers / stored)),
    "i % {stored}": lambda i, layers, stored: i % stored,
}


@dataclass(frozen=True)
class Sharing:
    """Sharing of weights among the layers of a stack.

    Attributes:
        stack: name of the stack, up to its number, with an index in its place.
        field: of the config, the number of layers that are stored.
        way: the stored layer of layer `i`, as code with the names `layers` and `stored`.
    """

    stack: str
    field: str
    way: str


def find_sharing(model: Any, config: Any, ids: Any) -> Sharing | None:
    """Return how layers share weights; None where each layer is called once, or nothing fits.

    Args:
        model: of transformers, without a head, in inference.
        config: its config.
        ids: token ids to run it on.
    """
    fields = config.to_dict()
    layers = next((name for name in LAYERS if name in fields), None)
    stack, order = _called_layers(model, ids)
    if layers is None or len(order) != fields[layers] or len({*order}) == len(order):
        return None
    counts = [n for n, v in fields.items() if type(v) is int and v == len({*order}) and n != layers]
    for field in counts:
        ways = dict(WAYS)
        for count, stored in TRIED:
            found = _order_with(model, config, ids, {layers: count, field: stored})
            for code, way in [*ways.items()]:
                if found != [way(i, count, stored) for i in range(count)]:
                    del ways[code]
            if not ways:
                break
        if ways:
            return Sharing(stack, field, next(iter(ways)))
    return None


def _order_with(model: Any, config: Any, ids: Any, changes: Mapping[str, int]) -> list[int]:
    """Return the order in which a model with other sizes calls its layers; empty if none can be."""
    with contextlib.suppress(Exception):  # sizes that its code refuses
        changed = type(config)(**{**config.to_dict(), **changes})
        return _called_layers(type(model)(changed).eval(), ids)[1]
    return []


def _called_layers(model: Any, ids: Any) -> tuple[str, list[int]]:
    """Return the stack whose layers are called, and the number of each in the order of calls.

    Empty where the modules of a layer aren't all called equally often, or where there are several
    stacks: then there is no order of layers.
    """
    calls: dict[str, list[int]] = {}
    handles = []
    for name, module in model.named_modules():
        number = next((part for part in name.split(".") if part.isdigit()), None)
        if number is None or not any(True for _ in module.parameters(recurse=False)):
            continue
        order = calls.setdefault(index_names(name), [])
        handles.append(
            module.register_forward_pre_hook(
                lambda *_, order=order, number=int(number): order.append(number)
            )
        )
    try:
        run_ids(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    orders = [*calls.values()]
    stacks = {name.partition("{i}")[0] + "{i}" for name in calls}
    if len(stacks) != 1 or any(order != orders[0] for order in orders):
        return "", []
    return stacks.pop(), orders[0]
