"""Nomic BERT as transformers stores it (conversion_mapping.py, models/nomic_bert).

The tensors are named as the authors' own code names them (nomic-ai/contrastors,
src/contrastors/models/encoder), and so are the fields of the published configs.
"""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    field,
    ignored,
    must_be,
    must_match,
    probability,
)
from inarch.checkpoints.maps.rotary import unscaled_rotary
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

BERT = bert.HUGGING_FACE.heads["masked_lm"]
OURS = "the authors' code reads it"
BASE = "rope_parameters.rope_theta"
CLASSIFIER_DROPOUT = probability("classifier_dropout", "dropout", None)

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="nomic_bert",
    architecture="NomicBertModel",
    prefix="nomic_bert.",
    config=[
        field("vocab_size", "vocabulary_size", 30528),
        field("num_hidden_layers", "num_layers", 12, legacy=("n_layer",)),
        field("num_attention_heads", "num_heads", 12, legacy=("n_head",)),
        field("hidden_size", "hidden_dim", 768, legacy=("n_embd",)),
        field("intermediate_size", "intermediate_dim", 3072, legacy=("n_inner",)),
        probability("hidden_dropout_prob", "dropout", 0.0, legacy=("resid_pdrop",)),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.0,
            legacy=("attn_pdrop",)),
        choice("hidden_act", "activation", "silu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12, legacy=("layer_norm_epsilon",)),
        field("max_position_embeddings", "max_sequence_length", 2048, legacy=("n_positions",)),
        field("type_vocab_size", "num_segments", 2),
        field(BASE, "rope_theta", 1000.0, legacy=("rotary_emb_base",)),
        unscaled_rotary("rope_parameters"),
        must_match("head_dim", lambda config:
            config.get("hidden_size", 768) // config.get("num_attention_heads", 12)),
        TEXT_ENCODER,
        must_be("embd_pdrop", 0.0, reason=OURS),
        must_be("activation_function", "swiglu", reason=OURS),
        *(must_be(name, False, reason=OURS) for name in ("causal", "mlp_fc1_bias", "mlp_fc2_bias",
            "parallel_block", "parallel_block_tied_norm", "prenorm", "qkv_proj_bias",
            "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx", "use_rms_norm")),
        must_be("scale_attn_weights", True, reason=OURS),
        must_be("rotary_emb_fraction", 1.0, reason=OURS),
        must_be("rotary_emb_scale_base", None, reason=OURS),
        must_be("rotary_scaling_factor", None, reason=OURS),
        ignored("dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "use_flash_attn",
            "use_xentropy", "reorder_and_upcast_attn", reason="other ways to the same numbers"),
        ignored("max_trained_positions", reason="read with rotary_scaling_factor alone"),
        ignored("pad_vocab_size_multiple", "ntokens",
            reason="how vocab_size came about, which has it"),
        ignored("summary_activation", "summary_first_dropout", "summary_proj_to_labels",
            "summary_type", "summary_use_proj", reason="fields of GPT-2 that no version reads"),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "token_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        norm("emb_ln", "embeddings_norm"),
        under("encoder.layers.{i}", "layer_{i}",
            rule("attn.Wqkv.weight",
                [f"attention/{name}/kernel" for name in ("query", "key", "value")],
                "(o + o + o) i -> i o, i o, i o"),
            dense("attn.out_proj", "attention/output", bias=False),
            norm("norm1", "attention_norm"),
            dense("mlp.fc11", "feed_forward/up", bias=False),
            dense("mlp.fc12", "feed_forward/gate", bias=False),
            dense("mlp.fc2", "feed_forward/down", bias=False),
            norm("norm2", "feed_forward_norm")),
    ],
    module_weights=[
        embedding("embeddings.word_embeddings", "token_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        under("layers.{i}", "layer_{i}",
            *(dense(f"self_attn.{name[0]}_proj", f"attention/{name}", bias=False)
                for name in ("query", "key", "value", "output")),
            norm("post_attention_layernorm", "attention_norm"),
            *(dense(f"mlp.{name}_proj", f"feed_forward/{name}", bias=False)
                for name in ("up", "gate", "down")),
            norm("post_mlp_layernorm", "feed_forward_norm")),
    ],
    optional_layers={"pooler": dense("pooler.dense", "pooler")},
    heads={
        "masked_lm": Head(
            ("NomicBertForMaskedLM",),
            weights=[
                dense("cls.predictions.transform.dense", "masked_lm_head/transform"),
                norm("cls.predictions.transform.layer_norm", "masked_lm_head/transform_norm"),
            ],
            tied=BERT.tied, untied=BERT.untied,
        ),
        "text_classifier": Head(
            ("NomicBertForSequenceClassification",), dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT], requires=("pooler",),
        ),
        "token_classifier": Head(
            ("NomicBertForTokenClassification",), dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT],
        ),
    },
)
