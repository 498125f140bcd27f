"""Entries of weight maps for names as TensorFlow and Flax have them, with slashes.

Kernels lie `[in, out]` there, as ours do.
"""

from __future__ import annotations

from collections.abc import Iterable

from inarch.checkpoints.maps import rule as dotted
from inarch.checkpoints.maps.rule import Entry, rule


def dense(theirs: str, ours: str) -> list[Entry]:
    """A linear layer with a bias."""
    kernel = rule(f"{theirs}/kernel", f"{ours}/kernel", "i o -> i o")
    return kernel + rule(f"{theirs}/bias", f"{ours}/bias", "o -> o")


def norm(theirs: str, ours: str, scale: str = "gamma", shift: str = "beta") -> list[Entry]:
    """A layer normalization; Flax calls the two `scale` and `bias`."""
    entries = rule(f"{theirs}/{scale}", f"{ours}/gamma", "d -> d")
    return entries + rule(f"{theirs}/{shift}", f"{ours}/beta", "d -> d")


def table(theirs: str, ours: str) -> list[Entry]:
    """A table `[rows, dim]` of embeddings."""
    return rule(theirs, f"{ours}/embeddings", "v d -> v d")


def projection(weights: str, bias: str, ours: str) -> list[Entry]:
    """A linear layer whose weights lie `[out, in]` under a name of their own."""
    entries = rule(weights, f"{ours}/kernel", "o i -> i o")
    return entries + rule(bias, f"{ours}/bias", "o -> o")


def under(
    theirs: str, ours: str, *groups: Iterable[Entry], count: str = "num_layers"
) -> list[Entry]:
    """Put entries below a name on each side; see `inarch.checkpoints.maps.rule.under`."""
    return dotted.under(theirs, ours, *groups, count=count, between="/")
