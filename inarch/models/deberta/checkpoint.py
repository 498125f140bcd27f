"""DeBERTa's first version as transformers stores it (models/deberta/modeling_deberta.py)."""

import inarch.models.bert.checkpoint as bert
import inarch.models.deberta_v3.checkpoint as deberta_v3
from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    fallback,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    subset,
    with_defaults,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under, unless, unused, when
from inarch.checkpoints.maps.source import Head, Source

V3 = deberta_v3.HEADS
# Queries, keys and values lie side by side in each head.
BY_HEAD = "(h=num_heads (q + k + v)) i -> i (h q), i (h k), i (h v)"


def has(term):
    """Return whether positions have a projection for this term of attention."""
    return lambda m: m["relative_attention"] and term in m["position_terms"]


# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="deberta",
    architecture="DebertaModel",
    prefix="deberta.",
    published={
        "relative_attention": True, "pos_att_type": "c2p|p2c", "position_biased_input": False,
    },
    config=[
        with_defaults(bert.HUGGING_FACE.config, vocab_size=50265, layer_norm_eps=1e-7,
            type_vocab_size=0),
        fallback("embedding_size", "embedding_dim", other="hidden_size"),
        field("position_biased_input", "absolute_positions", True),
        field("relative_attention", "relative_attention", False),
        field("max_relative_positions", "max_relative_positions", -1),
        subset("pos_att_type", "position_terms", names=("c2p", "p2c")),
        choice("pooler_hidden_act", "pooler_activation", "gelu", values=ACTIVATIONS),
        probability("pooler_dropout", "pooler_dropout", 0.0),
        field("legacy", "legacy_head", True),
        must_match("pooler_hidden_size", lambda c: c.get("hidden_size", 768)),
        must_be("talking_head", False),
        ignored("pooling",
            reason="what pooler_dropout and pooler_hidden_act say, which alone are read"),
        ignored("padding_idx", "z_steps",
            reason="no gradient for a row, and steps that no version takes"),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "token_embedding"),
        when("absolute_positions",
            embedding("embeddings.position_embeddings", "position_embedding")),
        unless("absolute_positions", unused("embeddings.position_embeddings.weight",
            reason="not added")),
        when("num_segments", embedding("embeddings.token_type_embeddings", "segment_embedding")),
        when(lambda m: m["embedding_dim"] not in (None, m["hidden_dim"]),
            dense("embeddings.embed_proj", "embeddings_projection", bias=False)),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        when("relative_attention", embedding("encoder.rel_embeddings", "relative_embedding")),
        under("encoder.layer.{i}", "layer_{i}",
            rule("attention.self.in_proj.weight",
                [f"attention/{name}/kernel" for name in ("query", "key", "value")], BY_HEAD),
            rule("attention.self.q_bias", "attention/query/bias", "o -> o"),
            rule("attention.self.v_bias", "attention/value/bias", "o -> o"),
            when(has("c2p"),
                dense("attention.self.pos_proj", "attention/position_key", bias=False)),
            when(has("p2c"), dense("attention.self.pos_q_proj", "attention/position_query")),
            bert.AFTER_ATTENTION),
        bert.POSITION_IDS,
    ],
    heads={
        "masked_lm": Head(("DebertaForMaskedLM",), V3["masked_lm"].weights,
            tied=V3["masked_lm"].tied, untied=V3["masked_lm"].untied),
        "text_classifier": Head(("DebertaForSequenceClassification",), deberta_v3.CLASSIFIER,
            config=[probability("cls_dropout", "dropout", None)]),
        "token_classifier": Head(
            ("DebertaForTokenClassification",), dense("classifier", "logits")),
        "question_answering": Head(
            ("DebertaForQuestionAnswering",), dense("qa_outputs", "logits")),
    },
)
