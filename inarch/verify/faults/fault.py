"""A kind of fault in a model that is right, and its injection."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from inarch.layers.alternatives import changed
from inarch.verify.reference import Reference
from inarch.verify.trace import layers_of

NEVER_CALLED = "never called|never runs|skipped"


@dataclass(frozen=True)
class Fault:
    """One way in which a model of ours can be wrong.

    Attributes:
        name: in a few words, as the page of faults shows it.
        places: paths of the faulty layers; of the layer that follows, where the fault is in the
            graph between two. `""` is the model itself.
        diagnosis: regular expression that the diagnosis of the first finding matches; None if
            none is expected.
        attributes: attributes of layers or operations that make it, methods included.
        values: other values of variables that make it.
        head: of the golden run that shows it; `""` is the bare backbone.
        mixed: whether it adds tensors of two precisions, which TensorFlow refuses by itself.
    """

    name: str
    places: frozenset[str]
    diagnosis: str | None = None
    attributes: tuple[tuple[Any, Mapping[str, Any]], ...] = ()
    values: tuple[tuple[keras.Variable, np.ndarray], ...] = ()
    head: str = ""
    mixed: bool = False

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Put the fault into the model while the context lasts."""
        before = [(v, keras.ops.convert_to_numpy(v)) for v, _ in self.values]
        with ExitStack() as stack:
            for layer, attributes in self.attributes:
                stack.enter_context(changed(layer, attributes))
            for variable, value in self.values:
                variable.assign(value)
            try:
                yield
            finally:
                for variable, value in before:
                    variable.assign(value)


@dataclass(frozen=True)
class Trial:
    """A fault by its name, which is made when it is tried.

    Attributes:
        name: of the fault.
        make: returns the fault; one without places changes nothing for the inputs at hand.
    """

    name: str
    make: Callable[[], Fault]

    @cached_property
    def fault(self) -> Fault:
        return self.make()


def made(fault: Fault) -> Trial:
    """Return a fault that is made already as a trial."""
    return Trial(fault.name, lambda: fault)


class Subject:
    """A right model that gets faults, and the run of a golden file that shows them.

    Attributes:
        head: the name of the run; `""` is the bare backbone.
        layers: those that have weights, by their paths.
        own: paths of the layers that get faults here: of a task, those that its backbone lacks.
    """

    def __init__(self, model: keras.Model, head: str, reference: Reference, others: Container[str]):
        self.model, self.head, self.reference = model, head, reference
        self.layers = layers_of(model)
        self.own = [path for path in self.layers if path not in others]

    def roles(self, kind: Any) -> dict[str, list[str]]:
        """Return the paths of the layers of a class, by their path without the block's number."""
        found: dict[str, list[str]] = {}
        for path in self.own:
            if isinstance(self.layers[path], kind):
                found.setdefault(role(path), []).append(path)
        return found

    def fault(
        self, name: str, places: Iterable[str], diagnosis: str | None, *attributes: Any, **more: Any
    ) -> Fault:
        name = f"{self.head}: {name}" if self.head else name
        compared = frozenset(map(self._compared, places))
        return Fault(name, compared, diagnosis, attributes, head=self.head, **more)

    def _compared(self, path: str) -> str:
        """Return the path of the layer that is compared for one that has no module of its own."""
        parent, _, part = path.rpartition("/")
        return parent if part in getattr(self.layers.get(parent), "parts_within", ()) else path

    def trial(self, name: str, make: Callable[[], Fault]) -> Trial:
        return Trial(f"{self.head}: {name}" if self.head else name, make)


def role(path: str) -> str:
    """Return a path without the number of the block in it."""
    return re.sub(r"_\d+(?=/|$)", "_i", path)


def after(layer: Any, change: Any) -> tuple[Any, dict[str, Any]]:
    """Return a layer and the attributes by which it gives something else."""
    return layer, {"call": lambda *args, call=layer.call, **more: change(call(*args, **more))}
