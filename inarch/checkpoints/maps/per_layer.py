"""Values per layer, such as `layer_types`, in a config map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.fields import Field
from inarch.checkpoints.maps.nested import assign, is_in, lookup
from inarch.errors import ConfigError
from inarch.json_fields import REQUIRED
from inarch.validation import shown

# No model has as many; a list for a billion layers would fill the memory.
MAX_LAYERS = 10_000


@dataclass(frozen=True)
class EveryNth:
    """An older spelling of a list of values per layer: a number `n`, and two values.

    The layers 0, n, 2n ... have the value `first`, the others `other`; `is_last` counts so that the
    layers n - 1, 2n - 1 ... have it. `theirs` is `None` where no field has the number.
    """

    theirs: str | None
    first: Any
    other: Any
    default: int = 1
    is_last: bool = False

    def listed(self, config: Mapping[str, Any], layers: int) -> list[Any]:
        """Return the values of all layers."""
        step = lookup(config, self.theirs, self.default) if self.theirs else self.default
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            raise ConfigError(
                f"config field {self.theirs!r} is {shown(step)}; it must be a whole number, at "
                "least 1"
            )
        return [self.other if (i + self.is_last) % step else self.first for i in range(layers)]


@dataclass(frozen=True)
class FirstLayers:
    """An older spelling of a list of values per layer: a number `n`, and two values.

    The first `n` layers have the value `first`, the others `other`; all have `first` where the
    field `switch` isn't true.
    """

    theirs: str
    first: Any
    other: Any
    default: int
    switch: str

    def listed(self, config: Mapping[str, Any], layers: int) -> list[Any]:
        """Return the values of all layers."""
        count = lookup(config, self.theirs, self.default)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ConfigError(
                f"config field {self.theirs!r} is {shown(count)}; it must be a whole number, at "
                "least 0"
            )
        is_on = lookup(config, self.switch, False) is True
        return [self.other if is_on and i >= count else self.first for i in range(layers)]

    def check(self, config: Mapping[str, Any], name: str, listed: Sequence[Any]) -> None:
        """Raise ConfigError where a list has what isn't switched on."""
        if lookup(config, self.switch, False) is not True and self.other in listed:
            raise ConfigError(
                f"config field {name!r} has {self.other!r}, and {self.switch!r} isn't true; set it "
                f"to true, or have {self.first!r} for each layer"
            )


@dataclass(frozen=True)
class PerLayer(Field):
    """A list with a value for each layer; ours is a tuple.

    Args:
        layers: the entry of the number of layers.
        older: another spelling, read where the list is absent.
        may_be_longer: whether there may be values beyond those of the layers, which aren't read.
        may_be_one: whether a single value may stand for the list, which is that of every layer.
    """

    layers: Field = dataclasses.field(kw_only=True)
    older: EveryNth | FirstLayers | None = None
    may_be_longer: bool = False
    may_be_one: bool = False

    @property
    def known_names(self) -> tuple[str, ...]:
        older = self.older.theirs if self.older else None
        return (*super().known_names, *([older] if older else []))

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED and self.older is None

    def read(self, config: Mapping[str, Any]) -> Any:
        count, name = self.layers.read(config), [self.theirs, *self.names_in(config)][-1]
        listed = lookup(config, name, None)
        if listed is None:
            self._checked_count(count, name)
            if self.older:
                listed = self.older.listed(config, count)
            elif self.default is REQUIRED:
                raise ConfigError(f"the config has no {name!r}")
            else:
                listed = [self.default] * count
        if self.may_be_one and not isinstance(listed, list | tuple):
            one = self.convert(listed, name)
            return (one,) * self._checked_count(count, name)
        if not isinstance(listed, list | tuple):
            raise ConfigError(
                f"config field {name!r} is {shown(listed)}; it must be a list, with a value for "
                f"each of the {count} layers ({self.layers.theirs})"
            )
        if self.may_be_longer:
            listed = listed[:count]
        if isinstance(self.older, FirstLayers):
            self.older.check(config, name, listed)
        if len(listed) != count:
            raise ConfigError(
                f"config field {name!r} has {len(listed)} values, and {self.layers.theirs!r} is "
                f"{count}; give a value for each layer, or set {self.layers.theirs!r} to "
                f"{len(listed)}"
            )
        return tuple(self.convert(value, f"{name}[{i}]") for i, value in enumerate(listed))

    def _checked_count(self, count: int, name: str) -> int:
        """Return the number of layers, if there may be as many without a list of their values."""
        if count > MAX_LAYERS:
            raise ConfigError(
                f"config field {self.layers.theirs!r} is {count:,}; without a list in {name!r} at "
                f"most {MAX_LAYERS:,} layers are supported; correct the number"
            )
        return count

    def write(self, value: Any, config: dict[str, Any]) -> None:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{self.ours} is {shown(value)}; give a list of a value per layer")
        listed = [self.spell(each) for each in value]
        names = self.names_in(config)
        is_one = [not isinstance(lookup(config, name, None), list | tuple) for name in names]
        if self.may_be_one and all(is_one) and len({*listed}) == 1:
            for name in names or [self.theirs]:
                assign(config, name, listed[0])
            return
        older = self.older
        if older and older.theirs and is_in(config, older.theirs) and not self.names_in(config):
            given = config[older.theirs] if isinstance(config.get(older.theirs), int) else 1
            for step in (given, *range(1, len(listed) + 2)):
                if older.listed({**config, older.theirs: step}, len(listed)) == listed:
                    config[older.theirs] = step
                    return
            del config[older.theirs]
        for name in self.names_in(config) or [self.theirs]:
            assign(config, name, listed)


@dataclass(frozen=True)
class EveryNthBut(Field):
    """A list of layers that aren't of a kind of which every n-th other one is; ours is a tuple.

    Ours has a boolean for each layer: whether it is of that kind. Theirs are numbers from 0 on.

    Args:
        layers: the entry of the number of layers.
        step: which layers are of the kind where the list is empty.
    """

    layers: Field = dataclasses.field(kw_only=True)
    step: EveryNth = dataclasses.field(kw_only=True)

    @property
    def known_names(self) -> tuple[str, ...]:
        return (*super().known_names, *([self.step.theirs] if self.step.theirs else []))

    def read(self, config: Mapping[str, Any]) -> Any:
        count, others = self.layers.read(config), lookup(config, self.theirs, None)
        if count > MAX_LAYERS:
            raise ConfigError(
                f"config field {self.layers.theirs!r} is {count:,}; at most {MAX_LAYERS:,} layers "
                "are supported; correct the number"
            )
        others = [] if others is None else others
        if not isinstance(others, list | tuple) or any(type(n) is not int for n in others):
            raise ConfigError(
                f"config field {self.theirs!r} is {shown(others)}; it must be a list of the "
                "numbers of layers, from 0 on"
            )
        listed = self.step.listed(config, count)
        return tuple(each and i not in others for i, each in enumerate(listed))

    def write(self, value: Any, config: dict[str, Any]) -> None:
        count = self.layers.read(config)
        listed = [True] * count if value is None else [bool(each) for each in value]
        if len(listed) != count:
            raise ConfigError(
                f"{self.ours} has {len(listed)} values, and there are {count} layers; give a value "
                "for each"
            )
        if self.read(config) == tuple(listed):
            return
        if self.step.theirs:
            assign(config, self.step.theirs, 1)
        assign(config, self.theirs, [i for i, each in enumerate(listed) if not each])


@dataclass(frozen=True)
class Sizes(Field):
    """A list of whole numbers, at least 1 each, of no fixed length; ours is a tuple.

    Args:
        like: the entry of a list that has as many.
    """

    like: Sizes | None = dataclasses.field(default=None, kw_only=True)

    def convert(self, value: Any, name: str) -> Any:
        sizes = value if isinstance(value, list | tuple) else ()
        if not sizes or not all(type(n) is int and n >= 1 for n in sizes):
            raise ConfigError(
                f"config field {name!r} is {shown(value)}; it must be a list of whole numbers, at "
                "least 1 each"
            )
        return tuple(sizes)

    def read(self, config: Mapping[str, Any]) -> Any:
        sizes = super().read(config)
        if self.like is not None and len(sizes) != (count := len(self.like.read(config))):
            raise ConfigError(
                f"config field {self.theirs!r} has {len(sizes)} values, and {self.like.theirs!r} "
                f"has {count}; give both a value for each layer"
            )
        return sizes

    def spell(self, value: Any) -> Any:
        return [*value]
