"""Arguments of a drafted backbone, and the fields of the config that give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.json_fields import is_number
from inarch.port.code import code
from inarch.port.find_choice import of_mixture
from inarch.port.find_relative import RELATIVE_SEGMENTS
from inarch.port.find_slots import QUERY, UP
from inarch.port.graph import SEGMENTS, TOKENS, Graph
from inarch.port.heads import PAIR_HEADS
from inarch.port.known_arguments import (
    BY_ARGUMENT,
    BY_TYPE,
    CONVOLVED,
    DISENTANGLED,
    GATING,
    KNOWN,
    STEM,
    Known,
)


@dataclass(frozen=True)
class Argument:
    """An argument of the constructor.

    Attributes:
        name: ours.
        type: its annotation.
        default: as code; None for none.
        text: for the docstring.
    """

    name: str
    type: str
    default: str | None
    text: str


# Arguments of an encoder-decoder alone, by those of one stack that they stand for.
OF_SIDES = {
    "num_layers": ("num_encoder_layers", "num_decoder_layers"),
    "num_heads": ("num_encoder_heads", "num_decoder_heads"),
    "intermediate_dim": ("encoder_intermediate_dim", "decoder_intermediate_dim"),
}
OF_PAIRS = ("num_buckets", "max_distance", "scale_embedding")
# Arguments whose fields trials show.
SWITCHES = ("num_groups", "use_bias", "attention_bias", "feed_forward_bias", "rotary_layers",
    "use_sliding_window", "bidirectional", "shared_embeddings", "positions",
    "zero_mask_tokens", "normalize_weights")  # fmt: skip
# Sizes that tables have where no field has them: the layer, and the axis of its weight.
OF_TABLES = {
    "vocabulary_size": (TOKENS, 0), "num_segments": (SEGMENTS, 0),
    "embedding_dim": ("embeddings_projection", 1),
}  # fmt: skip


def find_field(argument: str, config: Mapping[str, Any]) -> str | None:
    """Return the field that gives an argument; None without one."""
    names = BY_ARGUMENT[argument].fields
    if argument == "intermediate_dim":
        hidden = find_field("hidden_dim", config)
        names = [name for name in names if name != hidden]
    return next((name for name in names if name in config), None)


def needed(graph: Graph, config: Mapping[str, Any], heads: Sequence[str]) -> list[str]:
    """Return the names of the arguments that a graph has, in the order of its signature."""
    has = {
        "embedding_dim": find_field("embedding_dim", config) is not None
        or graph.size("embeddings_projection", 0) != graph.size("embeddings_projection", 1),
        "attention_soft_cap": graph.capped_scores,
        "logits_soft_cap": "causal_lm" in heads and has_number("logits_soft_cap", config),
        "sliding_window": has_window(config) or "use_sliding_window" in graph.switches,
        "num_key_value_heads": find_field("num_key_value_heads", config) is not None,
        "head_dim": find_field("head_dim", config) is not None
        and graph.positions != RELATIVE_SEGMENTS,
        **{name: name in graph.switches for name in SWITCHES},
        "normalize_first": graph.ordering,
        **of_mixture(graph, config),
        "layer_types": bool(graph.layer_types),
        "attention_windows": graph.has_global_tokens
        and find_field("attention_windows", config) is not None,
        "local_attention": graph.window.startswith("local_attention"),
        **dict.fromkeys(BY_TYPE, has_bases(graph, config)),
        "rope_theta": graph.positions == "rotary" and not has_bases(graph, config),
        "rope_scaling": graph.scaled,
        "partial_rotary_factor": graph.positions == "rotary"
        and nested_rotary(config, "partial_rotary_factor") is not None,
        "rotary_dim": graph.positions == "rotary" and isinstance(config.get("rotary_dim"), int),
        "num_segments": graph.has("segment_embedding") or "num_segments" in graph.sizes,
        "clamp_length": graph.positions == RELATIVE_SEGMENTS
        and find_field("clamp_length", config) is not None,
        "mask_id": "zero_mask_tokens" in graph.switches,
        "max_sequence_length": graph.positions == "learned" or graph.causal
        or find_field("max_sequence_length", config) is not None,
        "padding_id": graph.padded or (graph.causal and "text_classifier" in heads),
        "activation": find_activation(config) is not None,
        "layer_norm_epsilon": find_field("layer_norm_epsilon", config) is not None
        and not graph.fixed_epsilon,
        **{
            name: find_field(name, config) is not None
            for name in ("dropout", "embedding_dropout", "attention_dropout",
                "feed_forward_dropout", "intermediate_dim")
        },
    }  # fmt: skip
    for name in DISENTANGLED:
        has[name] = graph.positions == "disentangled" and find_field(name, config) is not None
        has[name] &= name not in CONVOLVED or graph.has("convolution")
    has["intermediate_dim"] &= not has["moe_intermediate_dim"] or graph.has(UP)
    has |= {name: bool(graph.stem) for name in STEM}
    has |= _of_pairs(graph, config)
    # What only layers that are missing would read, unless a field has it.
    has["vocabulary_size"] = graph.has(TOKENS)
    is_read = {
        "num_heads": graph.has(QUERY),
        "num_layers": bool(graph.stacks),
    }
    for name, is_there in is_read.items():
        has[name] = has.get(name, True) and (is_there or find_field(name, config) is not None)
    has["start_id"] = graph.is_pair and len({*heads} & {*PAIR_HEADS[1:]}) > 0
    has["end_id"] = graph.is_pair and PAIR_HEADS[1] in heads
    found = [known.argument for known in KNOWN if has.get(known.argument, True)]
    more = [*graph.parts, *filter(None, [graph.score_field])]
    return [*found, *(name for name in more if name not in BY_ARGUMENT)]


def _of_pairs(graph: Graph, config: Mapping[str, Any]) -> dict[str, bool]:
    """Return which of the arguments of encoder-decoders there are, and which in their place."""
    found = {}
    for name, parts in OF_SIDES.items():
        split = graph.is_pair and all(find_field(part, config) for part in parts)
        is_there = name != "intermediate_dim" or find_field(name, config) is not None
        found[name] = is_there and not split
        found |= dict.fromkeys(parts, split)
    in_scores = graph.is_pair and graph.positions == "relative"
    found |= {name: in_scores and find_field(name, config) is not None for name in OF_PAIRS}
    found["decoder_vocabulary_size"] = (
        "shared_embeddings" in graph.switches
        and find_field("decoder_vocabulary_size", config) is not None
    )
    found["scale_embedding"] = graph.scaling
    if graph.is_pair:
        found["embedding_dim"] = False
    return found


def side_argument(name: str, side: str, names: Sequence[str]) -> str:
    """Return the argument that a stack of an encoder-decoder has in the place of another."""
    first, second = OF_SIDES.get(name, (name, name))
    own = first if side == "encoder" else second
    return own if own in names else name


def has_window(config: Mapping[str, Any]) -> bool:
    """Return whether a config has a window that isn't switched off."""
    is_on = config.get("use_sliding_window") is not False
    return is_on and isinstance(config.get("sliding_window"), int)


def has_number(argument: str, config: Mapping[str, Any]) -> bool:
    """Return whether the field of an argument is a number."""
    field = find_field(argument, config)
    return field is not None and is_number(config[field])


def has_bases(graph: Graph, config: Mapping[str, Any]) -> bool:
    """Return whether each kind of layers has rotary positions of its own."""
    nested = config.get("rope_parameters")
    kinds = [nested.get(kind) for kind in graph.layer_types] if isinstance(nested, Mapping) else []
    return bool(kinds) and all(isinstance(kind, Mapping) for kind in kinds)


def _has_padding(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("pad_token_id"), int)


def find_activation(config: Mapping[str, Any]) -> str | None:
    """Return the field of the activation, where it has a value that is computed here."""
    field = find_field("activation", config)
    value = config[field] if field is not None else None
    if field == GATING and isinstance(value, str) and "dense_act_fn" in config:
        value = config["dense_act_fn"]
    return field if isinstance(value, str) and value in ACTIVATIONS else None


def arguments_of(names: Sequence[str], config: Mapping[str, Any], graph: Graph) -> list[Argument]:
    """Return the arguments with their defaults, those without one first."""
    found = []
    for name in names:
        known = BY_ARGUMENT.get(name) or (_scale(name, config) if name == graph.score_field else
                 _part(name))  # fmt: skip
        default = _default(known, config, graph)
        if name == "padding_id" and graph.padded:
            known = replace(known, type="int")
        of_none = default == "None" and not known.type.endswith("None")
        kind = f"{known.type} | None" if of_none else known.type
        found.append(Argument(name, kind, default, known.text))
    return sorted(found, key=lambda argument: argument.default is not None)


def _scale(name: str, config: Mapping[str, Any]) -> Known:
    """Return the argument that scores are scaled by."""
    kind = "int" if isinstance(config[name], int) else "float"
    return Known(name, (name,), "field", kind, "what scores of attention are scaled by.")


def _part(name: str) -> Known:
    """Return the argument that a field which decides about layers is."""
    return Known(name, (name,), "part", "bool", f"whether there is what `{name}` gives.")


def terms_of(value: Any) -> str:
    """Return the terms of positions in the scores that a field names, in our order."""
    given = value.split("|") if isinstance(value, str) else value or []
    return "|".join(term for term in ("c2p", "p2c") if term in given) or "none"


def _default(known: Known, config: Mapping[str, Any], graph: Graph) -> str | None:
    name = known.argument
    sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "embedding_dim",
        "intermediate_dim")  # fmt: skip
    if name == "intermediate_dim" and config[find_field(name, config) or ""] is None:
        return "None"
    if name == "embedding_dim" and not graph.has("embeddings_projection"):
        return "None"
    if name in graph.sizes and find_field(name, config) is None:
        return repr(graph.sizes[name])
    if name in OF_TABLES and find_field(name, config) is None:
        return repr(graph.size(*OF_TABLES[name]) or None)
    if name in sizes or (name == "padding_id" and graph.padded and not _has_padding(config)):
        return None
    if known.form in ("fallback", "scaling"):
        return "None"
    if known.form == "per_layer":
        return None
    if name in BY_TYPE:
        kind = next(kind for kind, ours in graph.layer_types.items() if name.startswith(ours))
        return repr(float(config["rope_parameters"][kind]["rope_theta"]))
    if name == "rope_theta":
        return repr(float(rotary_base(config) or 10000.0))
    if name == "partial_rotary_factor":
        return repr(float(nested_rotary(config, name)))
    if known.form == "part":
        value = config.get(graph.parts.get(name, name))
        return code(value if isinstance(value, bool) else value not in (None, "none"))
    field = graph.switches.get(name) or (
        name if name == graph.score_field else find_field(name, config)
    )  # fmt: skip
    value = config.get(field) if field else known.usual
    if known.form == "word":
        return code(value)
    if known.form == "sizes":
        return code(tuple(value or ()))
    if known.form == "subset":
        return code(terms_of(value))
    if known.form == "choice" and name != "activation":
        return code(ACTIVATIONS[str(value)])
    if name == "activation":
        gate = "gated_" if str(value).startswith("gated-") else ""
        value = config["dense_act_fn"] if gate else value
        return code(gate * bool(graph.gating) + ACTIVATIONS[str(value)])
    if name == "max_sequence_length" and isinstance(value, int):
        return repr(
            value - (config["pad_token_id"] if _has_padding(config) else 1) - 1
            if graph.padded_table
            else value
        )
    if known.type == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return code(value)


def rotary_base(config: Mapping[str, Any]) -> float | None:
    """Return the base of rotary positions of a config."""
    field = find_field("rope_theta", config)
    values = (nested_rotary(config, "rope_theta"), None if field is None else config[field])
    return next((value for value in values if is_number(value)), None)


def nested_rotary(config: Mapping[str, Any], name: str) -> Any:
    """Return a field of `rope_parameters`, None without it."""
    nested = config.get("rope_parameters")
    value = nested.get(name) if isinstance(nested, Mapping) else None
    return value if name != "partial_rotary_factor" or is_number(value) else None
