"""Layers that a checkpoint needs, from the roles of its tensors and its config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.layers.rotary_scaling import SCALING_TYPES
from inarch.port.attention_bricks import find_attention
from inarch.port.brick import Brick, field_of, make_brick, size_of
from inarch.port.experts import odd_parts
from inarch.port.heads import DECODERS, OWN, named_heads
from inarch.port.patterns import HEADS
from inarch.port.roles import (
    OTHER_TABLE,
    RECURRENCE,
    Recognized,
)
from inarch.validation import shown

# What a numbered layer of the main stack is called, and not one of a stem.
IN_LAYERS = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.\{")
ROTARY = ("rope_theta", "rope_parameters", "rope_scaling", "rotary_emb_base", "rotary_dim",
          "rotary_pct", "partial_rotary_factor", "rotary_value", "rotary_emb_fraction",
          "default_theta", "global_rope_theta")  # fmt: skip

# Format whose scores have a linear bias by distance, of which no field tells.
ALIBI_TYPE = "bloom"

# Roles that are a brick each, with the layer that computes it.
BRICKS: tuple[tuple[str, str, str | None], ...] = (
    (RECURRENCE, "recurrent layers: a state space, linear attention or RWKV", None),
    ("attention sink", "sinks in the scores of attention", None),
    ("difference of attention", "attention as a difference of two", None),
    ("gate of attention", "a gate on the output of attention", None),
    ("activation", "an activation with weights", None),
    ("batch norm", "batch normalization", "keras.layers.BatchNormalization"),
    ("group norm", "group normalization", "keras.layers.GroupNormalization"),
    ("adapter", "adapters within layers", None),
    ("alternating updates", "alternating updates of several residual streams", None),
    ("input of each layer", "an input of its own for each layer", None),
)


def find_bricks(found: Sequence[Recognized], config: Mapping[str, Any]) -> tuple[Brick, ...]:
    """Return the bricks of a checkpoint, those of its embeddings first."""
    by_role: dict[str, list[Recognized]] = {}
    for one in found:
        by_role.setdefault(one.role or "", []).append(one)
    bricks = [
        *_embeddings(by_role, config), *find_attention(by_role, config),
        *_feed_forward(by_role, config), *_norms(by_role, config), *_others(by_role, config),
    ]  # fmt: skip
    return tuple(bricks)


def _embeddings(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = [
        make_brick(kind, layer, roles[role])
        for role, kind, layer in (
            ("token table", "token embedding", "keras.layers.ReversibleEmbedding"),
            ("position table", "learned positions", "PositionEmbedding"),
            ("segment table", "segment embedding", "keras.layers.Embedding"),
            (OTHER_TABLE, "further tables of embeddings", "keras.layers.Embedding"),
            ("relative table", "relative positions in the scores", "DisentangledSelfAttention"),
        )
        if role in roles
    ]
    found += _relative_bias(roles.get("relative bias", ()), config)
    fields = [name for name in ROTARY if field_of(config, name) is not None]
    if fields:
        found.append(_rotary(fields, config))
    elif (sign := find_alibi(config)) is not None:
        found.append(Brick("ALiBi: a bias by distance, without weights", "AlibiBias", "", (sign,)))
    elif not any(r in roles for r in ("position table", "relative bias", "relative table")) and (
        not any("pos" in one.module for one in roles.get("convolution", ()))
    ):
        kind = "positions that have no tensor: sinusoidal, or none"
        found.append(Brick(kind, "SinePositionEncoding", "", (), is_guess=True))
    return found


def find_alibi(config: Mapping[str, Any]) -> str | None:
    """Return the field that shows a linear bias by distance; None without one."""
    if field_of(config, "alibi") is True:
        return "alibi"
    return "model_type" if config.get("model_type") == ALIBI_TYPE else None


def _relative_bias(members: Sequence[Recognized], config: Mapping[str, Any]) -> list[Brick]:
    """Return a table `[buckets, heads]`, and what else makes such a bias, for which no layer is."""
    heads = size_of(config, HEADS)
    tables = [
        one for one in members
        if len(shape := one.pattern.shapes[0]) == 2 and heads in (None, shape[1])
    ]  # fmt: skip
    others = [one for one in members if one not in tables]
    found = []
    if tables:
        found.append(make_brick("relative bias on the scores", "RelativePositionBias", tables))
    if others:
        found.append(make_brick("a relative bias that is more than a table", None, others))
    return found


def _rotary(fields: Sequence[str], config: Mapping[str, Any]) -> Brick:
    """Return rotary positions with their scaling, and the share of features that they rotate."""
    kind, layer = "rotary positions", "RotaryEmbedding"
    scaling = field_of(config, "rope_scaling") or field_of(config, "rope_parameters")
    stated = scaling if isinstance(scaling, Mapping) else {}
    name = stated.get("rope_type", stated.get("type"))
    if name not in (None, "default"):
        kind += f", scaling {shown(name)}"
        layer = layer if name in SCALING_TYPES else ""
    share = field_of(config, "partial_rotary_factor") or field_of(config, "rotary_pct")
    if (share is not None and share != 1) or field_of(config, "rotary_dim"):
        kind += ", of some features alone"
    return Brick(kind, layer or None, "", tuple(fields))


def _feed_forward(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = []
    ups = [*roles.get("up", ()), *roles.get("gate and up", ()), *roles.get("gate", ())]
    if ups:
        gated = "gate" in roles or "gate and up" in roles
        fused = ", gate and up in one tensor" if "gate and up" in roles else ""
        bias = "biases" if any(one.is_bias for one in ups) else "no biases"
        kind = f"{'gated ' if gated else ''}feed-forward network{fused}, {bias}"
        found.append(make_brick(kind, "GatedFeedForward" if gated else "FeedForward", ups))
    if "expert" in roles or "router" in roles:
        found.append(_mixture(roles, config))
    return found


def _mixture(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> Brick:
    """Return a mixture of experts, whose layer is known where a softmax chooses gated ones."""
    experts, routers = roles.get("expert", []), roles.get("router", [])
    shared = roles.get("shared expert", [])
    of_experts, of_routers, of_shared = (
        [one.pattern for one in some] for some in (experts, routers, shared)
    )
    odd = odd_parts(of_experts, of_routers, of_shared, config)
    kind = ", ".join(["mixture of experts", *odd])
    is_known = bool(experts) and not odd
    return make_brick(kind, "MixtureOfExperts" if is_known else None, routers + experts + shared)


def _norms(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    norms = roles.get("norm", [])
    if not norms:
        return []
    has_bias = any(one.is_bias for one in norms)
    root_mean_square = [n for n in ("rms_norm_eps", "rms_norm_epsilon") if field_of(config, n)]
    if has_bias:
        return [make_brick("layer normalization", "keras.layers.LayerNormalization", norms)]
    if root_mean_square:
        brick = make_brick("RMS normalization", "RMSNorm", norms)
        return [Brick(brick.kind, brick.layer, brick.where, (*brick.evidence, *root_mean_square))]
    kind = "norms without biases: RMS, or layer normalization without centering"
    brick = make_brick(kind, "RMSNorm", norms)
    return [Brick(brick.kind, brick.layer, brick.where, brick.evidence, is_guess=True)]


def _others(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = [make_brick(kind, layer, roles[role]) for role, kind, layer in BRICKS if role in roles]
    if "convolution" in roles:
        members = roles["convolution"]
        stem = not any(_is_in_stack(one.pattern.name) for one in members)
        known = stem and all(len(one.pattern.shapes[0]) == 3 for one in members if not one.is_bias)
        kind = "convolutions in front" if stem else "convolutions within layers"
        found.append(make_brick(kind, "keras.layers.Conv1D" if known else None, members))
    if "language head" in roles:
        members = roles["language head"]
        transforms = any("transform" in one.module or "dense" in one.module for one in members)
        layer = "MaskedLMHead" if transforms else "keras.layers.Dense"
        found.append(make_brick("language-modeling head", layer, members))
    elif field_of(config, "tie_word_embeddings") is not False and "token table" in roles:
        kind = "a head tied to the token embedding, if any"
        is_pair = field_of(config, "is_encoder_decoder") is True
        is_plain = is_pair or OWN[DECODERS] in named_heads(config)
        layer = "keras.layers.ReversibleEmbedding" if is_plain else "MaskedLMHead"
        found.append(Brick(kind, layer, "", (), is_guess=True))
    unknown = [one for one in roles.get("", ()) if one.pattern.indices]
    if unknown:
        found.append(make_brick("tensors of layers that nothing explains", None, unknown))
    if "vector of a layer" in roles:
        found.append(make_brick("vectors of the hidden size", None, roles["vector of a layer"]))
    return found


def _is_in_stack(name: str) -> bool:
    """Return whether a tensor is in a layer of the main stack, and not of one of convolutions."""
    found = IN_LAYERS.search(name)
    return found is not None and "conv" not in name[: found.start()]
