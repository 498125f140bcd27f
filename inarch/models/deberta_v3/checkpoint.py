"""DeBERTa-v2 and v3 as transformers stores them (models/deberta_v2/modeling_deberta_v2.py)."""

import inarch.models.bert.checkpoint as bert
from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    fallback,
    field,
    ignored,
    must_match,
    probability,
    subset,
    with_defaults,
)
from inarch.checkpoints.maps.entries import Entries
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under, unless, unused, when
from inarch.checkpoints.maps.source import ConfigEntries, Head, Source

MASKED_LM = bert.HUGGING_FACE.heads["masked_lm"]
CLASSIFIER = [dense("pooler.dense", "pooled_dense"), dense("classifier", "logits")]


def own(term):
    """Return whether positions have a separate projection for this term of attention."""
    return lambda m: m["relative_attention"] and not m["share_keys"] and term in m["position_terms"]


# A table to be checked against the reference, line by line.
# fmt: off
CONFIG: ConfigEntries = [
    with_defaults(bert.HUGGING_FACE.config, vocab_size=128100, hidden_size=1536,
        layer_norm_eps=1e-7, num_hidden_layers=24, num_attention_heads=24, intermediate_size=6144,
        type_vocab_size=0),
    fallback("embedding_size", "embedding_dim", other="hidden_size"),
    field("position_biased_input", "absolute_positions", True),
    field("relative_attention", "relative_attention", False),
    field("position_buckets", "bucket_size", -1),
    field("max_relative_positions", "max_relative_positions", -1),
    subset("pos_att_type", "position_terms", names=("c2p", "p2c")),
    field("share_att_key", "share_keys", False),
    choice("norm_rel_ebd", "norm_relative", "none", values={"none": False, "layer_norm": True}),
    field("conv_kernel_size", "conv_kernel_size", 0), field("conv_groups", "conv_groups", 1),
    choice("conv_act", "conv_activation", "tanh", values=ACTIVATIONS),
    choice("pooler_hidden_act", "pooler_activation", "gelu", values=ACTIVATIONS),
    probability("pooler_dropout", "pooler_dropout", 0.0), field("legacy", "legacy_head", True),
    must_match("pooler_hidden_size", lambda c: c.get("hidden_size", 1536)),
    must_match("attention_head_size",
        lambda c: c.get("hidden_size", 1536) // c.get("num_attention_heads", 24)),
    ignored("pooling",
        reason="what pooler_dropout and pooler_hidden_act say, which alone are read"),
    ignored("padding_idx", "z_steps",
        reason="no gradient for a row, and steps that no version takes"),
]
WEIGHTS: Entries = [
    embedding("embeddings.word_embeddings", "token_embedding"),
    when("absolute_positions", embedding("embeddings.position_embeddings", "position_embedding")),
    unless("absolute_positions", unused("embeddings.position_embeddings.weight",
        reason="not added")),
    when("num_segments", embedding("embeddings.token_type_embeddings", "segment_embedding")),
    when(lambda m: m["embedding_dim"] not in (None, m["hidden_dim"]),
        dense("embeddings.embed_proj", "embeddings_projection", bias=False)),
    norm("embeddings.LayerNorm", "embeddings_norm"),
    when("relative_attention", embedding("encoder.rel_embeddings", "relative_embedding")),
    when(lambda m: m["norm_relative"] and m["relative_attention"],
        norm("encoder.LayerNorm", "relative_norm")),
    when(lambda m: m["norm_relative"] and not m["relative_attention"],
        *(unused(f"encoder.LayerNorm.{n}", reason="for no table", like=f"embeddings.LayerNorm.{n}")
            for n in ("weight", "bias"))),
    when("conv_kernel_size",
        rule("encoder.conv.conv.weight", "convolution/kernel", "o i k -> k i o"),
        rule("encoder.conv.conv.bias", "convolution/bias", "o -> o"),
        norm("encoder.conv.LayerNorm", "convolution/norm")),
    under("encoder.layer.{i}", "layer_{i}",
        *(dense(f"attention.self.{n}_proj", f"attention/{n}") for n in ("query", "key", "value")),
        when(own("c2p"), dense("attention.self.pos_key_proj", "attention/position_key")),
        when(own("p2c"), dense("attention.self.pos_query_proj", "attention/position_query")),
        bert.AFTER_ATTENTION),
    bert.POSITION_IDS,
]
HEADS = {
    "masked_lm": Head(("DebertaV2ForMaskedLM",), [
        when("legacy_head", MASKED_LM.weights),
        unless("legacy_head", under("lm_predictions.lm_head", "masked_lm_head",
            dense("dense", "transform"), norm("LayerNorm", "transform_norm"),
            rule("bias", "output_bias", "v -> v"))),
    ], tied=when("legacy_head", MASKED_LM.tied), untied=when("legacy_head", MASKED_LM.untied)),
    "text_classifier": Head(("DebertaV2ForSequenceClassification",), CLASSIFIER,
        config=[probability("cls_dropout", "dropout", None)]),
    "token_classifier": Head(("DebertaV2ForTokenClassification",), dense("classifier", "logits")),
    "multiple_choice": Head(("DebertaV2ForMultipleChoice",), CLASSIFIER),
    "question_answering": Head(("DebertaV2ForQuestionAnswering",), dense("qa_outputs", "logits")),
    "replaced_tokens": Head(("ReplacedTokenDetectionModel",), under(
        "mask_predictions", "replaced_tokens", dense("dense", "transform"),
        norm("LayerNorm", "transform_norm"), dense("classifier", "logits"))),
}
HUGGING_FACE = Source(
    model_type="deberta-v2", architecture="DebertaV2Model", prefix="deberta.",
    published={
        "relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "pos_att_type": "p2c|c2p", "position_biased_input": False,
    },
    config=CONFIG, weights=WEIGHTS, heads=HEADS,
)
