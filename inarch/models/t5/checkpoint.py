"""T5 and mT5 as transformers stores them (models/t5/modeling_t5.py, models/mt5/modeling_mt5.py)."""

from collections.abc import Collection, Mapping
from typing import Any

from inarch.checkpoints.maps.config import (
    ABSENT,
    ACTIVATIONS,
    PLAIN,
    choice,
    constant,
    fallback,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    with_defaults,
)
from inarch.checkpoints.maps.config_map import tied as declares_tied
from inarch.checkpoints.maps.rule import (
    dense,
    embedding,
    norm,
    rule,
    tied,
    under,
    unless,
    unused,
    when,
)
from inarch.checkpoints.maps.source import Head, Source, Ties

# "gated-gelu" is GELU through tanh, whatever "gelu" is elsewhere.
FEED_FORWARDS = {**ACTIVATIONS, "gated-gelu": "gated_gelu_approximate"} | {
    f"gated-{theirs}": f"gated_{ours}" for theirs, ours in ACTIVATIONS.items() if theirs != "gelu"
}


def is_tied(config: Mapping[str, Any], names: Collection[str] | None) -> bool:
    """Return whether logits are of the token embeddings, as where they are scaled."""
    return (declares_tied(config) and SCALED.read(config)) or lacks_logits(config, names)


def lacks_logits(config: Mapping[str, Any], names: Collection[str] | None) -> bool:
    """Return whether a file has no output embeddings of its own, which are then the input's.

    transformers 5 calls every T5 and mT5 tied, and keeps the two apart where a file has both.
    """
    return names is not None and "lm_head.weight" not in names


def is_gated(arguments: Mapping[str, Any]) -> bool:
    return arguments["feed_forward"].startswith("gated_")


def activation_of(config: Mapping[str, Any]) -> str:
    name = FEED_FORWARD.spell(FEED_FORWARD.read(config))
    return "gelu_new" if name == "gated-gelu" else name.removeprefix("gated-")


# Tables to be checked against the reference, line by line.
# fmt: off
LAYERS = field("num_layers", "num_encoder_layers", 6, aliases=("num_hidden_layers",))
SCALED = fallback("scale_decoder_outputs", "scale_logits", other=declares_tied, is_flag=True)
FEED_FORWARD = choice("feed_forward_proj", "feed_forward", "relu", values=FEED_FORWARDS,
    reason="the config's class makes dense_act_fn and is_gated_act of it")
CONFIG = [
    field("vocab_size", "vocabulary_size", 32128),
    LAYERS,
    fallback("num_decoder_layers", "num_decoder_layers", other=LAYERS.read, is_count=True),
    field("num_heads", "num_heads", 8, aliases=("num_attention_heads",)),
    field("d_model", "hidden_dim", 512, aliases=("hidden_size",)),
    field("d_ff", "intermediate_dim", 2048),
    field("d_kv", "key_value_dim", 64, aliases=("head_dim",)),
    probability("dropout_rate", "dropout", 0.1),
    FEED_FORWARD,
    must_match("dense_act_fn", activation_of),
    must_match("is_gated_act", lambda config: FEED_FORWARD.read(config).startswith("gated_")),
    field("layer_norm_epsilon", "layer_norm_epsilon", 1e-6),
    field("relative_attention_num_buckets", "num_buckets", 32),
    field("relative_attention_max_distance", "max_distance", 128),
    field("n_positions", "max_sequence_length", 512,
        reason="the length that texts are cut to, where the tokenizer has none"),
    must_be("is_encoder_decoder", True, False),  # of the encoder alone
    must_be("is_causal", ABSENT),  # any value switches the mask of one of the two stacks
    [must_be(name, None) for name in ("attention_chunk_size", "kv_sharing_modes",
        "layer_types", "per_layer_config", "sliding_window")],
    *PLAIN,
    ignored("initializer_factor", "init_std", reason="initial weights"),
]


def attention(theirs: str, ours: str) -> list:
    return under(theirs, ours,
        *(dense(name[0], name, bias=False) for name in ("query", "key", "value", "output")))


def feed_forward(theirs: str) -> list:
    return under(theirs, "feed_forward",
        when(is_gated, dense("wi_0", "gate", bias=False), dense("wi_1", "up", bias=False)),
        unless(is_gated, dense("wi", "up", bias=False)),
        dense("wo", "down", bias=False))


def stack(side: str, *cross: Any) -> list:
    """Return the entries of the encoder, or of the decoder with those of its cross-attention."""
    last = len(cross[:1]) + 1
    return [
        tied(f"{side}.embed_tokens.weight", "shared.weight"),
        embedding(f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias",
            f"{side}_relative_bias"),
        under(f"{side}.block.{{i}}.layer", f"{side}_layer_{{i}}",
            attention("0.SelfAttention", "attention"),
            norm("0.layer_norm", "attention_norm", bias=False),
            cross,
            feed_forward(f"{last}.DenseReluDense"),
            norm(f"{last}.layer_norm", "feed_forward_norm", bias=False),
            i=f"num_{side}_layers"),
        norm(f"{side}.final_layer_norm", f"{side}_norm", bias=False),
    ]


ENCODER = [embedding("shared", "token_embedding"), *stack("encoder")]
DECODER = [
    *stack("decoder",
        attention("1.EncDecAttention", "cross_attention"),
        norm("1.layer_norm", "cross_attention_norm", bias=False)),
    unused("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        reason="a bias on cross-attention, which has none"),
]


def make_source(
    model_type: str, family: str, config: list, ties: Ties, **defaults: Any
) -> Source:
    """Return a format of this graph.

    Args:
        config: entries of its config map that follow those of both formats.
        ties: whether output and input embeddings are one by a config and the names of a file.
        defaults: of its config, where they aren't T5's.
    """
    return Source(
        model_type=model_type,
        architecture=f"{family}Model",
        prefix="",
        config=with_defaults([*CONFIG, *config], **defaults),
        weights=ENCODER,
        optional_layers={"decoder": DECODER},
        heads={
            "seq2seq_lm": Head(
                (f"{family}ForConditionalGeneration",),
                tied=tied("lm_head.weight", ".shared.weight"),
                untied=rule("lm_head.weight", "logits/kernel", "v d -> d v"),
                requires=("decoder",),
            ),
            # Of the encoder alone.
            "token_classifier": Head(
                (f"{family}ForTokenClassification",), dense("classifier", "logits"),
                config=probability("classifier_dropout", "dropout", 0.0),
                prefix="transformer.",
            ),
        },
        tie_word_embeddings=ties,
    )


T5 = make_source("t5", "T5", [SCALED], is_tied)
# Every published mT5 has output embeddings of its own, whatever its config says.
MT5 = make_source("mt5", "MT5",
    [constant("scale_logits", False), ignored("scale_decoder_outputs", reason="mT5 never does")],
    lacks_logits,
    vocab_size=250112, num_layers=8, num_heads=6, d_ff=1024, feed_forward_proj="gated-gelu")
