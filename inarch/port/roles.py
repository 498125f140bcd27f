"""Roles of tensors in a transformer, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.port.patterns import HIDDEN, INNER, TensorPattern, first, flatten_sizes, lower_words

# The ways in which a tensor is recognized.
BY_NAME, BY_SHAPE = "name", "shape"

# Projections of attention.
ATTENTION = ("query", "key", "value", "query, key and value")

# Longer names aren't any that a model has.
MAX_NAME = 300

# A layer of a feed-forward network whose name doesn't say which one.
FEED_FORWARD = "feed-forward"

# Roles by the names of the module and of those around it, the first that matches counts. A number
# of axes in front holds for the weight; vectors of the same module are its bias.
ROLES = (
    ("buffer", """position_ids|token_type_ids|inv_freq|masked_bias|num_batches_tracked|running_mean
        |running_var|relative_position_index|cos_cached|sin_cached|version""", ()),
    ("relative bias", """relative_attention_bias|relative_position_bias|rel_bias|relative_bias
        |gru_rel_pos_linear|gru_rel_pos_const""", (2, 3, 4)),
    ("relative table", """rel_embeddings|relative_embeddings|r_w_bias|r_r_bias|r_s_bias|seg_embed
        |mask_emb|distance_embedding|pos_bias_[uv]""", (1, 2, 3)),
    ("query and key norm", "(?:q|k|query|key)_?(?:layer)?_?norm", (1, 2)),
    ("shared expert", "shared_experts?|shared_expert_gate", (1, 2)),
    ("router", """(?:moe|block_sparse_moe|mlp|ffn|feed_forward)\\.(?:gate|router)(?:\\.weight)?$
        |router|e_score_correction_bias""", (1, 2)),
    ("expert", "experts", (1, 2, 3)),
    ("position table", """\\w*position_embeddings?|embed_positions|wpe|pos_embed(?:ding)?s?
        |positional_embedding|position_embed|positions_embed""", (1, 2, 3)),
    ("segment table", "token_type_embeddings?|segment_embeddings?|type_embeddings?", (2,)),
    ("token table", """word_embeddings?|embed_tokens|wte|tok_embeddings?|token_embeddings?|shared
        |embed_in|embedding_table|tokens_embed|embed|embeddings?\\.weight$""", (2,)),
    ("language head", """lm_head|lm_loss|proj_out|embed_out|generator_lm_head|predictions
        |output_projection|decoder\\.(?:weight|bias)$|final_logits_bias|masked_lm_head""", (1, 2)),
    ("head", """classifier|classification_head|pre_classifier|score|qa_outputs|pooler
        |seq_relationship|discriminator_predictions|generator_predictions|sequence_summary
        |projector|quantizer|project_q|project_hid|vocab_transform|vocab_projector
        |vocab_layer_norm|start_logits|end_logits|answer_class|logits_proj""", (1, 2, 3)),
    ("convolution", "\\w*conv\\w*|patch_embed\\w*", (3, 4)),
    ("norm", "\\w*norm\\w*|ln(?:_?\\w+)?|\\w*_ln", (1,)),
    ("query, key and value", """qkv\\w*|wqkv|query_key_value|c_attn
        |\\w*att\\w*\\.(?:self\\.)?in_proj(?:_weight|_bias)?""", (1, 2)),
    ("latent keys and values", "kv_\\w*|q_a_proj|q_b_proj", (1, 2)),
    ("position projection", """r|r_kernel|pos_proj|pos_key_proj|pos_query_proj|pos_q_proj
        |linear_pos""", (2, 3)),
    ("query", "query\\w*|q_bias|q_proj|q_lin|wq|to_q|q|linear_q|q_head", (1, 2, 3)),
    ("key", "key\\w*|k_proj|k_lin|wk|to_k|k|linear_k|k_head", (1, 2, 3)),
    ("value", "value\\w*|v_bias|v_proj|v_lin|wv|to_v|v|linear_v|v_head", (1, 2, 3)),
    ("attention output", """\\w*att\\w*\\.(?:\\w+\\.)?(?:o_proj|out_proj
        |out_lin|wo|o|dense|c_proj|to_out|out|output|linear_out|proj|post_proj)(?:\\.dense)?
        |o_proj|out_lin""", (1, 2, 3)),
    ("gate and up", "gate_up_proj|mlp\\.wi|up_gated_layer|gated_layers", (1, 2)),
    ("gate", "gate_proj|wi_0|w1|gate|fc12", (1, 2)),
    ("up", """up_proj|wi_1|w3|fc1|c_fc|lin1|dense_h_to_4h|intermediate\\.dense|intermediate_dense
        |wi|fc_in|layer_1|up|fc11|linear1|ffn\\.(?:weight|bias)$|w_1""", (1, 2)),
    ("down", """down_proj|wo|w2|fc2|mlp\\.c_proj|lin2|dense_4h_to_h|output\\.dense|output_dense
        |fc_out|layer_2|down|linear2|ffn_output|w_2|c_proj|dense_output""", (1, 2)),
    (FEED_FORWARD, "dense\\d?|linear_?\\d", (1, 2)),
    ("projection", """\\w*_proj\\w*|project_in|project_out|projection|embed_proj|feature_projection
        |embedding_hidden_mapping_in|embeddings_project|conv_kernel_layer|conv_out_layer
        |masked_spec_embed""", (1, 2)),
)  # fmt: skip
_COMPILED = tuple(
    (role, re.compile(r"(?:^|\.)(?:" + "".join(names.split()) + r")(?=$|\.)"), axes)
    for role, names, axes in ROLES
)
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
    found = [Recognized(pattern, _role_by_name(pattern)) for pattern in patterns]
    by_module = {one.module: one.role for one in found if one.role and not one.is_bias}
    fields = flatten_sizes(config)
    done = []
    for one in found:
        if one.role is None and one.module in by_module:  # the bias of what is known
            one = Recognized(one.pattern, by_module[one.module])
        elif one.role is None or one.role == FEED_FORWARD:
            guess = _role_by_shape(one.pattern, fields)
            one = Recognized(one.pattern, guess or one.role, BY_SHAPE)
        done.append(one)
    if not any(one.role == "expert" for one in done):  # what looks like a router is a gate
        done = [replace(one, role="gate") if one.role == "router" else one for one in done]
    return tuple(done)


def _role_by_name(pattern: TensorPattern) -> str | None:
    if len(pattern.name) > MAX_NAME:
        return None
    name = lower_words(pattern.name)
    shape = pattern.shapes[0]
    for role, names, axes in _COMPILED:
        is_bias = _VECTOR.search(name) and (1 in axes or role == "convolution")
        if role in ATTENTION and _NO_ATTENTION.search(name):
            continue
        if names.search(name) and (not axes or len(shape) in axes or is_bias):
            return role
    return None


def _role_by_shape(pattern: TensorPattern, fields: Mapping[str, int]) -> str | None:
    """Return what a matrix of a numbered layer can be by the sizes of the config alone."""
    hidden = first(fields, HIDDEN)
    inner = first(fields, INNER)
    shape = pattern.shapes[0]
    if not pattern.indices or not hidden:
        return None
    width = fields[hidden]
    if shape == (width,):
        return "vector of a layer"
    if inner and sorted(shape) == sorted((width, fields[inner])) and width != fields[inner]:
        return "up" if shape[0] == fields[inner] else "down"
    if shape == (width, width):
        return "attention projection"
    return "query, key and value" if sorted(shape) == sorted((width, 3 * width)) else None
