"""Attention that mixes otherwise: mask, scale, heads, roles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt

import numpy as np

from inarch.verify.doctor.case import Case

MASKS = {
    "tokens see tokens and no padding": lambda real, i, j: real[:, None, :],
    "tokens see the padding too (no mask)": lambda real, i, j: np.ones_like(real[:, None, :]),
    "tokens see only the padding (an inverted mask)": lambda real, i, j: ~real[:, None, :],
    "tokens see none after them (a causal mask)": lambda real, i, j: real[:, None, :] & (j <= i),
    "tokens see none after them, but the padding (a causal mask in place of the padding mask)":
        lambda real, i, j: np.broadcast_to(j <= i, (len(real), *np.broadcast(i, j).shape)),
    "tokens see the first pad too (a mask off by one)":
        lambda real, i, j: np.concatenate([real[:, :1], real[:, :-1]], 1)[:, None, :],
    "tokens miss the last token (a mask off by one)":
        lambda real, i, j: np.concatenate([real[:, 1:], real[:, -1:] & False], 1)[:, None, :],
    "a token doesn't see itself": lambda real, i, j: real[:, None, :] & (i != j),
}  # fmt: skip
PADDED = "tokens see tokens and no padding"


@dataclass(frozen=True)
class Variant:
    """One way to attend. The defaults are Vaswani et al.'s."""

    heads: int
    mask: str = PADDED
    scale: str = "the root of a head's width"
    layout: str = "(h d)"
    roles: str = "queries, keys and values"
    softmax: str = "keys"
    kind: str = "dot product"


FIELDS = tuple(Variant.__dataclass_fields__)
# Up to so many tokens ways that differ in two respects are tried too.
FEW = 200


def diagnose(case: Case) -> str | None:
    """What is wrong between queries, keys and values and the output projection."""
    path = case.finding.layer
    heads = getattr(case.layers.get(path), "num_heads", None)
    parts = [case.known("output", f"{path}/{name}") for name in ("query", "key", "value")]
    mask = case.reference.inputs.get("padding_mask")
    if heads is None or mask is None or case.key[2] == "attention":
        return None
    if any(p is None or p.ndim != 3 or p.shape[-1] % heads for p in parts):
        return None
    query, key, value = (p for p in parts if p is not None)
    found: dict[str, Variant] = {}
    for variant in _variants(heads, query.shape[-1], mask.size):
        mixed = attend(query, key, value, mask != 0, variant)
        for side, values in (("theirs", case.theirs), ("ours", case.ours)):
            if side not in found and case.same(mixed, values):
                found[side] = variant
        if len(found) == 2:
            return _said(found["ours"], found["theirs"])
    return None


def _said(ours: Variant, theirs: Variant) -> str | None:
    told = []
    for name in FIELDS:
        mine, right = getattr(ours, name), getattr(theirs, name)
        if mine != right:
            told.append(_wording(name, mine, right))
    return f"attention: {'; '.join(told)}, which restores its values" if told else None


def _wording(name: str, mine: object, right: object) -> str:
    if name == "mask":
        return f"the mask: in ours {mine}; in the original {right}"
    if name == "scale":
        return f"the scale: ours divides the scores by {mine}, the original by {right}"
    if name == "heads":
        return f"ours has {mine} heads, the original {right}"
    if name == "layout":
        return f"the heads are split in the wrong order: ours {mine}, the original {right}"
    if name == "softmax":
        return f"the softmax is over the wrong axis: ours over the {mine}, the original {right}"
    if name == "roles":
        return f"ours takes the projections as {mine}, the original as {right}"
    return f"ours is {mine}, the original {right} attention"


def _variants(heads: int, width: int, tokens: int) -> Iterator[Variant]:
    """The usual one, and those that differ in one respect or, at last, in two."""
    usual = Variant(heads)
    single = [replace(usual, mask=mask) for mask in MASKS if mask != PADDED]
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    single += [replace(usual, scale=scale) for scale in list(SCALES)[1:]]
    single += [replace(usual, scale=f"the root of {n}") for n in divisors if n > 1]
    single += [replace(usual, layout="(d h)"), replace(usual, softmax="queries")]
    single += [
        replace(usual, roles=roles)
        for roles in ("keys, queries and values", "values, keys and queries",
                      "queries, values and keys")
    ]  # fmt: skip
    single += [
        replace(usual, kind=kind)
        for kind in ("the values themselves (no)", "their mean (uniform)", "without a softmax")
    ]
    single += [
        replace(usual, heads=n) for n in range(1, width + 1) if width % n == 0 and n != heads
    ]
    yield usual
    yield from single
    if tokens <= FEW:
        for one, other in combinations(single, 2):
            changed = {
                n: getattr(other, n) for n in FIELDS if getattr(other, n) != getattr(usual, n)
            }
            if all(getattr(one, n) == getattr(usual, n) for n in changed):
                yield replace(one, **changed)


SCALES = {
    "the root of a head's width": lambda width, heads: sqrt(width / heads),
    "1 (no scale)": lambda width, heads: 1.0,
    "the root of the whole width": lambda width, heads: sqrt(width),
    "a head's width": lambda width, heads: width / heads,
    "the fourth root of a head's width": lambda width, heads: (width / heads) ** 0.25,
    "the root of three times a head's width": lambda width, heads: sqrt(3 * width / heads),
    "the root of the number of heads": lambda width, heads: sqrt(heads),
}


def attend(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, real: np.ndarray, how: Variant
) -> np.ndarray:
    """Mix the values `[batch, length, width]` in float64."""
    roles = {"queries": query, "keys": key, "values": value}
    order = how.roles.replace(" and ", ", ").split(", ")
    q, k, v = (_split(roles[name], how) for name in order)
    length = query.shape[1]
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    seen = np.broadcast_to(MASKS[how.mask](real, i, j), (len(real), length, length))[:, None]
    scores = np.einsum("bthd,bshd->bhts", q, k) / _divisor(how, query.shape[-1])
    if how.kind == "their mean (uniform)":
        scores = np.zeros_like(scores)
    hidden = np.where(seen, scores, -1e30)
    axis = -1 if how.softmax == "keys" else -2
    weights = np.exp(hidden - hidden.max(axis=axis, keepdims=True))
    weights /= weights.sum(axis=axis, keepdims=True)
    if how.kind == "the values themselves (no)":
        weights = np.broadcast_to(np.eye(length), weights.shape)
    if how.kind == "without a softmax":
        weights = np.where(seen, scores, 0)
    mixed = np.einsum("bhts,bshd->bthd", weights, v)
    if how.layout == "(d h)":
        mixed = mixed.swapaxes(2, 3)
    return mixed.reshape(query.shape[0], length, -1)


def _divisor(how: Variant, width: int) -> float:
    if how.scale in SCALES:
        return SCALES[how.scale](width, how.heads)
    return sqrt(float(how.scale.rpartition(" ")[2]))


def _split(x: np.ndarray, how: Variant) -> np.ndarray:
    batch, length, width = x.shape
    if how.layout == "(d h)":
        return x.reshape(batch, length, width // how.heads, how.heads).swapaxes(2, 3)
    return x.reshape(batch, length, how.heads, width // how.heads)
