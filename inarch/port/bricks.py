"""Layers that a checkpoint needs, from the roles of its tensors and its config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.json_fields import is_number
from inarch.layers.rotary_scaling import SCALING_TYPES
from inarch.port.heads import DECODERS, OWN, named_heads
from inarch.port.known_arguments import SCORE_CAPS
from inarch.port.patterns import HEADS, KEY_HEADS, flatten_sizes, head_width, lower_words
from inarch.port.roles import (
    ATTENTION,
    BY_SHAPE,
    OTHER_TABLE,
    RECURRENCE,
    SQUARE,
    Recognized,
)
from inarch.validation import shown

# What a numbered layer of the main stack is called, and not one of a stem.
IN_LAYERS = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.\{")
CROSS = re.compile(r"cross|encoder_attn|enc_dec|encdec|encoder_decoder|layer\.1\.enc")
WINDOWS = ("sliding_window", "local_attention", "attention_window")
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


@dataclass(frozen=True)
class Brick:
    """A kind of layer that the checkpoint needs.

    Attributes:
        kind: in words, such as "grouped-query attention".
        layer: the class here, or of Keras; None where none is known: a layer to be written.
        where: the module, with indices in place of numbers.
        evidence: names of tensors and fields that show it.
        is_guess: whether names say nothing, and shapes or a missing tensor alone do.
    """

    kind: str
    layer: str | None
    where: str
    evidence: tuple[str, ...]
    is_guess: bool = False


def find_bricks(found: Sequence[Recognized], config: Mapping[str, Any]) -> tuple[Brick, ...]:
    """Return the bricks of a checkpoint, those of its embeddings first."""
    by_role: dict[str, list[Recognized]] = {}
    for one in found:
        by_role.setdefault(one.role or "", []).append(one)
    bricks = [
        *_embeddings(by_role, config), *_attention(by_role, config),
        *_feed_forward(by_role, config), *_norms(by_role, config), *_others(by_role, config),
    ]  # fmt: skip
    return tuple(bricks)


def _embeddings(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = [
        _brick(kind, layer, roles[role])
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
    fields = [name for name in ROTARY if _field(config, name) is not None]
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
    if _field(config, "alibi") is True:
        return "alibi"
    return "model_type" if config.get("model_type") == ALIBI_TYPE else None


def _relative_bias(members: Sequence[Recognized], config: Mapping[str, Any]) -> list[Brick]:
    """Return a table `[buckets, heads]`, and what else makes such a bias, for which no layer is."""
    heads = _size(config, HEADS)
    tables = [
        one for one in members
        if len(shape := one.pattern.shapes[0]) == 2 and heads in (None, shape[1])
    ]  # fmt: skip
    others = [one for one in members if one not in tables]
    found = []
    if tables:
        found.append(_brick("relative bias on the scores", "RelativePositionBias", tables))
    if others:
        found.append(_brick("a relative bias that is more than a table", None, others))
    return found


def _rotary(fields: Sequence[str], config: Mapping[str, Any]) -> Brick:
    """Return rotary positions with their scaling, and the share of features that they rotate."""
    kind, layer = "rotary positions", "RotaryEmbedding"
    scaling = _field(config, "rope_scaling") or _field(config, "rope_parameters")
    stated = scaling if isinstance(scaling, Mapping) else {}
    name = stated.get("rope_type", stated.get("type"))
    if name not in (None, "default"):
        kind += f", scaling {shown(name)}"
        layer = layer if name in SCALING_TYPES else ""
    share = _field(config, "partial_rotary_factor") or _field(config, "rotary_pct")
    if (share is not None and share != 1) or _field(config, "rotary_dim"):
        kind += ", of some features alone"
    return Brick(kind, layer or None, "", tuple(fields))


def _attention(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    by_place: dict[str, list[Recognized]] = {}
    for role in ATTENTION:
        for one in roles.get(role, ()):
            by_place.setdefault(find_module(one), []).append(one)
    found = []
    for place, members in by_place.items():
        weights = [one for one in members if not one.is_bias]
        fused = any(one.role == "query, key and value" for one in weights)
        parts = ["cross-attention" if CROSS.search(lower_words(place)) else "attention"]
        heads, keys = (_size(config, names) for names in (HEADS, KEY_HEADS))
        if keys and heads and keys != heads:
            parts.append(f"{heads} heads of queries, {keys} of keys and values")
        if fused:
            parts.append("one tensor for query, key and value")
        parts.append("biases" if any(one.is_bias for one in members) else "no biases")
        if _field(config, "use_sliding_window") is not False and any(
            _field(config, name) for name in WINDOWS
        ):
            parts.append("a window in some or all layers")
        layer = "DisentangledSelfAttention" if "relative table" in roles else "MultiHeadAttention"
        further = _further(weights)
        first = [one for one in members if one not in further]
        found.append(_brick(", ".join(parts), layer, first, place))
        if further:
            found.append(_brick("further projections in attention", None, further, place))
    found += _query_key_norms(roles.get("query and key norm", ()), config)
    if caps := [name for name in SCORE_CAPS if is_number(_field(config, name))]:
        found.append(Brick("a soft cap on the scores", "MultiHeadAttention", "", tuple(caps)))
    if "latent keys and values" in roles:
        kind = "attention through latent keys and values"
        found.append(_brick(kind, None, roles["latent keys and values"]))
    if "position projection" in roles:
        names = [part.pattern.name for part in roles["position projection"]]
        others = [part.pattern.name for parts in roles.values() for part in parts]
        is_deberta = all(".pos_" in name for name in names) and "relative table" in roles
        own = "DisentangledSelfAttention" if is_deberta else None
        if any(name.endswith("r_w_bias") for name in others):
            own = "TransformerXLAttention"
        found.append(_brick("projected positions", own, roles["position projection"]))
    if not by_place and SQUARE in roles:
        kind = "attention (four square projections, whose order is unknown)"
        found.append(_brick(kind, "MultiHeadAttention", roles[SQUARE]))
    return found


def _further(weights: Sequence[Recognized]) -> list[Recognized]:
    """Return the projections of one attention, without the first of each role."""
    first: dict[str | None, Recognized] = {}
    for one in sorted(weights, key=lambda one: len(one.pattern.name)):
        first.setdefault(one.role, one)
    return [one for one in weights if one is not first[one.role]]


def _query_key_norms(members: Sequence[Recognized], config: Mapping[str, Any]) -> list[Brick]:
    """Return norms of queries and keys: of each head alike, of all heads together, and others."""
    heads, width = _size(config, HEADS), head_width(flatten_sizes(config))
    own = [one for one in members if width is None or one.pattern.shapes[0] == (width,)]
    joint = [one for one in members if one not in own and not one.is_bias and _is_of_heads(
        one, width, (heads, _size(config, KEY_HEADS)))]  # fmt: skip
    others = [one for one in members if one not in own + joint]
    found = []
    if own:
        found.append(_brick("norms of queries and keys", "MultiHeadAttention", own))
    if joint:
        kind = "norms of queries and keys over all heads together"
        found.append(_brick(kind, "RMSNorm", joint))
    if others:
        kind = "norms of queries and keys that aren't one for each head alike"
        found.append(_brick(kind, None, others))
    return found


def _is_of_heads(one: Recognized, width: int | None, heads: Sequence[int | None]) -> bool:
    """Return whether a vector is as wide as all heads of queries, or of keys."""
    return one.pattern.shapes[0] in [(width * number,) for number in heads if width and number]


def _feed_forward(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = []
    ups = [*roles.get("up", ()), *roles.get("gate and up", ()), *roles.get("gate", ())]
    if ups:
        gated = "gate" in roles or "gate and up" in roles
        fused = ", gate and up in one tensor" if "gate and up" in roles else ""
        bias = "biases" if any(one.is_bias for one in ups) else "no biases"
        kind = f"{'gated ' if gated else ''}feed-forward network{fused}, {bias}"
        found.append(_brick(kind, "GatedFeedForward" if gated else "FeedForward", ups))
    if "expert" in roles or "router" in roles:
        found.append(_mixture(roles, config))
    return found


def _mixture(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> Brick:
    """Return a mixture of experts, whose layer is known where a softmax chooses gated ones."""
    experts, routers = roles.get("expert", []), roles.get("router", [])
    shared = roles.get("shared expert", [])
    names = {one.pattern.name.removesuffix(".weight").rpartition(".")[2] for one in experts}
    # Gate, up and down by themselves, or the first two in one tensor.
    is_gated = len(names) > 2 or any(re.search("gate|input_linear", name) for name in names)
    scoring = _field(config, "scoring_func") or "softmax"
    odd = {
        "shared experts": bool(shared),
        "biases": any(one.is_bias or "bias" in one.pattern.name for one in experts + routers),
        "no gates": bool(experts) and not is_gated,
        f"{scoring} in place of a softmax": scoring != "softmax",
    }
    kind = ", ".join(["mixture of experts", *(name for name, is_there in odd.items() if is_there)])
    is_known = bool(experts) and not any(odd.values())
    return _brick(kind, "MixtureOfExperts" if is_known else None, routers + experts + shared)


def _norms(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    norms = roles.get("norm", [])
    if not norms:
        return []
    has_bias = any(one.is_bias for one in norms)
    root_mean_square = [n for n in ("rms_norm_eps", "rms_norm_epsilon") if _field(config, n)]
    if has_bias:
        return [_brick("layer normalization", "keras.layers.LayerNormalization", norms)]
    if root_mean_square:
        brick = _brick("RMS normalization", "RMSNorm", norms)
        return [Brick(brick.kind, brick.layer, brick.where, (*brick.evidence, *root_mean_square))]
    kind = "norms without biases: RMS, or layer normalization without centering"
    brick = _brick(kind, "RMSNorm", norms)
    return [Brick(brick.kind, brick.layer, brick.where, brick.evidence, is_guess=True)]


def _others(roles: Mapping[str, list[Recognized]], config: Mapping[str, Any]) -> list[Brick]:
    found = [_brick(kind, layer, roles[role]) for role, kind, layer in BRICKS if role in roles]
    if "convolution" in roles:
        members = roles["convolution"]
        stem = not any(_is_in_stack(one.pattern.name) for one in members)
        known = stem and all(len(one.pattern.shapes[0]) == 3 for one in members if not one.is_bias)
        kind = "convolutions in front" if stem else "convolutions within layers"
        found.append(_brick(kind, "keras.layers.Conv1D" if known else None, members))
    if "language head" in roles:
        members = roles["language head"]
        transforms = any("transform" in one.module or "dense" in one.module for one in members)
        layer = "MaskedLMHead" if transforms else "keras.layers.Dense"
        found.append(_brick("language-modeling head", layer, members))
    elif _field(config, "tie_word_embeddings") is not False and "token table" in roles:
        kind = "a head tied to the token embedding, if any"
        is_pair = _field(config, "is_encoder_decoder") is True
        is_plain = is_pair or OWN[DECODERS] in named_heads(config)
        layer = "keras.layers.ReversibleEmbedding" if is_plain else "MaskedLMHead"
        found.append(Brick(kind, layer, "", (), is_guess=True))
    unknown = [one for one in roles.get("", ()) if one.pattern.indices]
    if unknown:
        found.append(_brick("tensors of layers that nothing explains", None, unknown))
    if "vector of a layer" in roles:
        found.append(_brick("vectors of the hidden size", None, roles["vector of a layer"]))
    return found


def _is_in_stack(name: str) -> bool:
    """Return whether a tensor is in a layer of the main stack, and not of one of convolutions."""
    found = IN_LAYERS.search(name)
    return found is not None and "conv" not in name[: found.start()]


def _field(config: Mapping[str, Any], name: str) -> Any:
    """Return a field of the config or of what it nests, `None` without it."""
    nested = [value for value in config.values() if isinstance(value, Mapping)]
    values = (part.get(name) for part in (config, *nested))
    return next((value for value in values if value is not None), None)


def _size(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    values = (_field(config, name) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool)), None)


def find_module(one: Recognized) -> str:
    """Return the module around a projection."""
    return one.module.rpartition(".")[0] or one.module


def _brick(
    kind: str, layer: str | None, members: Sequence[Recognized], where: str | None = None
) -> Brick:
    places = list(dict.fromkeys(one.module for one in members))
    names = tuple(one.pattern.name for one in members)
    guessed = all(one.by == BY_SHAPE for one in members)
    return Brick(kind, layer, places[0] if where is None else where, names, guessed)
