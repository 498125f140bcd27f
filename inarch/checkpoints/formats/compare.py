"""Two checkpoint folders, tensor by tensor."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.formats.weights import Weights


@dataclass(frozen=True)
class Comparison:
    """Names of tensors: in both and of equal dtype, shape and bytes; or how they differ."""

    equal: tuple[str, ...]
    different: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of tensors of the first folder."""
        return len(self.equal) + len(self.different) + len(self.missing)

    @property
    def same(self) -> bool:
        """True where both have the same tensors, byte for byte."""
        return not (self.different or self.missing or self.added)


def compare(one: Path | Weights, two: Path) -> Comparison:
    """Compare the weights of folder `two` with those of folder `one`, or with open ones.

    Raises:
        CheckpointFileError: a folder holds no weights, or damaged ones.
    """
    with contextlib.ExitStack() as stack:
        old = one if isinstance(one, Weights) else stack.enter_context(open_weights(one))
        new = stack.enter_context(open_weights(two))
        both = old.header.keys() & new.header.keys()
        equal = {name for name in both if _equal(old, new, name)}
        return Comparison(
            equal=tuple(sorted(equal)),
            different=tuple(sorted(both - equal)),
            missing=tuple(sorted(old.header.keys() - both)),
            added=tuple(sorted(new.header.keys() - both)),
        )


def _equal(old: Weights, new: Weights, name: str) -> bool:
    if old.header[name] != new.header[name]:
        return False
    one, two = (np.ascontiguousarray(w.read(name)).reshape(-1).view(np.uint8) for w in (old, new))
    same = np.array_equal(one, two)
    old.release(name)
    new.release(name)
    return same
