"""Attention that mixes otherwise: mask, scale, heads, roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt

import numpy as np

from inarch.verify.doctor.evidence import Evidence

MASKS = {
    "one that shows tokens and no padding": lambda real, i, j: _alike(real, i),
    "none, and shows the padding too": lambda real, i, j: np.ones_like(real[:, None, :]),
    "an inverted one": lambda real, i, j: ~real[:, None, :],
    "a causal one": lambda real, i, j: real[:, None, :] & (j <= i),
    "a causal one in place of the padding's": lambda real, i, j: (j <= i)[None],
    "one that is off by one and shows the first pad":
        lambda real, i, j: (real | np.roll(real, 1, 1))[:, None, :],
    "one that is off by one and hides the last token":
        lambda real, i, j: (real & np.roll(real, -1, 1))[:, None, :],
    "a causal one that shows the next token too":
        lambda real, i, j: real[:, None, :] & (j <= i + 1),
    "one that shows what comes after": lambda real, i, j: real[:, None, :] & (j >= i),
    "one that hides a token from itself": lambda real, i, j: real[:, None, :] & (i != j),
}  # fmt: skip
AFTERWARDS = "one that is applied after the softmax"
ADDED = "one that is added as 0 and -1"
VALUES, UNIFORM = "the values themselves, with no mixing", "the values' mean, with uniform weights"
UNNORMALISED = "scores without a softmax"
CAUSAL, INVERTED = "a causal one", "an inverted one"
ROLES_OF_TWO = ("queries, keys and values", "queries, values and keys")
PADDED = "one that shows tokens and no padding"


@dataclass(frozen=True)
class Variant:
    """One way to attend. The defaults are Vaswani et al.'s."""

    heads: int
    mask: str = PADDED
    scale: str = "the root of a head's width"
    split: str = "(h d)"
    merge: str = "(h d)"
    roles: str = "queries, keys and values"
    softmax: str = "keys"
    kind: str = "dot-product attention"
    positions: str = "as usual"


FIELDS = tuple(Variant.__dataclass_fields__)
# Up to so many tokens ways that differ in two respects are tried too.
FEW = 200
# A row of so many tokens tells one way from another.
ENOUGH = 16


# What positions add to the products `[batch, heads, query, key]` of split queries and keys.
Positions = Callable[[np.ndarray, np.ndarray, Variant], np.ndarray]


def diagnose(evidence: Evidence) -> str | None:
    """What is wrong between queries, keys and values and the output projection."""
    path = evidence.finding.layer
    heads = getattr(evidence.layers.get(path), "num_heads", None)
    parts = [evidence.known("output", f"{path}/{name}") for name in ("query", "key", "value")]
    if heads is None:
        return None
    if any(p is None or p.ndim != 3 or p.shape[-1] % heads for p in parts):
        return None
    query, key, value = (p for p in parts if p is not None)
    mask = _mask(evidence, key)
    usual = [Variant(heads), Variant(heads, CAUSAL)]
    # Each has to be tried as it is, before those that differ from either.
    for how in usual:
        if _gives(evidence, how, (query, key, value), mask):
            usual = [how]
    variants = (v for how in usual for v in variants_of(how, query.shape[-1], mask.size))
    if query.shape != key.shape:  # of two lengths: what asks can't be asked
        variants = (v for v in variants if v.roles in ROLES_OF_TWO)
    if mask.all():  # inverted, it would show nothing
        variants = (v for v in variants if v.mask != INVERTED)
    return explained(evidence, (query, key, value), mask, variants)


def _mask(evidence: Evidence, key: np.ndarray) -> np.ndarray:
    """Which keys are no padding, `[batch, length]`; all, where they are of no text."""
    inputs = evidence.reference.inputs
    mask = inputs.get("padding_mask", inputs.get("decoder_padding_mask"))
    fits = mask is not None and mask.shape == key.shape[:2]
    return mask != 0 if mask is not None and fits else np.ones(key.shape[:2], bool)


def _gives(
    evidence: Evidence,
    how: Variant,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    real: np.ndarray,
) -> bool:
    """Whether the reference attends like this."""
    theirs, few = evidence.known("input", f"{evidence.finding.layer}/output"), _evidence(real)
    if theirs is None:
        return False
    query, key, value = (part[few] for part in parts)
    return evidence.same(attend(query, key, value, real[few], how), theirs[few], few)


def explained(
    evidence: Evidence,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    real: np.ndarray,
    variants: Iterator[Variant],
    positions: Positions | None = None,
) -> str | None:
    """How the two differ, by the variants that give what each feeds to its output projection."""
    path = evidence.finding.layer
    theirs = evidence.known("input", f"{path}/output")
    ours = evidence.teacher_forced.get((f"{path}/output", evidence.tap[1], "input"))
    if theirs is None or ours is None:
        return None
    few = _evidence(real)
    query, key, value = (part[few] for part in parts)
    found: dict[str, Variant] = {}
    for variant in variants:
        mixed = attend(query, key, value, real[few], variant, positions)
        for side, values in (("theirs", theirs), ("ours", ours)):
            if side not in found and evidence.same(mixed, values[few].astype("float64"), few):
                found[side] = variant
        if len(found) == 2:
            return _said(found["ours"], found["theirs"])
    return None


def _evidence(mask: np.ndarray) -> slice:
    """The rows to try on: all of a few tokens, of many one that has padding if any has."""
    if mask.size <= FEW:
        return slice(None)
    tokens = np.count_nonzero(mask, axis=1)
    telling = np.flatnonzero(tokens >= min(ENOUGH, tokens.max()))
    row = int(telling[np.argmin(tokens[telling])])
    return slice(row, row + 1)


def _said(ours: Variant, theirs: Variant) -> str | None:
    told = []
    for name in FIELDS:
        mine, right = getattr(ours, name), getattr(theirs, name)
        if mine != right:
            told.append(_wording(name, mine, right))
    return f"attention: {'; '.join(told)}, which restores its values" if told else None


def _wording(name: str, mine: object, right: object) -> str:
    if name == "mask":
        return f"the mask: ours has {mine}, the reference {right}"
    if name == "scale":
        return f"the scale: ours divides the scores by {mine}, the reference by {right}"
    if name == "heads":
        return f"ours has {mine} heads, the reference {right}"
    if name in ("split", "merge"):
        return f"the heads' order at the {name}: ours {mine}, the reference {right}"
    if name == "softmax":
        return f"the softmax: ours is over the {mine}, the reference's over the {right}"
    if name == "positions":
        return f"relative positions: ours has {mine}, the reference has them {right}"
    if name == "roles":
        return (
            f"ours takes the projections as {mine}, the reference as {right}, as if they were "
            "swapped in the map"
        )
    return f"ours gives {mine}, the reference {right}"


def variants_of(usual: Variant, width: int, tokens: int) -> Iterator[Variant]:
    """The usual one, and those that differ in one respect or, at last, in two."""
    heads = usual.heads
    masks = [*MASKS, AFTERWARDS, ADDED]
    single = [replace(usual, mask=mask) for mask in masks if mask != usual.mask]
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    single += [replace(usual, scale=scale) for scale in SCALES if scale != usual.scale]
    single += [replace(usual, scale=f"the root of {n}") for n in divisors if n > 1]
    single += [replace(usual, softmax="queries")]
    single += [replace(usual, split=order) for order in ("(d h)", "[h t d] without transposing")]
    single += [replace(usual, merge=order) for order in ("(d h)", "[h t d] without transposing")]
    single += [
        replace(usual, roles=roles)
        for roles in ("keys, queries and values", "values, keys and queries",
                      "queries, values and keys")
    ]  # fmt: skip
    single += [replace(usual, kind=kind) for kind in (VALUES, UNIFORM, UNNORMALISED)]
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
    "the root of twice a head's width": lambda width, heads: sqrt(2 * width / heads),
    "the root of three times a head's width": lambda width, heads: sqrt(3 * width / heads),
    "the root of the number of heads": lambda width, heads: sqrt(heads),
}


def attend(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    real: np.ndarray,
    how: Variant,
    positions: Positions | None = None,
) -> np.ndarray:
    """Mix the values `[batch, length, width]` in float64."""
    roles = {"queries": query, "keys": key, "values": value}
    order = how.roles.replace(" and ", ", ").split(", ")
    q, k, v = (split(roles[name], how) for name in order)
    i, j = np.arange(query.shape[1])[:, None], np.arange(key.shape[1])[None, :]
    mask = MASKS.get(how.mask, MASKS[PADDED])(real, i, j)
    seen = np.broadcast_to(mask, (len(real), i.size, j.size))[:, None]
    scores = np.einsum("bthd,bshd->bhts", q, k)
    if positions is not None:
        scores = scores + positions(q, k, how)
    scores = scores / _divisor(how, query.shape[-1])
    if how.kind == UNIFORM:
        scores = np.zeros_like(scores)
    hidden = np.where(seen, scores, -1e30)
    if how.mask == AFTERWARDS:
        hidden = scores
    elif how.mask == ADDED:
        hidden = scores + seen - 1
    axis = -1 if how.softmax == "keys" else -2
    weights = np.exp(hidden - hidden.max(axis=axis, keepdims=True))
    weights /= weights.sum(axis=axis, keepdims=True)
    if how.mask == AFTERWARDS:
        weights = weights * seen
    if how.kind == VALUES:
        weights = np.broadcast_to(np.eye(i.size, j.size), weights.shape)
    if how.kind == UNNORMALISED:
        weights = np.where(seen, scores, 0)
    mixed = np.einsum("bhts,bshd->bthd", weights, v)
    if how.merge == "(d h)":
        mixed = mixed.swapaxes(2, 3)
    elif how.merge != "(h d)":
        mixed = mixed.swapaxes(1, 2)
    return mixed.reshape(query.shape[0], i.size, -1)


def _alike(real: np.ndarray, i: np.ndarray) -> np.ndarray:
    """Tokens see tokens and pads see pads; of two lengths, all see what is no padding."""
    if real.shape[1] != i.size:
        return real[:, None, :]
    return real[:, :, None] == real[:, None, :]


def _divisor(how: Variant, width: int) -> float:
    if how.scale in SCALES:
        return SCALES[how.scale](width, how.heads)
    return sqrt(float(how.scale.rpartition(" ")[2]))


def split(x: np.ndarray, how: Variant) -> np.ndarray:
    batch, length, width = x.shape
    if how.split == "(d h)":
        return x.reshape(batch, length, width // how.heads, how.heads).swapaxes(2, 3)
    if how.split != "(h d)":
        return x.reshape(batch, how.heads, length, width // how.heads).swapaxes(1, 2)
    return x.reshape(batch, length, how.heads, width // how.heads)
