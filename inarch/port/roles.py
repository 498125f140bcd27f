"""Roles of tensors in a transformer, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.port.patterns import (
    EXPERTS,
    HIDDEN,
    INNER,
    TensorPattern,
    first,
    flatten_sizes,
    lower_words,
    model_prefix,
)

# The ways in which a tensor is recognized.
BY_NAME, BY_SHAPE = "name", "shape"

# Projections of attention.
ATTENTION = ("query", "key", "value", "key and value", "query, key and value")

# What stands for a model's own name, so that a name's beginning isn't that of a module.
MODEL = "model."

# Longer names aren't any that a model has.
MAX_NAME = 300

# A layer of a feed-forward network whose name doesn't say which one.
FEED_FORWARD = "feed-forward"

# A table whose name doesn't say of which ids.
OTHER_TABLE = "other table"

# A matrix of attention whose name doesn't say which one.
SQUARE = "attention projection"

# A layer that goes over the tokens one after another; tensors that no other kind of layer has, and
# the module around them.
RECURRENCE = "recurrence"
_RECURRENT = re.compile(
    r"(?:(.*)\.)?(?:a_log|dt_bias|log_dt|log_step|\w*retention|time_decay|time_mix_\w+|time_maa_\w+"
    r"|time_shift|receptance|rg_lru|slope_rate|(?:nu|theta|gamma)_log|inv_a_(?:real|imag)"
    r"|[ifo]_?gate_?(?:preact|proj)?|\w*forget_gate|gk_proj|learnable_ttt_\w+|ema_gate|damping_factor"
    r"|(?:weight|bias)_[ih]h(?:_l\d+(?:_reverse)?)?)(?:\.|$)"
)

# Roles by the names of the module and of those around it, the first that matches counts. A number
# of axes in front holds for the weight; vectors of the same module are its bias.
ROLES = (
    ("buffer", """position_ids|token_type_ids|inv_freq|masked_bias|num_batches_tracked|running_mean
        |running_var|relative_position_index|cos_cached|sin_cached|version""", ()),
    ("relative bias", """relative_attention_bias|relative_position_bias|rel_bias|relative_bias
        |rel_pos_(?:\\w_)?bias|rel_attn_embed|gru_rel_pos_linear|gru_rel_pos_const""", (2, 3, 4)),
    ("attention sink", "sinks?|attention_sinks?", (1,)),
    ("difference of attention", "lambda_[qk]\\d?", (1,)),
    ("activation", "act|act_fn|activation|activation_fn", ()),
    ("relative table", """rel_embeddings|relative_embeddings|r_w_bias|r_r_bias|r_s_bias|seg_embed
        |mask_emb|distance_embedding|pos_bias_[uv]""", (1, 2, 3)),
    ("query and key norm", "(?:q|k|query|key)_?(?:layer)?_?norm", (1, 2)),
    ("shared expert", "shared_experts?|shared_expert_gate|shared_mlp", (1, 2)),
    ("router", """(?:moe|block_sparse_moe|mlp|ffn|feed_forward)\\.(?:gate|router)(?:\\.weight)?$
        |router|e_score_correction_bias|expert_bias""", (1, 2)),
    ("expert", "experts", (1, 2, 3)),
    ("expert", "input_linear|output_linear", (3,)),
    ("position table", """\\w*position_embeddings?|embed_positions|wpe|pos_embed(?:ding)?s?
        |positional_embedding|position_embed|positions_embed|pos_emb|pos_encod(?:er|ing)
        |positional_encoding""", (1, 2, 3)),
    ("segment table", """token_type_embeddings?(?:_\\d+)?|segment_embeddings?
        |type_embeddings?""", (2,)),
    ("token table", """word_embeddings?|embed_tokens|wte|tok_embeddings?|token_embeddings?|shared
        |input_embeddings?|token_emb|tok_emb|embed_in|embedding_table|tokens_embed|embed
        |embeddings?\\.weight$""", (2,)),
    ("language head", """lm_head|lm_loss|proj_out|embed_out|generator_lm_head|predictions
        |output_projection|pred_layer|decoder\\.(?:weight|bias)$|final_logits_bias
        |masked_lm_head|to_logits|ctc_lo|ctc_head""", (1, 2)),
    ("head", """classifier|classification_head|pre_classifier|score|qa_outputs|pooler
        |seq_relationship|discriminator_predictions|generator_predictions|sequence_summary
        |projector|quantizer|^project_q|project_hid|vocab_transform|vocab_projector
        |vocab_layer_norm|start_logits|end_logits|answer_class|logits_proj
        |^(?:\\w+_)?heads?""", (1, 2, 3)),
    ("batch norm", "batch_?norm\\w*", (1,)),
    ("group norm", "group_?norm\\w*", (1,)),
    ("norm", "\\w*norm\\w*|ln(?:_?\\w+)?|\\w*_ln", (1,)),
    ("convolution", "\\w*conv\\w*|patch_embed\\w*", (3, 4)),
    ("alternating updates", "altup\\w*", (1, 2)),
    ("input of each layer", "embed_tokens_per_layer|per_layer_\\w+", (2,)),
    ("adapter", "adapters?|adapter_modules|lora_\\w+|laurel", (1, 2)),
    ("query, key and value", """qkv\\w*|wqkv|query_key_value|c_attn
        |\\w*att\\w*\\.(?:self\\.)?in_proj(?:_weight|_bias)?""", (1, 2)),
    ("key and value", "kv_proj|kv|wkv|to_kv|key_value|kv_linear", (1, 2)),
    ("latent keys and values", "kv_\\w*|q_a_proj|q_b_proj|wq_[ab]|wkv_[ab]\\w*", (1, 2)),
    ("position projection", """r|r_kernel|pos_proj|pos_key_proj|pos_query_proj|pos_q_proj
        |linear_pos|relative_pos_embeddings""", (2, 3)),
    ("query", """(?:\\w+_)?query\\w*|q_bias|q_proj|q_lin|wq|to_q|q|linear_q|q_head
        |project_q""", (1, 2, 3)),
    ("key", "(?:\\w+_)?key\\w*|k_proj|k_lin|wk|to_k|k|linear_k|k_head|project_k", (1, 2, 3)),
    ("value", """(?:\\w+_)?value\\w*|v_bias|v_proj|v_lin|wv|to_v|v|linear_v|v_head
        |project_v""", (1, 2, 3)),
    ("gate of attention", """\\w*att\\w*\\.(?:\\w+\\.)?(?:gate_proj|g_proj|output_gate
        |gate)""", (1, 2)),
    ("attention output", """\\w*att\\w*\\.(?:\\w+\\.)?(?:o_proj|out_proj
        |out_lin|wo|o|dense|c_proj|to_out|out|output|linear_out|proj|post_proj)(?:\\.dense)?
        |o_proj|out_lin|attention_out|to_out""", (1, 2, 3)),
    ("gate and up", "gate_up_proj|mlp\\.wi|up_gated_layer|gated_layers", (1, 2)),
    ("gate", "gate_proj|wi_0|w1|gate|fc12|w_in\\.w_0", (1, 2)),
    ("up", """up_proj|wi_1|w3|fc1|c_fc|lin1|dense_h_to_4h|intermediate\\.dense|intermediate_dense
        |wi|fc_in|w_in|layer_1\\.\\w+$|up|fc11|linear1|ffn\\.(?:weight|bias)$|w_1
        |feed_forward\\.intermediate""", (1, 2)),
    ("down", """down_proj|wo|w2|fc2|mlp\\.c_proj|lin2|dense_4h_to_h|output\\.dense|output_dense
        |fc_out|w_out|layer_2\\.\\w+$|down|linear2|ffn_output|w_2|c_proj|dense_output
        |feed_forward\\.output""", (1, 2)),
    (FEED_FORWARD, "dense\\d?|linear_?\\d|(?:ffn|mlp|feed_forward)\\.[\\w{}]+", (1, 2)),
    ("projection", """\\w*_proj\\w*|project_in|project_out|projection|embed_proj|feature_projection
        |embedding_hidden_mapping_in|embeddings_project|conv_kernel_layer|conv_out_layer
        |masked_spec_embed""", (1, 2)),
    (OTHER_TABLE, "\\w*embed\\w*(?:\\.\\{\\w\\})?(?:\\.(?:weight|bias))?$", (2,)),
)  # fmt: skip
_COMPILED = tuple(
    (role, re.compile(r"(?:^|\.)(?:" + "".join(names.split()) + r")(?=$|\.)"), axes)
    for role, names, axes in ROLES
)
# Tables, which have no bias, and what a layer of such a name or shape that has one is.
_WITHOUT_BIAS = {
    (OTHER_TABLE, BY_NAME): "projection", ("token table", BY_NAME): "projection",
    ("token table", BY_SHAPE): "language head",
}  # fmt: skip
_NO_ATTENTION = re.compile(r"(?:^|[._])(?:feed_forward|ffn|mlp)(?=$|[._])")
_VECTOR = re.compile(r"\.(?:bias|beta|gamma|b|\w*_bias)$")


@dataclass(frozen=True)
class Recognized:
    """A pattern of tensors with what it is.

    Attributes:
        pattern: the tensors.
        role: such as "query" or "norm"; None where nothing explains them.
        by: "name", or "shape" where the name says nothing: that is a guess.
    """

    pattern: TensorPattern
    role: str | None
    by: str = BY_NAME

    @property
    def module(self) -> str:
        """The name without that of the tensor in its module."""
        return self.pattern.name.rpartition(".")[0] or self.pattern.name

    @property
    def is_bias(self) -> bool:
        """Return whether it is a bias, by its name."""
        return bool(re.search(r"(?:^|[._])(?:bias|beta|b)$", self.pattern.name))


def recognize(
    patterns: Sequence[TensorPattern], config: Mapping[str, Any]
) -> tuple[Recognized, ...]:
    """Return each pattern with its role: by its name, or else by its shape in a layer."""
    # What a model is called says nothing of its layers: `roberta_prelayernorm.` is no norm.
    prefix = model_prefix(pattern.name for pattern in patterns)
    if not any(pattern.indices and pattern.name.startswith(prefix) for pattern in patterns):
        prefix = ""  # of a module, which has no layers
    found = [Recognized(pattern, _role_by_name(pattern, prefix)) for pattern in patterns]
    found = _recurrences(found)
    fields = flatten_sizes(config)
    known = {one.role for one in found}
    found = [one if one.is_bias else _with_shape(one, fields, known) for one in found]
    of_weights = {one.module: one for one in found if one.role and not one.is_bias}
    biased = {one.module for one in found if one.is_bias}
    done = []
    for one in found:
        weight = of_weights.get(one.module)
        is_open = one.role in (None, FEED_FORWARD)
        if one.is_bias and weight is not None and (is_open or weight.by == BY_SHAPE):
            one = replace(one, role=weight.role, by=weight.by)
        elif one.is_bias:
            one = _with_shape(one, fields, known)
        if one.module in biased and (one.role, one.by) in _WITHOUT_BIAS:
            one = replace(one, role=_WITHOUT_BIAS[str(one.role), one.by])
        done.append(one)
    if "expert" not in {one.role for one in done}:  # what looks like a router is a gate
        done = [replace(one, role="gate") if one.role == "router" else one for one in done]
    return tuple(done)


def _recurrences(found: Sequence[Recognized]) -> list[Recognized]:
    """Return the same where all but norms of a recurrent layer is part of it.

    Layers of attention may have modules of the same names, in other layers of the stack.
    """
    places = set()
    for one in found:
        name = lower_words(one.pattern.name)
        if len(name) <= MAX_NAME and (mark := _RECURRENT.match(name)) and one.pattern.indices:
            module = mark[1] or ""
            place = name if module.endswith("}") or not module else f"{module}."
            places.add((place, one.pattern.indices[0]))
    return [
        replace(one, role=RECURRENCE)
        if one.role != "norm" and any(
            lower_words(one.pattern.name).startswith(place) and one.pattern.indices[:1] == (layers,)
            for place, layers in places
        ) else one
        for one in found
    ]  # fmt: skip


def _with_shape(
    one: Recognized, fields: Mapping[str, int], known: Collection[str | None]
) -> Recognized:
    """Return it with the role that its shape shows, where its name doesn't say one."""
    pattern = one.pattern
    if one.role == "gate and up" and fields.get(str(first(fields, INNER))) in pattern.shapes[0]:
        return replace(one, role="up")  # which has the width of one
    if one.role == "token table" and pattern.shapes[0][0] < fields.get("vocab_size", 0):
        return replace(one, role=OTHER_TABLE)  # which has too few rows
    is_head = one.role == "head" and _role_outside(pattern, fields, known) is not None
    if one.role not in (None, FEED_FORWARD):
        return replace(one, role="language head") if is_head else one
    inside = _role_in_layer if pattern.indices else _role_outside
    guess = inside(pattern, fields, known)
    if one.role == FEED_FORWARD and guess not in ("up", "down"):
        return one
    return Recognized(pattern, guess or one.role, BY_SHAPE if guess or not one.role else BY_NAME)


def _role_by_name(pattern: TensorPattern, prefix: str) -> str | None:
    if len(pattern.name) > MAX_NAME:
        return None
    has_prefix = prefix and pattern.name.startswith(prefix)
    name = lower_words(f"{MODEL}{pattern.name[len(prefix) :]}" if has_prefix else pattern.name)
    shape = pattern.shapes[0]
    for role, names, axes in _COMPILED:
        is_bias = _VECTOR.search(name) and (1 in axes or role == "convolution")
        if role in ATTENTION and _NO_ATTENTION.search(name):
            continue
        if names.search(name) and (not axes or len(shape) in axes or is_bias):
            return role
    return None


def _role_outside(
    pattern: TensorPattern, fields: Mapping[str, int], known: Collection[str | None]
) -> str | None:
    """Return what a matrix outside of layers can be by the sizes of the config alone."""
    shape, hidden = pattern.shapes[0], first(fields, HIDDEN)
    words = fields.get("vocab_size", fields.get("padded_vocab_size", 0))
    if not hidden or words == fields[hidden] or shape != (words, fields[hidden]):
        return None
    return "language head" if "token table" in known else "token table"


def _role_in_layer(
    pattern: TensorPattern, fields: Mapping[str, int], known: Collection[str | None]
) -> str | None:
    """Return what a matrix of a numbered layer can be by the sizes of the config alone."""
    shape, hidden, inner = pattern.shapes[0], first(fields, HIDDEN), first(fields, INNER)
    if not hidden:
        return None
    width = fields[hidden]
    if all(len(s) == 3 and s[1] in (1, width) and s[0] % width == 0 < s[2] - 1
           for s in pattern.shapes):  # fmt: skip
        return "convolution"
    if len(pattern.shapes) > 1:
        return None
    wider = fields[inner] if inner else 4 * width
    experts = fields.get(str(first(fields, EXPERTS)), 0)
    if shape == (width,):
        return "vector of a layer"
    if experts > 1 and shape[0] == experts and (len(shape) == 3 or shape == (experts, width)):
        return "expert" if len(shape) == 3 else "router"
    if sorted(shape) == sorted((width, wider)) and width != wider:
        return "up" if shape[0] == wider else "down"
    if re.search(r"\}\.\w+$", pattern.name):  # of a list, and not of a layer
        return None
    if shape == (width, width):  # one more, where names say what attention's are
        return "projection" if {"query", "query, key and value"} & {*known} else SQUARE
    return "query, key and value" if sorted(shape) == sorted((width, 3 * width)) else None
