"""ModernBERT as transformers stores it (models/modernbert/modeling_modernbert.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    every_nth,
    field,
    ignored,
    must_be,
    must_match,
    per_layer,
    probability,
)
from inarch.checkpoints.maps.rotary import unscaled_rotary
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, when
from inarch.checkpoints.maps.source import Head, Source

# A table to be read, and checked against the original with a finger.
# fmt: off
LAYERS = field("num_hidden_layers", "num_layers", 22)
GLOBAL, LOCAL = "rope_parameters.full_attention", "rope_parameters.sliding_attention"
QUERY_KEY_VALUE = ["attention/query", "attention/key", "attention/value"]
# What each head but the one of masked language modeling begins with, and its last layer.
DROPOUT = probability("classifier_dropout", "dropout", 0.0)
CLASSIFIER = [
    dense("head.dense", "pooled_dense", bias="classifier_bias"),
    norm("head.norm", "pooled_norm", bias="norm_bias"),
    dense("classifier", "logits"),
]
HUGGING_FACE = Source(
    model_type="modernbert",
    architecture="ModernBertModel",
    prefix="model.",
    published={"classifier_pooling": "mean"},
    config=[
        field("vocab_size", "vocabulary_size", 50368),
        LAYERS,
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 1152),
        per_layer("layer_types", "layer_types", layers=LAYERS,
            values={"full_attention": "global", "sliding_attention": "local"},
            older=every_nth("global_attn_every_n_layers", "full_attention", "sliding_attention",
                default=3)),
        field("local_attention", "local_attention", 128),
        must_match("sliding_window", lambda config: config.get("local_attention", 128) // 2),
        must_match("head_dim", lambda config:
            config.get("hidden_size", 768) // config.get("num_attention_heads", 12)),
        field(f"{GLOBAL}.rope_theta", "global_rope_theta", 160000.0,
            legacy=("global_rope_theta",)),
        field(f"{LOCAL}.rope_theta", "local_rope_theta", 10000.0, legacy=("local_rope_theta",)),
        unscaled_rotary(GLOBAL), unscaled_rotary(LOCAL),
        must_be("rope_scaling", None, reason="the older name of what is next to a rope_type"),
        probability("embedding_dropout", "embedding_dropout", 0.0),
        probability("attention_dropout", "attention_dropout", 0.0),
        probability("mlp_dropout", "feed_forward_dropout", 0.0),
        choice("hidden_activation", "activation", "gelu", values=ACTIVATIONS),
        field("norm_eps", "layer_norm_epsilon", 1e-5),
        field("norm_bias", "norm_bias", False),
        field("attention_bias", "attention_bias", False),
        field("mlp_bias", "feed_forward_bias", False),
        field("decoder_bias", "decoder_bias", True),
        field("classifier_bias", "classifier_bias", False),
        choice("classifier_activation", "classifier_activation", "gelu", values=ACTIVATIONS),
        choice("classifier_pooling", "classifier_pooling", "cls",
            values={"cls": "cls", "mean": "mean"}),
        field("max_position_embeddings", "max_sequence_length", 8192),
        # Published files have "absolute" or "sans_pos"; positions are rotary whatever it is.
        [entry for entry in TEXT_ENCODER if "position_embedding_type" not in entry.known_names],
        ignored("layer_norm_eps", "position_embedding_type",
            reason="fields of BERT in published files, which no version of the code reads"),
        ignored("initializer_cutoff_factor", reason="initial weights"),
        ignored("deterministic_flash_attn", "reference_compile",
            reason="other implementations of the same numbers"),
        ignored("repad_logits_with_grad", "sparse_pred_ignore_index", "sparse_prediction",
            reason="which logits the reference computes in training; ours are of every token"),
    ],
    weights=[
        embedding("embeddings.tok_embeddings", "token_embedding"),
        norm("embeddings.norm", "embeddings_norm", bias="norm_bias"),
        under("layers.{i}", "layer_{i}",
            norm("attn_norm", "attention_norm", bias="norm_bias"), i="num_layers[1:]"),
        under("layers.{i}", "layer_{i}",
            rule("attn.Wqkv.weight", [f"{name}/kernel" for name in QUERY_KEY_VALUE],
                "(o + o + o) i -> i o, i o, i o"),
            when("attention_bias",
                rule("attn.Wqkv.bias", [f"{name}/bias" for name in QUERY_KEY_VALUE],
                    "(o + o + o) -> o, o, o")),
            dense("attn.Wo", "attention/output", bias="attention_bias"),
            norm("mlp_norm", "feed_forward_norm", bias="norm_bias"),
            rule("mlp.Wi.weight", ["feed_forward/gate/kernel", "feed_forward/up/kernel"],
                "(o + o) i -> i o, i o"),
            when("feed_forward_bias",
                rule("mlp.Wi.bias", ["feed_forward/gate/bias", "feed_forward/up/bias"],
                    "(o + o) -> o, o")),
            dense("mlp.Wo", "feed_forward/down", bias="feed_forward_bias")),
        norm("final_norm", "final_norm", bias="norm_bias"),
    ],
    heads={
        "masked_lm": Head(
            ("ModernBertForMaskedLM",),
            weights=[
                dense("head.dense", "masked_lm_head/transform", bias="classifier_bias"),
                norm("head.norm", "masked_lm_head/transform_norm", bias="norm_bias"),
                when("decoder_bias", rule("decoder.bias", "masked_lm_head/output_bias", "v -> v")),
            ],
            tied=tied("decoder.weight", ".embeddings.tok_embeddings.weight"),
            untied=rule("decoder.weight", "masked_lm_head/output_kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("ModernBertForSequenceClassification",), CLASSIFIER,
            config=[DROPOUT],
        ),
        "token_classifier": Head(
            ("ModernBertForTokenClassification",), CLASSIFIER, config=[DROPOUT]),
        "multiple_choice": Head(("ModernBertForMultipleChoice",), CLASSIFIER),
        "question_answering": Head(
            ("ModernBertForQuestionAnswering",), CLASSIFIER, config=[DROPOUT]),
    },
)
