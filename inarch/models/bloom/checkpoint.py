"""BLOOM as transformers stores it (models/bloom/modeling_bloom.py)."""

from inarch.checkpoints.maps.config import field, ignored, must_be, probability, token_id
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, last_token_head
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under
from inarch.checkpoints.maps.source import Head, Source

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="bloom",
    architecture="BloomModel",
    prefix="transformer.",
    config=[
        field("vocab_size", "vocabulary_size", 250880),
        field("n_layer", "num_layers", 2, aliases=("num_hidden_layers",)),
        field("n_head", "num_heads", 8, aliases=("num_attention_heads",)),
        field("hidden_size", "hidden_dim", 64, aliases=("n_embed",)),
        probability("hidden_dropout", "dropout", 0.0),
        probability("attention_dropout", "attention_dropout", 0.0),
        field("layer_norm_epsilon", "layer_norm_epsilon", 1e-5),
        field("seq_length", "max_sequence_length", 2048,
            reason="published files have it, and the reference takes sequences of any length"),
        token_id("pad_token_id", "padding_id", None),
        must_be("apply_residual_connection_post_layernorm", False),
        must_be("slow_but_exact", False),
        ignored("pretraining_tp", reason="the number of terms of a sum that slow_but_exact makes"),
        must_be("n_inner", None, reason="a field of published files, where it is null"),
        ignored("attention_softmax_in_fp32", reason="a field of the training program's; "
            "the reference always has the softmax in float32"),
        must_be("is_causal", True),
        must_be("pruned_heads", {}, reason="versions of transformers before 5 read it"),
        [must_be(name, None) for name in ("attention_chunk_size", "kv_sharing_modes",
            "layer_types", "per_layer_config", "sliding_window")],
    ],
    weights=[
        embedding("word_embeddings", "token_embedding"),
        norm("word_embeddings_layernorm", "embeddings_norm"),
        under("h.{i}", "layer_{i}",
            norm("input_layernorm", "attention_norm"),
            rule("self_attention.query_key_value.weight",
                [f"attention/{name}/kernel" for name in ("query", "key", "value")],
                "(h=num_heads (q + k + v)) i -> i (h q), i (h k), i (h v)"),
            rule("self_attention.query_key_value.bias",
                [f"attention/{name}/bias" for name in ("query", "key", "value")],
                "(h=num_heads (q + k + v)) -> (h q), (h k), (h v)"),
            dense("self_attention.dense", "attention/output"),
            norm("post_attention_layernorm", "feed_forward_norm"),
            dense("mlp.dense_h_to_4h", "feed_forward/up"),
            dense("mlp.dense_4h_to_h", "feed_forward/down")),
        norm("ln_f", "final_norm"),
    ],
    heads={
        "causal_lm": causal_lm_head("BloomForCausalLM", tokens=".word_embeddings.weight"),
        "text_classifier": last_token_head("BloomForSequenceClassification"),
        "token_classifier": Head(
            ("BloomForTokenClassification",), dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "question_answering": Head(("BloomForQuestionAnswering",), dense("qa_outputs", "logits")),
    },
)
