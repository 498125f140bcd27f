"""Disentangled attention that looks positions up otherwise: its terms, its rows, its buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import sqrt

import numpy as np

from inarch.layers import DisentangledSelfAttention
from inarch.layers.relative_position import distance_rows, table_span
from inarch.verify.doctor.attention import Variant, explained, split, variants_of
from inarch.verify.doctor.evidence import Evidence

SCALES = (
    "the root of a head's width", "the root of twice a head's width",
    "the root of three times a head's width",
)  # fmt: skip

# Rows of the table from distances, where they aren't the usual ones.
Rows = Callable[[DisentangledSelfAttention, np.ndarray], np.ndarray]


def usual(layer: DisentangledSelfAttention, distances: np.ndarray) -> np.ndarray:
    rows = distance_rows(layer.bucket_size, layer.max_relative_positions)
    return rows[np.clip(distances + len(rows) // 2, 0, len(rows) - 1)]


def buckets(
    rounding: Callable[[np.ndarray], np.ndarray] = np.ceil,
    exact: int = 0,
    longest: int = 0,
    shrink: float = 1.0,
) -> Rows:
    """The rows of another formula: exact up to so many more, ending so much farther."""

    def rows(layer: DisentangledSelfAttention, distances: np.ndarray) -> np.ndarray:
        span, half = layer.bucket_size, layer.bucket_size // 2 + exact
        far = np.maximum(np.abs(distances), half) / half
        end = (layer.max_relative_positions - 1 + longest) / half
        logarithmic = rounding(np.log(far) / np.log(end) * shrink * (half - 1)) + half
        found = np.where(np.abs(distances) <= half, distances, logarithmic * np.sign(distances))
        return np.clip(found.astype(int) + span, 0, 2 * span - 1)

    return rows


def clipped(layer: DisentangledSelfAttention, distances: np.ndarray) -> np.ndarray:
    span = table_span(layer.bucket_size, layer.max_relative_positions)
    return np.clip(distances + span, 0, 2 * span - 1)


def turned(by: int) -> Rows:
    """Another row, and the first again after the last."""
    return lambda layer, distances: (usual(layer, distances) + by) % _rows(layer)


def unsigned(layer: DisentangledSelfAttention, distances: np.ndarray) -> np.ndarray:
    return usual(layer, np.abs(distances))


# For content to position and for position to content.
BUCKETS: dict[str, tuple[Rows, Rows]] = {
    "distances with their sign flipped": (lambda m, d: usual(m, -d), lambda m, d: usual(m, -d)),
    "distances with their sign flipped in c2p": (lambda m, d: usual(m, -d), usual),
    "distances with their sign flipped in p2c": (usual, lambda m, d: usual(m, -d)),
    "distances without a sign": (unsigned, unsigned),
    "distances one too large": (lambda m, d: usual(m, d + 1), lambda m, d: usual(m, d + 1)),
    "distances one too small": (lambda m, d: usual(m, d - 1), lambda m, d: usual(m, d - 1)),
    "rows one too late": (turned(1), turned(1)),
    "rows one too early": (turned(-1), turned(-1)),
    "one row for every distance": (lambda m, d: usual(m, 0 * d), lambda m, d: usual(m, 0 * d)),
    "no logarithmic buckets (distances are clipped)": (clipped, clipped),
}  # fmt: skip
FORMULAS = {
    "logarithmic buckets rounded down": buckets(np.floor),
    "logarithmic buckets rounded to the nearest": buckets(np.round),
    "logarithms to another base (2) in the buckets": buckets(shrink=1 / np.log(2)),
    "one bucket more of exact distances": buckets(exact=1),
    "one bucket less of exact distances": buckets(exact=-1),
    **{
        f"buckets that end {n} tokens {way}": buckets(longest=n * sign)
        for way, sign in (("too far", 1), ("too near", -1))
        for n in (1, 2, 3)
    },
}
BUCKETS |= {name: (rows, rows) for name, rows in FORMULAS.items()}

TERMS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "no c2p term (content to position)": lambda c2p, p2c, d: p2c,
    "no p2c term (position to content)": lambda c2p, p2c, d: c2p,
    "no term at all": lambda c2p, p2c, d: 0 * c2p,
    "their terms subtracted": lambda c2p, p2c, d: -c2p - p2c,
    "their terms twice": lambda c2p, p2c, d: 2 * (c2p + p2c),
    "a p2c term that isn't transposed": lambda c2p, p2c, d: c2p + np.swapaxes(p2c, 2, 3),
    "a c2p term that is transposed": lambda c2p, p2c, d: np.swapaxes(c2p, 2, 3) + p2c,
    "their terms at another scale (none)": lambda c2p, p2c, d: (c2p + p2c) * sqrt(3 * d),
    "their terms at another scale (the root of a head's width)":
        lambda c2p, p2c, d: (c2p + p2c) * sqrt(3),
}  # fmt: skip
SWAPPED = "the projections of keys and of queries swapped for positions"
AS_KEYS = "positions projected as keys alone"
AS_QUERIES = "positions projected as queries alone"


def diagnose(evidence: Evidence) -> str | None:
    """What is wrong between the projections and the output, positions included."""
    path = evidence.finding.layer
    layer = evidence.layers.get(path)
    mask = evidence.reference.inputs.get("padding_mask")
    if not isinstance(layer, DisentangledSelfAttention) or mask is None:
        return None
    parts = [evidence.known("output", f"{path}/{name}") for name in ("query", "key", "value")]
    tables = {term: _table(evidence, path, layer, term) for term in layer.terms}
    if any(p is None or p.ndim != 3 for p in parts) or any(t is None for t in tables.values()):
        return None
    query, key, value = (p for p in parts if p is not None)
    known = {term: table for term, table in tables.items() if table is not None}

    def positions(q: np.ndarray, k: np.ndarray, how: Variant) -> np.ndarray:
        return _added(layer, known, q, k, how)

    right = Variant(layer.num_heads, scale=SCALES[len(layer.terms)])
    variants = _variants(right, query.shape[-1], bool(layer.bucket_size > 0))
    return explained(evidence, (query, key, value), mask != 0, variants, positions)


def _variants(right: Variant, width: int, bucketed: bool) -> Iterator[Variant]:
    """The usual one, and those that differ in one respect: of positions, or of all attention."""
    yield right
    for name in (*TERMS, *BUCKETS, SWAPPED, AS_KEYS, AS_QUERIES):
        if bucketed or name not in FORMULAS:
            yield replace(right, positions=name)
    # So many tokens as if there were, no two respects are tried at once.
    yield from (v for v in variants_of(right, width, tokens=2**31) if v != right)


def _table(
    evidence: Evidence, path: str, layer: DisentangledSelfAttention, term: str
) -> np.ndarray | None:
    """The reference's projection of the whole table `[1, rows, width]` for a term."""
    role = {"c2p": "key", "p2c": "query"}[term]
    own = evidence.tensors.get((f"{path}/position_{role}", evidence.tap[1], "output"))
    # A shared projection first runs on the tokens, then on the table.
    tensor = own or evidence.tensors.get((f"{path}/{role}", evidence.tap[1] + 1, "output"))
    return tensor.value if tensor and tensor.value.shape[-2] == _rows(layer) else None


def _rows(layer: DisentangledSelfAttention) -> int:
    return 2 * table_span(layer.bucket_size, layer.max_relative_positions)


def _added(
    layer: DisentangledSelfAttention,
    tables: dict[str, np.ndarray],
    q: np.ndarray,
    k: np.ndarray,
    how: Variant,
) -> np.ndarray:
    """What relative positions add to the products of queries and keys."""
    index = np.arange(q.shape[1])
    distances = index[:, None] - index
    names = {SWAPPED: ("p2c", "c2p"), AS_KEYS: ("c2p", "c2p"), AS_QUERIES: ("p2c", "p2c")}
    c2p = p2c = np.zeros((len(q), q.shape[2], len(index), len(index)))
    rows = BUCKETS.get(how.positions, (usual, usual))
    for term, at, name in zip(("c2p", "p2c"), rows, names.get(how.positions, ("c2p", "p2c")),
                              strict=True):  # fmt: skip
        if term not in layer.terms or name not in tables:
            continue
        near = split(tables[name].reshape(1, -1, tables[name].shape[-1]), how)[0]
        near = near[at(layer, distances)]
        if term == "c2p":
            c2p = np.einsum("bthd,tshd->bhts", q, near)
        else:
            p2c = np.einsum("bshd,tshd->bhts", k, near)
    combine = TERMS.get(how.positions)
    return combine(c2p, p2c, q.shape[-1]) if combine else c2p + p2c
