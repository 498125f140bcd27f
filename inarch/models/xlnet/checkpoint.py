"""XLNet as transformers stores it (models/xlnet/modeling_xlnet.py)."""

from inarch.checkpoints.maps.config import (
    ABSENT,
    ACTIVATIONS,
    ENCODER_ONLY,
    choice,
    constant,
    field,
    ignored,
    must_be,
    must_match,
    probability,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, unused
from inarch.checkpoints.maps.source import ConfigEntries, Head, Source

SUMMARY = [dense("sequence_summary.summary", "pooled_dense"), dense("logits_proj", "logits")]
SUMMARY_CONFIG: ConfigEntries = [
    probability("summary_last_dropout", "dropout", 0.1),
    must_be("summary_type", "last"),
    must_be("summary_use_proj", True),
    must_be("summary_activation", "tanh"),
    must_be("summary_first_dropout", ABSENT, 0),
    must_be("summary_proj_to_labels", ABSENT, False),
]

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="xlnet",
    architecture="XLNetModel",
    prefix="transformer.",
    config=[
        field("vocab_size", "vocabulary_size", 32000, aliases=("n_token",)),
        field("n_layer", "num_layers", 24, aliases=("num_hidden_layers",)),
        field("n_head", "num_heads", 16, aliases=("num_attention_heads",)),
        field("d_model", "hidden_dim", 1024, aliases=("hidden_size",)),
        field("d_inner", "intermediate_dim", 4096),
        probability("dropout", "dropout", 0.1),
        choice("ff_activation", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("clamp_len", "clamp_length", -1),
        constant("num_segments", 5),  # two of texts, and those of special tokens and padding
        constant("max_sequence_length", 512),  # that of pretraining; no field has one
        must_match("d_head", lambda config:
            config.get("d_model", 1024) // config.get("n_head", 16)),
        must_be("attn_type", "bi"),
        must_be("bi_data", False),
        ignored("same_length", reason="read where attn_type is 'uni' alone, which is refused"),
        ignored("mem_len", "reuse_len", "use_mems_eval", "use_mems_train",
            reason="memories of earlier segments, which no call here has"),
        ignored("start_n_top", "end_n_top",
            reason="answers that XLNetForQuestionAnswering searches, which is no task here"),
        ENCODER_ONLY,
    ],
    weights=[
        embedding("word_embedding", "token_embedding"),
        under("layer.{i}", "layer_{i}",
            *(rule(f"rel_attn.{name[0]}", f"attention/{name}/kernel", "d h k -> d (h=num_heads k)")
                for name in ("query", "key", "value")),
            rule("rel_attn.o", "attention/output/kernel", "d h k -> (h=num_heads k) d"),
            rule("rel_attn.r", "attention/position_key/kernel", "d h k -> d (h=num_heads k)"),
            rule("rel_attn.r_w_bias", "attention/content_bias", "h k -> h k"),
            rule("rel_attn.r_r_bias", "attention/position_bias", "h k -> h k"),
            rule("rel_attn.r_s_bias", "attention/segment_bias", "h k -> h k"),
            rule("rel_attn.seg_embed", "attention/segment_keys", "s h k -> s h k"),
            norm("rel_attn.layer_norm", "attention/norm"),
            dense("ff.layer_1", "feed_forward/up"),
            dense("ff.layer_2", "feed_forward/down"),
            norm("ff.layer_norm", "feed_forward_norm")),
        unused("mask_emb", reason="the query stream's, which pretraining alone has",
            shape=lambda arguments: (1, 1, arguments["hidden_dim"])),
    ],
    heads={
        "permuted_lm": Head(
            ("XLNetLMHeadModel",),
            weights=rule("lm_loss.bias", "lm_loss/bias", "v -> v"),
            tied=tied("lm_loss.weight", ".word_embedding.weight"),
            untied=rule("lm_loss.weight", "lm_loss/kernel", "v d -> d v"),
        ),
        "text_classifier": Head(("XLNetForSequenceClassification",), SUMMARY,
            config=SUMMARY_CONFIG),
        "token_classifier": Head(
            ("XLNetForTokenClassification",), dense("classifier", "logits")
        ),
        "multiple_choice": Head(("XLNetForMultipleChoice",), SUMMARY, config=SUMMARY_CONFIG),
        "question_answering": Head(
            ("XLNetForQuestionAnsweringSimple",), dense("qa_outputs", "logits")
        ),
    },
)
