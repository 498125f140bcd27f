"""Fields of a config that say which layers have experts, by tiny models with other values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.json_fields import is_number
from inarch.port.known_arguments import LAYERS
from inarch.port.layer_fields import MANY, STEPS

# Layers of a tiny model of which some have experts: as many as let each kind have several.
MIXED = 4
# Numbers of layers that are left out of those with experts.
LEFT_OUT = [1, 3]
_EXPERT = re.compile(r"(?:^|\.)(\d+)\.(?:.*\.)?experts\b")
# By names alone: numbers of layers without experts, and the n of each n-th that has some.
BY_NAME = ("mlp_only_layers", "decoder_sparse_step")


@dataclass(frozen=True)
class SparseLayers:
    """Fields that say which layers have experts.

    Attributes:
        others: field that lists the numbers of layers that have none; `""` without one.
        step: field of the number n, of which the layers n - 1, 2n - 1 ... alone have experts; `""`
            without one.
        default: that number, where it is absent.
        first: field of the number of the first layers, which have none; `""` without one.
    """

    others: str = ""
    step: str = ""
    default: int = 1
    first: str = ""

    @classmethod
    def by_names(cls, config: Mapping[str, Any]) -> SparseLayers:
        """Return the fields that a config has, by names that published ones have for them."""
        others, step = (name if name in config else "" for name in BY_NAME)
        default = config.get(step, 1)
        return cls(others, step, default if type(default) is int else 1)

    @property
    def tiny(self) -> dict[str, Any]:
        """Fields of a tiny model of `MIXED` layers, of which some have experts."""
        if self.others:
            return {self.others: [0, 2], **({self.step: 1} if self.step else {})}
        if self.step:
            return {self.step: 2}
        return {self.first: 2} if self.first else {}


def find_sparse_layers(
    build: Callable[[Mapping[str, Any]], Any], fields: Mapping[str, Any], usual: Mapping[str, Any]
) -> SparseLayers | None:
    """Return the fields that say which layers have experts; None of a model that has none.

    Args:
        build: makes a model of fields of a config.
        fields: those of a tiny model.
        usual: the config's defaults.
    """
    layers = next((name for name in LAYERS if name in fields), None)
    if layers is None:
        return None

    def sparse(changes: Mapping[str, Any]) -> list[int]:
        with contextlib.suppress(Exception):  # a value that its code refuses
            model = build({**fields, layers: MANY, **changes})
            return layers_with_experts(model.state_dict())
        return []

    if not sparse({}):
        return None
    every = [*range(MANY)]
    found: dict[str, str] = {}
    for name, value in usual.items():
        if value == [] and sparse({name: LEFT_OUT}) == [i for i in every if i not in LEFT_OUT]:
            found.setdefault("others", name)
        if not is_number(value) or not isinstance(value, int) or name in fields:
            continue
        ways = {
            "step": lambda n: [i for i in every if (i + 1) % n == 0],
            "first": lambda n: [i for i in every if i >= n],
        }
        seen = [sparse({name: n}) for n in STEPS]
        for way, chosen in ways.items():
            if seen == [chosen(n) for n in STEPS]:
                found.setdefault(way, name)
    step = usual.get(found.get("step", ""), 1)
    return SparseLayers(**found, default=step)


def layers_with_experts(names: Iterable[str]) -> list[int]:
    """Return the numbers of the layers that have experts, by the names of a model's tensors."""
    return sorted({int(match[1]) for name in names if (match := _EXPERT.search(name))})
