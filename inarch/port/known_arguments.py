"""Arguments that drafted backbones may have, each with the names of its field in configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.common_fields import COMMON
from inarch.port.experts import CHOSEN
from inarch.port.patterns import EXPERTS, HEADS, HIDDEN, INNER, KEY_HEADS, WIDTHS

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
    "hidden_act", "activation", "activation_function", "hidden_activation", "afn",
    "ff_activation", GATING,
)  # fmt: skip
BASES = ("rope_theta", "rotary_emb_base")
# Of the inner width of experts where other layers have one of their own.
EXPERT_WIDTHS = ("moe_intermediate_size", "expert_intermediate_size")
# Of soft caps: of the scores of attention, and of the logits of a language model.
SCORE_CAPS = ("attn_logit_softcapping", "attn_logit_softcap", "attention_logit_softcapping")
LOGITS_CAPS = ("final_logit_softcapping", "final_logit_softcap", "logits_soft_cap")


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
    Known("decoder_vocabulary_size", ("decoder_vocab_size",), "fallback", "int | None",
        "number of the decoder's tokens, where it has a\n    table of its own; `None` is "
        "`vocabulary_size`."),
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
    Known("num_experts", EXPERTS, "field", "int", "experts of each layer that has any."),
    Known("experts_per_token", CHOSEN, "field", "int", "how many of them each token passes."),
    Known("moe_intermediate_dim", EXPERT_WIDTHS, "field", "int", "inner width of each expert."),
    Known("normalize_weights", (), "field", "bool",
        "whether the weights of a token's experts are divided by their sum."),
    Known("sparse_layers", (), "fallback", "Sequence[bool] | None",
        "for each layer, whether it has experts; `None` for all."),
    Known("positions", (), "word", "str", "`\"rotary\"` or `\"absolute\"`."),
    Known("zero_mask_tokens", (), "field", "bool", "whether mask tokens count as dropped."),
    Known("mask_id", ("mask_token_id",), "token_id", "int | None",
        "id of the mask token, which `zero_mask_tokens` needs."),
    Known("layer_types", ("layer_types",), "per_layer", "Sequence[str]",
        "`\"global\"` or `\"local\"` for each layer."),
    Known("rotary_layers", (), "fallback", "Sequence[bool] | None",
        "for each layer whether its positions are rotary; the\n    others have none. "
        "`None` is all."),
    Known("attention_windows", ("attention_window",), "per_layer", "Sequence[int]",
        "tokens that the window of each layer spans besides the\n    token itself: half of them on "
        "either side."),
    Known("local_attention", ("local_attention",), "field", "int",
        "tokens that the window of a local layer spans."),
    Known("global_rope_theta", (), "field", "float",
        "base of the rotary wavelengths in global layers."),
    Known("local_rope_theta", (), "field", "float",
        "base of the rotary wavelengths in local layers."),
    Known("encoder_intermediate_dim", ("encoder_ffn_dim",), "field", "int",
        "width of the encoder's feedforward layers."),
    Known("decoder_intermediate_dim", ("decoder_ffn_dim",), "field", "int",
        "width of the decoder's feedforward layers."),
    Known("conv_dims", ("conv_dim",), "sizes", "Sequence[int]", "widths of the convolutions."),
    Known("conv_kernels", ("conv_kernel",), "sizes", "Sequence[int]",
        "lengths of their windows."),
    Known("conv_strides", ("conv_stride",), "sizes", "Sequence[int]",
        "steps between their windows."),
    Known("stem_bias", ("conv_bias",), "field", "bool", "whether they have biases."),
    Known("stem_norm", ("feat_extract_norm",), "word", "str",
        '`"group"` for a norm over time after the first, `"layer"` for norms after all.'),
    Known("stem_activation", ("feat_extract_activation",), "choice", "str",
        "of the convolutions, those of the positions included."),
    Known("projection_dropout", ("feat_proj_dropout",), "probability", "float",
        "rate after the projection of features."),
    Known("position_kernel", ("num_conv_pos_embeddings",), "field", "int",
        "length of the window of the convolution that\n    gives positions."),
    Known("position_groups", ("num_conv_pos_embedding_groups",), "field", "int",
        "its groups; must divide `hidden_dim`."),
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
    Known("attention_soft_cap", SCORE_CAPS, "field", "float | None",
        "what scores of attention approach, of either sign; `None` for no cap."),
    Known("logits_soft_cap", LOGITS_CAPS, "field", "float | None",
        "what logits of tokens approach, of either sign; `None` for no cap."),
    Known("sliding_window", ("sliding_window",), "field", "int | None",
        "tokens that a token attends to, itself among them; `None` for all."),
    Known("use_sliding_window", (), "field", "bool", "whether local layers have a window."),
    Known("bidirectional", (), "field", "bool",
        "whether tokens attend to those after them too."),
    Known("use_bias", (), "field", "bool", "whether projections have biases."),
    Known("normalize_first", ("do_stable_layer_norm",), "field", "bool",
        "whether norms come before each sublayer, and after the last layer."),
    Known("attention_bias", (), "field", "bool",
        "whether the projections of attention have biases."),
    Known("feed_forward_bias", (), "field", "bool",
        "whether the projections of the feedforward layers have biases."),
    Known("bucket_size", ("position_buckets",), "field", "int",
        "buckets of distances of either sign; below 1 for a row for each distance.", 0),
    Known("max_relative_positions", ("max_relative_positions",), "field", "int",
        "the longest distance of either sign; below 1, `max_sequence_length`.", -1),
    Known("position_terms", ("pos_att_type",), "subset", "str",
        "of attention: `\"c2p|p2c\"`, `\"c2p\"`, `\"p2c\"` or `\"none\"`.", "c2p|p2c"),
    Known("share_keys", ("share_att_key",), "field", "bool",
        "whether positions are projected by the layers that contents are.", True),
    Known("conv_kernel_size", ("conv_kernel_size",), "field", "int",
        "tokens that the convolution next to the first layer sees; 0 for none.", 0),
    Known("conv_activation", ("conv_act",), "choice", "str", "of that convolution.", "tanh"),
    Known("conv_groups", ("conv_groups",), "field", "int",
        "parts of the width that are convolved each by itself.", 1),
    Known("clamp_length", ("clamp_len",), "field", "int",
        "distance in tokens from which on all are alike;\n    none where it isn't positive.", -1),
    Known("num_buckets", ("relative_attention_num_buckets",), "field", "int",
        "buckets of distances, each with a bias for each head."),
    Known("max_distance", ("relative_attention_max_distance",), "field", "int",
        "distance in tokens from where on all share a bucket."),
    Known("scale_embedding", ("scale_embedding",), "field", "bool",
        "whether the tokens' vectors are multiplied with the root of `hidden_dim`."),
    Known("shared_embeddings", (), "field", "bool", "whether the stacks share a table of tokens."),
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
# Arguments of a stem of convolutions over samples of sound, and of the positions after it.
STEM = (
    "conv_dims", "conv_kernels", "conv_strides", "stem_bias", "stem_norm", "stem_activation",
    "projection_dropout", "position_kernel", "position_groups",
)  # fmt: skip
# Arguments of disentangled attention, and of the convolution next to it.
CONVOLVED = ("conv_kernel_size", "conv_activation", "conv_groups")
DISENTANGLED = ("bucket_size", "max_relative_positions", "position_terms", "share_keys",
    *CONVOLVED)  # fmt: skip
# Of layers that differ in the window and in the base of their positions.
BY_TYPE = ("global_rope_theta", "local_rope_theta")
# Of no model: what all configs share.
SHARED = frozenset(name for entry in COMMON for name in entry.theirs)
