"""Arguments of a drafted backbone, and the fields of the config that give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.checkpoints.maps.common_fields import COMMON
from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.code import code
from inarch.port.graph import SEGMENTS, TOKENS, Graph
from inarch.port.heads import PAIR_HEADS
from inarch.port.patterns import HEADS, HIDDEN, INNER, KEY_HEADS, WIDTHS

# Fields whose values are sizes of the model, which a tiny one has smaller.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
NARROW = ("embedding_size", "word_embed_proj_dim", "input_embedding_size", "embedding_dim")
EPSILONS = (
    "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "rms_norm_eps", "norm_epsilon",
    "rms_norm_epsilon",
)  # fmt: skip
# Of one word for an activation and a gate, such as "gated-gelu"; configs have both apart besides.
GATING = "feed_forward_proj"
ACTIVATION_FIELDS = (
    "hidden_act", "activation", "activation_function", "hidden_activation", "afn", GATING,
)  # fmt: skip
BASES = ("rope_theta", "rotary_emb_base")


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


@dataclass(frozen=True)
class Known:
    """Fields that give an argument, by the names that published configs have for them."""

    argument: str
    fields: Sequence[str]
    form: str
    type: str
    text: str
    usual: Any = None


KNOWN = (
    Known("vocabulary_size", ("vocab_size",), "field", "int", "number of tokens."),
    Known("num_layers", LAYERS, "field", "int", "number of layers."),
    Known("num_heads", HEADS, "field", "int", "attention heads of each layer."),
    Known("num_groups", (), "field", "int",
        "number of groups of layers that share their weights, at most `num_layers`."),
    Known("num_encoder_layers", ("encoder_layers", "num_encoder_layers", *LAYERS), "field", "int",
        "number of encoder layers."),
    Known("num_decoder_layers", ("decoder_layers", "num_decoder_layers"), "field", "int",
        "number of decoder layers."),
    Known("num_encoder_heads", ("encoder_attention_heads", "num_encoder_attention_heads"),
        "field", "int", "attention heads of each encoder layer."),
    Known("num_decoder_heads", ("decoder_attention_heads", "num_decoder_attention_heads"),
        "field", "int", "attention heads of each decoder layer."),
    Known("hidden_dim", HIDDEN, "field", "int", "width of the model."),
    Known("embedding_dim", NARROW, "field", "int", "width of the embeddings."),
    Known("intermediate_dim", INNER, "field", "int", "width of the feedforward layers."),
    Known("encoder_intermediate_dim", ("encoder_ffn_dim",), "field", "int",
        "width of the encoder's feedforward layers."),
    Known("decoder_intermediate_dim", ("decoder_ffn_dim",), "field", "int",
        "width of the decoder's feedforward layers."),
    Known("num_key_value_heads", KEY_HEADS, "fallback", "int | None",
        "heads of keys and values, which several\n    heads of queries share; `None` is "
        "`num_heads`."),
    Known("head_dim", WIDTHS, "fallback", "int | None",
        "width of a head; `None` is `hidden_dim / num_heads`."),
    Known("dropout", ("hidden_dropout_prob", "dropout", "resid_pdrop", "hidden_dropout",
        "residual_dropout", "dropout_rate"), "probability", "float",
        "rate in the residual branches.", 0.0),
    Known("embedding_dropout", ("embd_pdrop", "embedding_dropout", "embed_dropout"),
        "probability", "float", "rate after the embeddings.", 0.0),
    Known("attention_dropout", ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop",
        "attn_dropout"), "probability", "float", "rate on the attention weights.", 0.0),
    Known("feed_forward_dropout", ("activation_dropout", "mlp_dropout"), "probability", "float",
        "rate between the projections of the feedforward\n    layers.", 0.0),
    Known("activation", ACTIVATION_FIELDS, "choice", "str", "of the feedforward layers."),
    Known("layer_norm_epsilon", EPSILONS, "field", "float", "of every normalization."),
    Known("rope_theta", BASES, "field", "float", "base of the rotary wavelengths."),
    Known("rope_scaling", (), "scaling", "Mapping[str, Any] | None",
        "scaling of the rotary frequencies, as of `RotaryEmbedding`; `None` for none."),
    Known("partial_rotary_factor", (), "field", "float",
        "share of the features of a head that are rotated."),
    Known("rotary_dim", ("rotary_dim",), "field", "int",
        "number of the features of a head that are rotated."),
    Known("sliding_window", ("sliding_window",), "field", "int | None",
        "tokens that a token attends to, itself among them; `None` for all."),
    Known("use_bias", (), "field", "bool", "whether projections have biases."),
    Known("normalize_first", (), "field", "bool",
        "whether norms come before each sublayer, and after the last layer."),
    Known("attention_bias", (), "field", "bool",
        "whether the projections of attention have biases."),
    Known("feed_forward_bias", (), "field", "bool",
        "whether the projections of the feedforward layers have biases."),
    Known("num_buckets", ("relative_attention_num_buckets",), "field", "int",
        "buckets of distances, each with a bias for each head."),
    Known("max_distance", ("relative_attention_max_distance",), "field", "int",
        "distance in tokens from where on all share a bucket."),
    Known("scale_embedding", ("scale_embedding",), "field", "bool",
        "whether the tokens' vectors are multiplied with the root of `hidden_dim`."),
    Known("max_sequence_length", LENGTHS, "field", "int", "the longest sequence.", 2048),
    Known("num_segments", ("type_vocab_size",), "field", "int", "number of segments."),
    Known("start_id", ("decoder_start_token_id",), "token_id", "int | None",
        "id of the token that the decoder begins with, where it reads a `single_text`."),
    Known("end_id", ("eos_token_id",), "token_id", "int | None",
        "id of the token at the end of a text, whose vector classifiers read."),
    Known("padding_id", ("pad_token_id",), "token_id", "int | None",
        "id of the padding token."),
)  # fmt: skip
BY_ARGUMENT = {known.argument: known for known in KNOWN}
# Arguments of an encoder-decoder alone, by those of one stack that they stand for.
OF_SIDES = {
    "num_layers": ("num_encoder_layers", "num_decoder_layers"),
    "num_heads": ("num_encoder_heads", "num_decoder_heads"),
    "intermediate_dim": ("encoder_intermediate_dim", "decoder_intermediate_dim"),
}
OF_PAIRS = ("num_buckets", "max_distance", "scale_embedding")
# Arguments whose fields trials show.
SWITCHES = ("num_groups", "use_bias", "attention_bias", "feed_forward_bias")
# Of no model: what all configs share.
SHARED = frozenset(name for entry in COMMON for name in entry.theirs)
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
        or graph.has("embeddings_projection"),
        "sliding_window": has_window(config),
        "num_key_value_heads": find_field("num_key_value_heads", config) is not None,
        "head_dim": find_field("head_dim", config) is not None,
        **{name: name in graph.switches for name in SWITCHES},
        "normalize_first": graph.ordering,
        "rope_theta": graph.positions == "rotary",
        "rope_scaling": graph.scaled,
        "partial_rotary_factor": graph.positions == "rotary"
        and nested_rotary(config, "partial_rotary_factor") is not None,
        "rotary_dim": graph.positions == "rotary" and isinstance(config.get("rotary_dim"), int),
        "num_segments": graph.has("segment_embedding"),
        "max_sequence_length": graph.positions == "learned" or graph.causal
        or find_field("max_sequence_length", config) is not None,
        "padding_id": graph.padded or (graph.causal and "text_classifier" in heads),
        "activation": find_activation(config) is not None,
        "layer_norm_epsilon": find_field("layer_norm_epsilon", config) is not None,
        **{
            name: find_field(name, config) is not None
            for name in ("dropout", "embedding_dropout", "attention_dropout",
                "feed_forward_dropout", "intermediate_dim")
        },
    }  # fmt: skip
    has |= _of_pairs(graph, config)
    has["start_id"] = graph.is_pair and len({*heads} & {*PAIR_HEADS[1:]}) > 0
    has["end_id"] = graph.is_pair and PAIR_HEADS[1] in heads
    return [known.argument for known in KNOWN if has.get(known.argument, True)]


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
    if graph.is_pair:
        found["scale_embedding"] = graph.scaling
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
        known = BY_ARGUMENT[name]
        default = _default(known, config, graph)
        if name == "padding_id" and graph.padded:
            known = replace(known, type="int")
        of_none = default == "None" and not known.type.endswith("None")
        kind = f"{known.type} | None" if of_none else known.type
        found.append(Argument(name, kind, default, known.text))
    return sorted(found, key=lambda argument: argument.default is not None)


def _default(known: Known, config: Mapping[str, Any], graph: Graph) -> str | None:
    name = known.argument
    sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "embedding_dim",
        "intermediate_dim")  # fmt: skip
    if name == "intermediate_dim" and config[find_field(name, config) or ""] is None:
        return "None"
    if name == "embedding_dim" and not graph.has("embeddings_projection"):
        return "None"
    if name in OF_TABLES and find_field(name, config) is None:
        return repr(graph.size(*OF_TABLES[name]) or None)
    if name in sizes or (name == "padding_id" and graph.padded and not _has_padding(config)):
        return None
    if known.form in ("fallback", "scaling"):
        return "None"
    if name == "rope_theta":
        return repr(float(rotary_base(config) or 10000.0))
    if name == "partial_rotary_factor":
        return repr(float(nested_rotary(config, name)))
    field = graph.switches.get(name) or find_field(name, config)
    value = config.get(field) if field else known.usual
    if name == "activation":
        gate = "gated_" if str(value).startswith("gated-") else ""
        value = config["dense_act_fn"] if gate else value
        return code(gate * bool(graph.gating) + ACTIVATIONS[str(value)])
    if name == "max_sequence_length" and isinstance(value, int):
        return repr(
            value - (config["pad_token_id"] if _has_padding(config) else 1) - 1
            if graph.padded
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


def is_number(value: Any) -> bool:
    """Return whether a value is a number and neither true nor false."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def nested_rotary(config: Mapping[str, Any], name: str) -> Any:
    """Return a field of `rope_parameters`, None without it."""
    nested = config.get("rope_parameters")
    value = nested.get(name) if isinstance(nested, Mapping) else None
    return value if name != "partial_rotary_factor" or is_number(value) else None
