"""Fields of a config with a value for each layer, and the numbers that they follow from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.json_fields import is_number
from inarch.port.code import code
from inarch.port.known_arguments import LAYERS

# Fields of windows.
WINDOWS = ("local_attention", "sliding_window")
# Layers of a config in which patterns show, and numbers that give different ones.
MANY = 7
STEPS = (2, 3)


@dataclass(frozen=True)
class LayerField:
    """A field with one of two values for each layer.

    Attributes:
        name: of the field.
        older: field of the number that it follows from where it is absent; `""` of none.
        first: value of each n-th layer, or of the first n layers.
        other: value of the others.
        default: the number, where that is absent too.
        way: `"last"` where the layers n - 1, 2n - 1 ... have `first`, `"first"` where 0, n, 2n ...
            have it, `"until"` where the first n layers have it; `""` where no number shows.
        switch: field that must be true for a layer to have `other`; `""` without one.
        blank: fields that the config's class has without a value unless that is true.
    """

    name: str
    first: Any
    other: Any
    older: str = ""
    default: int = 1
    way: str = ""
    switch: str = ""
    blank: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spelling(self) -> tuple[str, tuple[str, ...]]:
        """Function of config maps that makes the older spelling, and its arguments, as code."""
        given = tuple(map(code, (self.older or None, self.first, self.other, self.default)))
        if self.way == "until":
            return "first_layers", (*given, f"switch={code(self.switch)}")
        return "every_nth", (*given, *(["is_last=True"] if self.way == "last" else []))


def layer_fields(
    model_type: str, usual: Mapping[str, Any], given: Mapping[str, Any], transformers: Any
) -> dict[str, LayerField]:
    """Return the fields with one of two values for each layer.

    Args:
        usual: the config's defaults.
        given: a checkpoint's config, whose further numbers are tried too.
    """
    layers = next((name for name in LAYERS if name in usual), None)
    found: dict[str, LayerField] = {}
    if layers is None:
        return found

    def listed(name: str, fields: Mapping[str, Any]) -> list[Any]:
        with contextlib.suppress(Exception):  # a value that its code refuses
            made = transformers.AutoConfig.for_model(model_type, **fields).to_dict()
            return made[name] if isinstance(made.get(name), list) else []
        return []

    for name, value in usual.items():
        if not isinstance(value, list) or len(value) != usual[layers]:
            continue
        for switch in ("", *(n for n, v in usual.items() if v is False)):
            on = {switch: True} if switch else {}
            values = list(dict.fromkeys(listed(name, on)))
            if len(values) == 2:
                one = LayerField(name, values[0], values[1], switch=switch)
                for older, default in _numbers({**given, **usual}):
                    lists = [listed(name, {**on, layers: MANY, older: n}) for n in STEPS]
                    one = next(_spellings(one, older, default, lists), one)
                if not one.way:
                    fixed = [listed(name, {**on, layers: MANY})]
                    ways = (s for n in range(2, MANY) for s in _spellings(one, "", n, fixed, [n]))
                    one = next(ways, one)
                found[name] = one
                break
    return {
        name: _with_blank(one, model_type, usual, transformers) if one.switch else one
        for name, one in found.items()
    }


def switched_window(
    model_type: str, usual: Mapping[str, Any], transformers: Any
) -> tuple[str, Mapping[str, Any]] | None:
    """Return the switch without which no layer has a window, and the window that it brings.

    None where layers differ, of which `LayerField` has it, or where no switch brings one.
    """
    windows = [name for name in WINDOWS if name in usual and usual[name] is None]
    for switch in (n for n, v in usual.items() if v is False and windows):
        with contextlib.suppress(Exception):  # a switch that its code refuses
            made = transformers.AutoConfig.for_model(model_type, **{switch: True}).to_dict()
            found = {name: made[name] for name in windows if is_number(made[name])}
            if found and "layer_types" not in usual:
                return switch, found
    return None


def _numbers(usual: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Iterate over whole numbers; a private name is that of a number by another name."""
    for name, value in usual.items():
        if is_number(value) and isinstance(value, int) and name not in LAYERS:
            yield name.lstrip("_"), value


def _spellings(
    one: LayerField,
    older: str,
    default: int,
    lists: Sequence[Sequence[Any]],
    steps: Sequence[int] = STEPS,
) -> Iterator[LayerField]:
    """Iterate over the older spellings that give the lists of some numbers."""
    ways = {
        "last": lambda i, n: (i + 1) % n == 0,
        "first": lambda i, n: i % n == 0,
        "until": lambda i, n: i < n,
    }
    for way, chosen in ways.items():
        for first, other in ((one.first, one.other), (one.other, one.first)):
            fits = all(
                found == [first if chosen(i, n) else other for i in range(MANY)]
                for n, found in zip(steps, lists, strict=True)
            )
            if fits and (way != "until" or (older and one.switch)):
                yield replace(one, first=first, other=other, older=older, default=default, way=way)


def _with_blank(
    one: LayerField, model_type: str, usual: Mapping[str, Any], transformers: Any
) -> LayerField:
    """Return a field with the values that others have where its switch is on."""
    made = transformers.AutoConfig.for_model(model_type, **{one.switch: True}).to_dict()
    blank = {n: made[n] for n, v in usual.items() if v is None and is_number(made.get(n))}
    return replace(one, blank=blank)


def scaled_kind(model_type: str, transformers: Any) -> str:
    """Return the kind of layers whose rotary positions an older field scales; `""` of none."""
    scaling = {"rope_type": "linear", "factor": 2.0}
    with contextlib.suppress(Exception):  # a config without the field
        made = transformers.AutoConfig.for_model(model_type, rope_scaling=scaling).to_dict()
        held = (made.get("rope_parameters") or {}).items()
        kinds = [str(kind) for kind, nested in held if isinstance(nested, Mapping) and
                 nested.get("rope_type") == "linear"]  # fmt: skip
        return kinds[0] if len(kinds) == 1 else ""
    return ""
