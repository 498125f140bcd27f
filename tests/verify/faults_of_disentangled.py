"""Disentangled attention as it gets written wrongly: its table, its terms, its buckets.

Every encoder layer runs the same code, so every one of them is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from keras import ops

from .fault import Fault, Injection, at, attribute, calls, changed, exchanged, gives
from .faults_of_attention import PLACES, located, rows_of, steps

TABLE, TABLE_NORM = "relative_embedding", "relative_norm"
LAYER = "layer_1"


def places(**replaced: Any) -> Injection:
    """Positions are looked up, or put together, otherwise."""
    return steps(locate=partial(located, **replaced))


def looked_up(change: Any) -> Injection:
    """Each distance becomes another one before it is looked up."""
    return places(rows=lambda layer, distances: rows_of(layer, change(distances)))


def buckets(
    layer: Any,
    distances: Any,
    rounding: Any = np.ceil,
    half: Any = lambda size: size // 2,
    end: Any = lambda longest: longest - 1,
    log: Any = np.log,
) -> Any:
    """The reference's formula, if no step is replaced."""
    span, middle = layer.bucket_size, half(layer.bucket_size)
    far = np.maximum(np.abs(distances), middle) / middle
    whole = np.log(end(layer.max_relative_positions) / middle)
    found = rounding(log(far) / whole * (middle - 1)) + middle
    found = np.where(np.abs(distances) <= middle, distances, found * np.sign(distances))
    return np.clip(found.astype(int) + span, 0, 2 * span - 1)


def by_formula(**replaced: Any) -> Injection:
    return places(rows=partial(buckets, **replaced))


def clipped(layer: Any, distances: Any) -> Any:
    return np.clip(distances + layer.bucket_size, 0, 2 * layer.bucket_size - 1)


def without_table(call: Any, x: Any, table: Any, **others: Any) -> Any:
    return call(x, None, **others)


def scaled_for(terms: int) -> Injection:
    """Scores are scaled as if they were the sum of so many products."""
    return steps(locate=lambda *arguments: replace(located(*arguments), terms=terms))


EMBEDDINGS = [
    Fault("Relative table shifted by a row",
        changed(f"{TABLE}/embeddings", lambda t: np.roll(t, 1, axis=0)), at(TABLE),
        "row|shift|offset"),
    Fault("Relative table upside down", changed(f"{TABLE}/embeddings", np.flipud), at(TABLE),
        "row"),
    Fault("Relative table gives zeros", gives(TABLE, ops.zeros_like), at(TABLE), "zeros|never"),
    Fault("Relative table not normalised", calls(at(TABLE_NORM), lambda call, x: x),
        at(TABLE_NORM), "norm", fast=True),
    Fault("Epsilon 1e-3 in the relative table's norm", attribute(at(TABLE_NORM), "epsilon", 1e-3),
        at(TABLE_NORM), "epsilon"),
    Fault("Relative table's norm and the embeddings' swapped",
        exchanged((TABLE_NORM, "embeddings_norm")), at(TABLE_NORM, "embeddings_norm"),
        "swapped|holds"),
    Fault("No relative positions in one layer", calls(at(f"{LAYER}/attention"), without_table),
        at(f"{LAYER}/attention"), "no term|skipped|never"),
]  # fmt: skip

TERMS = [
    Fault("No c2p term", places(terms=lambda c2p, p2c: p2c), PLACES, "no c2p", fast=True),
    Fault("No p2c term", places(terms=lambda c2p, p2c: c2p), PLACES, "no p2c"),
    Fault("Neither c2p nor p2c", places(terms=lambda c2p, p2c: 0 * c2p), PLACES, "no term"),
    Fault("c2p and p2c projected by each other's layer", places(swapped=True), PLACES,
        "swapped", fast=True),
    Fault("p2c not transposed", places(transposed=False), PLACES, "isn't transposed"),
    Fault("Positions at the scale of one product",
        places(terms=lambda c2p, p2c: sqrt(3) * (c2p + p2c)), PLACES, "scale"),
    Fault("Positions unscaled", places(terms=lambda c2p, p2c: sqrt(3 * 4) * (c2p + p2c)), PLACES,
        "scale"),
    Fault("Scores at the scale of one product",
        scaled_for(1), PLACES, "scale", fast=True),
    Fault("Scores at the scale of two products",
        scaled_for(2), PLACES, "scale"),
    Fault("Positions subtracted", places(terms=lambda c2p, p2c: -c2p - p2c), PLACES,
        "subtracted"),
]  # fmt: skip

DISTANCES = [
    Fault("Distances with the sign flipped", looked_up(np.negative), PLACES, "sign", fast=True),
    Fault("Distances with the sign flipped in p2c",
        places(rows=lambda layer, d: (rows_of(layer, d), rows_of(layer, -d))), PLACES,
        "sign flipped in p2c"),
    Fault("Distances with the sign flipped in c2p",
        places(rows=lambda layer, d: (rows_of(layer, -d), rows_of(layer, d))), PLACES,
        "sign flipped in c2p"),
    Fault("Distances without a sign", looked_up(np.abs), PLACES, "without a sign"),
    Fault("Distances off by one", looked_up(lambda d: d + 1), PLACES, "one too large"),
    Fault("Distances off by one the other way", looked_up(lambda d: d - 1), PLACES,
        "one too small"),
    Fault("Rows of the relative table off by one",
        places(rows=lambda layer, d: (rows_of(layer, d) + 1) % (2 * layer.bucket_size)), PLACES,
        "rows one too late"),
    Fault("One row for every distance", looked_up(lambda d: 0 * d), PLACES, "one row"),
    Fault("Distances clipped, not in logarithmic buckets", places(rows=clipped), PLACES,
        "clipped"),
    Fault("Buckets rounded down", by_formula(rounding=np.floor), PLACES, "rounded down",
        fast=True),
    Fault("Buckets rounded to the nearest", by_formula(rounding=np.round), PLACES, "nearest"),
    Fault("Buckets by a logarithm to base 2", by_formula(log=np.log2), PLACES, "base"),
    Fault("One exact bucket more", by_formula(half=lambda size: size // 2 + 1), PLACES,
        "bucket more of exact"),
    Fault("One exact bucket less", by_formula(half=lambda size: size // 2 - 1), PLACES,
        "bucket less of exact"),
    Fault("Buckets that end three tokens too far", by_formula(end=lambda longest: longest + 2),
        PLACES, "buckets that end"),
]  # fmt: skip


def faults(layers: set[str]) -> list[Fault]:
    return [*EMBEDDINGS, *TERMS, *DISTANCES] if TABLE in layers else []
