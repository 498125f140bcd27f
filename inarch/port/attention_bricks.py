"""Attention that a checkpoint needs: its heads, windows and norms, and what isn't known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.json_fields import is_number
from inarch.port.brick import Brick, field_of, find_module, make_brick, size_of
from inarch.port.known_arguments import SCORE_CAPS
from inarch.port.patterns import HEADS, KEY_HEADS, flatten_sizes, head_width, lower_words
from inarch.port.roles import ATTENTION, SQUARE, Recognized

CROSS = re.compile(r"cross|encoder_attn|enc_dec|encdec|encoder_decoder|layer\.1\.enc")
# Of tokens that attend to all, where others attend to a window (Beltagy et al., 2020).
GLOBAL = re.compile(r"(?:query|key|value)_global$")
WINDOWS = ("sliding_window", "local_attention", "attention_window")


def find_attention(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    by_place: dict[str, list[Recognized]] = {}
    for role in ATTENTION:
        for one in roles.get(role, ()):
            by_place.setdefault(find_module(one), []).append(one)
    found = []
    for place, members in by_place.items():
        weights = [one for one in members if not one.is_bias]
        fused = any(one.role == "query, key and value" for one in weights)
        parts = ["cross-attention" if CROSS.search(lower_words(place)) else "attention"]
        heads, keys = (size_of(config, names) for names in (HEADS, KEY_HEADS))
        if keys and heads and keys != heads:
            parts.append(f"{heads} heads of queries, {keys} of keys and values")
        if fused:
            parts.append("one tensor for query, key and value")
        parts.append("biases" if any(one.is_bias for one in members) else "no biases")
        if field_of(config, "use_sliding_window") is not False and any(
            field_of(config, name) for name in WINDOWS
        ):
            parts.append("a window in some or all layers")
        layer = "DisentangledSelfAttention" if "relative table" in roles else "MultiHeadAttention"
        further = _further(weights)
        first = [one for one in members if one not in further]
        found.append(make_brick(", ".join(parts), layer, first, place))
        if further and all(GLOBAL.search(one.module) for one in further):
            kind = "projections of global tokens, which attend to all"
            found.append(make_brick(kind, "GlobalLocalAttention", further, place))
        elif further:
            found.append(make_brick("further projections in attention", None, further, place))
    found += _query_key_norms(roles.get("query and key norm", ()), config)
    if caps := [name for name in SCORE_CAPS if is_number(field_of(config, name))]:
        found.append(Brick("a soft cap on the scores", "MultiHeadAttention", "", tuple(caps)))
    if "latent keys and values" in roles:
        kind = "attention through latent keys and values"
        found.append(make_brick(kind, None, roles["latent keys and values"]))
    if "position projection" in roles:
        names = [part.pattern.name for part in roles["position projection"]]
        others = [part.pattern.name for parts in roles.values() for part in parts]
        is_deberta = all(".pos_" in name for name in names) and "relative table" in roles
        own = "DisentangledSelfAttention" if is_deberta else None
        if any(name.endswith("r_w_bias") for name in others):
            own = "TransformerXLAttention"
        found.append(make_brick("projected positions", own, roles["position projection"]))
    if not by_place and SQUARE in roles:
        kind = "attention (four square projections, whose order is unknown)"
        found.append(make_brick(kind, "MultiHeadAttention", roles[SQUARE]))
    return found


def _further(weights: Sequence[Recognized]) -> list[Recognized]:
    """Return the projections of one attention, without the first of each role."""
    first: dict[str | None, Recognized] = {}
    for one in sorted(weights, key=lambda one: len(one.pattern.name)):
        first.setdefault(one.role, one)
    return [one for one in weights if one is not first[one.role]]


def _query_key_norms(members: Sequence[Recognized], config: Mapping[str, Any]) -> list[Brick]:
    """Return norms of queries and keys: of each head alike, of all heads together, and others."""
    heads, width = size_of(config, HEADS), head_width(flatten_sizes(config))
    own = [one for one in members if width is None or one.pattern.shapes[0] == (width,)]
    joint = [one for one in members if one not in own and not one.is_bias and _is_of_heads(
        one, width, (heads, size_of(config, KEY_HEADS)))]  # fmt: skip
    others = [one for one in members if one not in own + joint]
    found = []
    if own:
        found.append(make_brick("norms of queries and keys", "MultiHeadAttention", own))
    if joint:
        kind = "norms of queries and keys over all heads together"
        found.append(make_brick(kind, "RMSNorm", joint))
    if others:
        kind = "norms of queries and keys that aren't one for each head alike"
        found.append(make_brick(kind, None, others))
    return found


def _is_of_heads(one: Recognized, width: int | None, heads: Sequence[int | None]) -> bool:
    """Return whether a vector is as wide as all heads of queries, or of keys."""
    return one.pattern.shapes[0] in [(width * number,) for number in heads if width and number]
