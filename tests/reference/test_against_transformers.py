"""Our numbers are transformers', and transformers reads the checkpoints that we write."""

import inspect
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.models.backbone import Backbone
from inarch.models.registry import by_model_type
from inarch.tasks import CausalLM, MaskedLM, TextClassifier, TokenClassifier
from inarch.verify.golden import Golden
from inarch.verify.transformers_reference import with_eager_experts

from .conftest import (
    Written,
    batch,
    noise_ratio,
    small_padding,
    tensors,
    torch,
    transformers,
    whole_batch,
)
from .encoders import bare, headed, usual_cases

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

# Class that writes, task that reads, output of the reference, config changes. What every encoder
# has is found (encoders.py); what is here are the fields of each.
BERT_BASE = [
    {},
    {"hidden_act": "gelu_new"},
    {"hidden_act": "gelu_pytorch_tanh"},
    {"hidden_act": "relu"},
    {"hidden_act": "silu"},
    {"layer_norm_eps": 1e-3},
    {"layer_norm_eps": 1e-5, "type_vocab_size": 1},
    {"type_vocab_size": 4},
    {"num_attention_heads": 3},
    {"num_attention_heads": 1, "num_hidden_layers": 1},
    {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0},
    {"hidden_size": 25, "num_attention_heads": 5, "intermediate_size": 17},
]
DISTIL_BASE = [
    {},
    {"activation": "relu"},
    {"activation": "gelu_new"},
    {"activation": "silu"},
    {"sinusoidal_pos_embds": True},
    {"n_heads": 3, "attention_dropout": 0.0},
    {"n_layers": 1, "dropout": 0.0},
]
ROBERTA_BASE = [
    {},
    {"hidden_act": "relu"},
    {"hidden_act": "gelu_new"},
    {"layer_norm_eps": 1e-3},
    {"type_vocab_size": 1},
    {"type_vocab_size": 4},
    {"num_attention_heads": 3, "num_hidden_layers": 1},
    {"pad_token_id": 0},
    {"pad_token_id": 5, "max_position_embeddings": 19},
    {"hidden_act": "gelu_pytorch_tanh", "num_attention_heads": 1},
    {"hidden_size": 25, "num_attention_heads": 5, "intermediate_size": 17},
    {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 3},
]
FNET_BASE = [
    {},
    {"hidden_act": "gelu"},
    {"hidden_act": "relu"},
    {"hidden_act": "gelu_pytorch_tanh", "num_hidden_layers": 3},
    {"hidden_act": "silu"},
    {"layer_norm_eps": 1e-3},
    {"type_vocab_size": 1},
    {"type_vocab_size": 2, "layer_norm_eps": 1e-5},
    {"hidden_size": 23, "intermediate_size": 17},
    {"hidden_size": 7, "num_hidden_layers": 1},
    {"hidden_dropout_prob": 0.3, "pad_token_id": 0},
    {"max_position_embeddings": 13},
]
ELECTRA_BASE = [
    {},
    {"hidden_act": "relu"},
    {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    {"hidden_act": "silu", "embedding_size": 24},
    {"embedding_size": 40},
    {"embedding_size": 7, "type_vocab_size": 1},
    {"type_vocab_size": 4},
    {"num_attention_heads": 3, "intermediate_size": 17},
    {"num_attention_heads": 1, "num_hidden_layers": 1},
    {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0},
    {"max_position_embeddings": 13, "layer_norm_eps": 1e-5},
    {"hidden_size": 30, "num_attention_heads": 5, "num_hidden_layers": 3},
]
ALBERT_BASE = [
    {"hidden_act": "gelu", "embedding_size": 24},
    {"embedding_size": 7, "type_vocab_size": 1},
    {"num_hidden_groups": 2, "num_hidden_layers": 5},
    {"num_hidden_groups": 3, "num_hidden_layers": 3, "num_attention_heads": 3},
    {"num_hidden_groups": 1, "num_hidden_layers": 1, "attention_probs_dropout_prob": 0.1},
    {"hidden_size": 25, "num_attention_heads": 5, "intermediate_size": 17},
    {"max_position_embeddings": 13, "type_vocab_size": 4, "hidden_dropout_prob": 0.3},
]
OWN = {"share_att_key": False}
PLAIN = {"relative_attention": False, "position_biased_input": True}
DEBERTA_BASE = [
    {},
    {"hidden_act": "relu", "num_attention_heads": 3},
    {"layer_norm_eps": 1e-3, "num_attention_heads": 1, "num_hidden_layers": 1},
    {"hidden_size": 25, "num_attention_heads": 5, "intermediate_size": 17},
    OWN,
    {"pos_att_type": "c2p"},
    {"pos_att_type": ["p2c"]},
    {"pos_att_type": "c2p", **OWN},
    {"pos_att_type": ["p2c"], **OWN},
    {"pos_att_type": ""},
    {"pos_att_type": None, **OWN},
    {"position_buckets": -1},
    {"position_buckets": 0, "max_relative_positions": 6},
    {"position_buckets": 5, "max_relative_positions": 9},
    {"position_buckets": 64},
    {"norm_rel_ebd": "none"},
    {"conv_kernel_size": 3, "conv_act": "gelu", "attention_head_size": 6},
    {"conv_kernel_size": 5, "conv_groups": 3, "z_steps": 2},
    {"position_biased_input": True},
    {"position_biased_input": True, "type_vocab_size": 4, "embedding_size": 10},
    {"type_vocab_size": 1},
    {"type_vocab_size": 2, **PLAIN},
    {"norm_rel_ebd": "none", "pos_att_type": None, **OWN, **PLAIN},
    {"embedding_size": 30, "max_position_embeddings": 9},
]
DEBERTA_HEADS = [
    *(("DebertaV2ForMaskedLM", MaskedLM, changes) for changes in [
        {},
        {"legacy": False, "hidden_act": "relu"},
        {"legacy": False, "tie_word_embeddings": False},
        {"tie_word_embeddings": False},
        {"embedding_size": 10},
        {"embedding_size": 10, "tie_word_embeddings": False},
    ]),
    *(("DebertaV2ForSequenceClassification", TextClassifier, changes) for changes in [
        {"num_labels": 3},
        {"pooler_hidden_act": "relu", "pooler_dropout": 0.3, "cls_dropout": 0.2},
        {"pooler_hidden_act": "tanh", "pooler_hidden_size": 24, "num_labels": 1},
    ]),
]  # fmt: skip
DEBERTA_1_BASE = [
    {"hidden_act": "relu", "num_attention_heads": 3},
    {"hidden_size": 25, "num_attention_heads": 5, "intermediate_size": 17},
    {"pos_att_type": "c2p"},
    {"pos_att_type": ["p2c"], "max_relative_positions": 6},
    {"pos_att_type": None},
    {"position_biased_input": True, "type_vocab_size": 4, "embedding_size": 10},
    {"type_vocab_size": 2, **PLAIN},
    {"max_position_embeddings": 13, "layer_norm_eps": 1e-3},
]
DEBERTA_1_HEADS = [
    ("DebertaForMaskedLM", MaskedLM, {"legacy": False, "hidden_act": "relu"}),
    ("DebertaForMaskedLM", MaskedLM, {"embedding_size": 10, "tie_word_embeddings": False}),
    ("DebertaForSequenceClassification", TextClassifier,
        {"pooler_hidden_act": "tanh", "pooler_dropout": 0.3, "cls_dropout": 0.2}),
]  # fmt: skip
BIASED = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}
MODERN_BERT_BASE = [
    BIASED,
    {"layer_types": ["sliding_attention", "full_attention"], "local_attention": 8},
    {"layer_types": ["sliding_attention"] * 2, "hidden_activation": "gelu_pytorch_tanh"},
    {"rope_parameters": {"full_attention": {"rope_theta": 20.0, "rope_type": "default"}}},
]
MODERN_BERT_HEADS = [
    ("ModernBertForMaskedLM", MaskedLM, {**BIASED, "decoder_bias": False}),
    ("ModernBertForMaskedLM", MaskedLM, {"classifier_activation": "silu"}),
    ("ModernBertForSequenceClassification", TextClassifier, BIASED),
    ("ModernBertForSequenceClassification", TextClassifier, {"classifier_pooling": "cls"}),
]
OPT_350M = {"word_embed_proj_dim": 12, "do_layer_norm_before": False}
OPT_BASE = [
    {"activation_function": "gelu", "num_attention_heads": 3},
    {"enable_bias": False, "ffn_dim": 17, "num_hidden_layers": 1},
    {"max_position_embeddings": 13, "attention_dropout": 0.2},
    OPT_350M,
    {"word_embed_proj_dim": 29},
    {"do_layer_norm_before": False},
]
NOMIC_BERT_BASE = [
    {"hidden_act": "gelu", "layer_norm_eps": 1e-3},
    {"rope_parameters": {"rope_theta": 20.0, "rope_type": "default"}, "type_vocab_size": 4},
    {"num_attention_heads": 3, "intermediate_size": 17, "num_hidden_layers": 1},
]
ABSOLUTE = {"position_embedding_type": "absolute"}
ESM_BASE = [
    {**ABSOLUTE, "emb_layer_norm_before": True},
    {**ABSOLUTE, "token_dropout": False, "pad_token_id": 3},
    {"token_dropout": False, "mask_token_id": None, "rope_theta": 50.0},
    {"emb_layer_norm_before": True, "num_attention_heads": 3, "num_hidden_layers": 1},
    {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "mask_token_id": 5},
]
LENGTH = {"original_max_position_embeddings": 8}
LLAMA_BASE = [
    {},
    {"attention_bias": True, "mlp_bias": True, "hidden_act": "relu"},
    {"num_key_value_heads": 1, "rms_norm_eps": 1e-3, "num_hidden_layers": 3},
    {"num_key_value_heads": None, "head_dim": None, "pad_token_id": None},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}},
    {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "rope_theta": 50.0, **LENGTH}},
    {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0, **LENGTH}},
    {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0, "beta_fast": 2.0,
        "mscale": 0.5, "mscale_all_dim": 2.0, "truncate": False}},
    {"rope_scaling": {"type": "linear", "factor": 3.0}, "rope_theta": 70.0},
]  # fmt: skip
LLAMA_RELATIVES = [
    ("MistralModel", {"sliding_window": 4}),
    ("MistralModel", {"sliding_window": None, "head_dim": None, "num_key_value_heads": 4}),
    ("Qwen2Model", {"num_key_value_heads": 1}),
    ("Qwen3Model", {"attention_bias": True}),
    (
        "Qwen3Model",
        {
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": None,
            "max_window_layers": 1,
        },
    ),
    ("Qwen3Model", {"use_sliding_window": False, "layer_types": None, "max_window_layers": 0}),
    (
        "Qwen2Model",
        {
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    ("SmolLM3Model", {"no_rope_layers": [0, 1], "attention_bias": True, "mlp_bias": True}),
    ("SmolLM3Model", {"no_rope_layers": None, "no_rope_layer_interval": 2}),
]
LLAMA_TYPES = ("Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3")
GEMMA_BASE = [
    {},
    {"attention_bias": True, "hidden_activation": "relu", "num_key_value_heads": 1},
    {"use_bidirectional_attention": True, "sliding_window": 6, "rms_norm_eps": 1e-3},
    {"num_hidden_layers": 3, "layer_types": None, "sliding_window_pattern": 3, "head_dim": 10},
    {"rope_parameters": None, "rope_theta": 50.0, "rope_local_base_freq": 5.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0,
        **LENGTH}, "sliding_attention": {"rope_type": "default", "rope_theta": 7.0}}},
]  # fmt: skip
OLMO_BASE = [
    ("Olmo2Model", {}),
    ("Olmo2Model", {"attention_bias": True, "num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    ("Olmo2Model", {"rope_parameters": None, "rope_theta": 70.0,
        "rope_scaling": {"type": "linear", "factor": 3.0}}),
    ("Olmo3Model", {"sliding_window": 4, "num_hidden_layers": 4, "layer_types": None}),
    ("Olmo3Model", {"layer_types": ["full_attention"] * 2, "rope_parameters": None,
        "rope_theta": 50.0, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, **LENGTH}}),
]  # fmt: skip
# The last as older versions spell it.
NEOX_BASE = [
    {"use_parallel_residual": False, "hidden_act": "gelu_fast", "layer_norm_eps": 1e-3},
    {"attention_bias": False, "num_attention_heads": 2, "rope_parameters": {"rope_type": "yarn",
        "factor": 4.0, "rope_theta": 50.0, "partial_rotary_factor": 0.5, **LENGTH}},
    {"rope_parameters": None, "rotary_pct": 1.0, "rotary_emb_base": 50,
        "rope_scaling": {"type": "linear", "factor": 3.0}},
]  # fmt: skip
# The last of each as older versions spell it.
EUROBERT_BASE = [
    {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1, "rms_norm_eps": 1e-3},
    {"num_key_value_heads": 4, "head_dim": None, "hidden_act": "gelu", "num_hidden_layers": 1},
    {"rope_parameters": None, "rope_theta": 50.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, **LENGTH}},
]  # fmt: skip
GTE_BASE = [
    {"type_vocab_size": 0, "num_attention_heads": 3},
    {"type_vocab_size": 1, "layer_norm_eps": 1e-3},
    {"type_vocab_size": 4, "head_dim": 10, "num_hidden_layers": 1},
    {"rope_parameters": {"rope_type": "linear", "factor": 1.07, "rope_theta": 50.0}},
    {"rope_parameters": None, "rope_theta": 50.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, **LENGTH}},
]  # fmt: skip
LONG = {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]}
PHI3_BASE = [
    {"sliding_window": None, "num_key_value_heads": 1, "hidden_act": "relu", "rms_norm_eps": 1e-3,
        "rope_parameters": {"rope_theta": 50.0}},
    {"rope_parameters": None, "rope_theta": 50.0, "partial_rotary_factor": 0.7,
        "rope_scaling": LONG, "original_max_position_embeddings": 16},
]  # fmt: skip
# Slopes of a power of two, of more heads than one, and of ratios that float32 rounds.
BLOOM_BASE = [
    {"n_head": 4, "layer_norm_epsilon": 1e-3},
    {"n_head": 3, "hidden_dropout": 0.1, "attention_dropout": 0.1},
    {"hidden_size": 40, "n_head": 20, "pretraining_tp": 4},
]
LONGFORMER_BASE = [
    {"attention_window": 4, "num_hidden_layers": 1, "num_attention_heads": 3},
    {"attention_window": 64, "type_vocab_size": 1, "layer_norm_eps": 1e-3},
    {"pad_token_id": 5, "max_position_embeddings": 19, "hidden_act": "gelu_new"},
]
MIXTRAL_BASE = [
    {"num_local_experts": 3, "num_experts_per_tok": 3, "hidden_act": "gelu", "rms_norm_eps": 1e-3},
    {"num_experts_per_tok": 1, "sliding_window": 3, "num_key_value_heads": 1, "head_dim": None,
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 50.0}},
]  # fmt: skip
QWEN3_MOE_BASE = [
    {"mlp_only_layers": [0], "num_hidden_layers": 3, "norm_topk_prob": True, "hidden_act": "gelu"},
    {"decoder_sparse_step": 2, "num_hidden_layers": 4, "use_sliding_window": True,
        "sliding_window": 3, "attention_bias": True, "rms_norm_eps": 1e-3},
]  # fmt: skip
GEMMA2_BASE = [
    {"attention_bias": True, "hidden_activation": "relu", "num_key_value_heads": 1},
    {"num_hidden_layers": 3, "layer_types": None, "sliding_window": 3, "rms_norm_eps": 1e-3},
    {"attn_logit_softcapping": None, "query_pre_attn_scalar": 7, "head_dim": 10},
    {"attn_logit_softcapping": 0.5,
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0, **LENGTH}},
]  # fmt: skip
CASES = [
    *((kind, None, "last_hidden_state", changes) for kind, changes in OLMO_BASE),
    *((f"Olmo{n}ForCausalLM", CausalLM, "logits", {"tie_word_embeddings": n == 3}) for n in (2, 3)),
    ("Olmo2ForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    *(("GPTNeoXModel", None, "last_hidden_state", changes) for changes in NEOX_BASE),
    ("GPTNeoXForCausalLM", CausalLM, "logits", {}),
    ("GPTNeoXForCausalLM", CausalLM, "logits", {"tie_word_embeddings": True}),
    ("GPTNeoXForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("GPTNeoXForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("EuroBertModel", None, "last_hidden_state", changes) for changes in EUROBERT_BASE),
    *(
        ("EuroBertForMaskedLM", MaskedLM, "logits", {"mlp_bias": True, "tie_word_embeddings": tie})
        for tie in (True, False)
    ),
    *(
        (
            "EuroBertForSequenceClassification",
            TextClassifier,
            "logits",
            {"num_labels": 3, "classifier_pooling": pooling},
        )
        for pooling in ("bos", "mean", "late")
    ),
    ("EuroBertForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("GteModel", None, "last_hidden_state", changes) for changes in GTE_BASE),
    ("GteForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu"}),
    ("GteForSequenceClassification", TextClassifier, "logits", {"num_labels": 1}),
    ("GteForSequenceClassification", TextClassifier, "logits", {"classifier_dropout": 0.4}),
    ("GteForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("Phi3Model", None, "last_hidden_state", changes) for changes in PHI3_BASE),
    ("Phi3ForCausalLM", CausalLM, "logits", {}),
    ("Phi3ForCausalLM", CausalLM, "logits", {"tie_word_embeddings": True}),
    ("Phi3ForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("Phi3ForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("BloomModel", None, "last_hidden_state", changes) for changes in BLOOM_BASE),
    *(("BloomForCausalLM", CausalLM, "logits", {"tie_word_embeddings": t}) for t in (True, False)),
    ("BloomForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("BloomForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("LongformerModel", None, "last_hidden_state", changes) for changes in LONGFORMER_BASE),
    ("LongformerForSequenceClassification", TextClassifier, "logits", {"attention_window": 8}),
    *(("MixtralModel", None, "last_hidden_state", changes) for changes in MIXTRAL_BASE),
    ("MixtralForCausalLM", CausalLM, "logits", {}),
    ("MixtralForCausalLM", CausalLM, "logits", {"tie_word_embeddings": True}),
    ("MixtralForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("MixtralForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("Qwen3MoeModel", None, "last_hidden_state", changes) for changes in QWEN3_MOE_BASE),
    ("Qwen3MoeForCausalLM", CausalLM, "logits", {}),
    ("Qwen3MoeForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("Qwen3MoeForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("Gemma2Model", None, "last_hidden_state", changes) for changes in GEMMA2_BASE),
    ("Gemma2ForCausalLM", CausalLM, "logits", {"final_logit_softcapping": 2.0}),
    (
        "Gemma2ForCausalLM",
        CausalLM,
        "logits",
        {"tie_word_embeddings": False, "final_logit_softcapping": None},
    ),
    ("Gemma2ForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("Gemma2ForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    *(("Gemma3TextModel", None, "last_hidden_state", changes) for changes in GEMMA_BASE),
    ("Gemma3ForCausalLM", CausalLM, "logits", {}),
    ("Gemma3ForCausalLM", CausalLM, "logits", {"tie_word_embeddings": False}),
    ("Gemma3TextForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    *(("LlamaModel", None, "last_hidden_state", changes) for changes in LLAMA_BASE),
    *((kind, None, "last_hidden_state", changes) for kind, changes in LLAMA_RELATIVES),
    *(
        (f"{kind}ForCausalLM", CausalLM, "logits", {"tie_word_embeddings": tie})
        for kind in LLAMA_TYPES
        for tie in (True, False)
    ),
    *(
        (
            f"{kind}ForSequenceClassification",
            TextClassifier,
            "logits",
            {"num_labels": 3, "pad_token_id": 0},
        )
        for kind in LLAMA_TYPES
    ),
    *(("DebertaV2Model", None, "last_hidden_state", changes) for changes in DEBERTA_BASE),
    *((kind, task, "logits", changes) for kind, task, changes in DEBERTA_HEADS),
    *(("DebertaModel", None, "last_hidden_state", changes) for changes in DEBERTA_1_BASE),
    *((kind, task, "logits", changes) for kind, task, changes in DEBERTA_1_HEADS),
    *(("ElectraModel", None, "last_hidden_state", changes) for changes in ELECTRA_BASE),
    *(("AlbertModel", None, "last_hidden_state", changes) for changes in ALBERT_BASE),
    ("AlbertForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    ("AlbertForMaskedLM", MaskedLM, "logits", {"num_hidden_groups": 2, "embedding_size": 24}),
    ("AlbertForPreTraining", MaskedLM, "prediction_logits", {}),
    ("MegatronBertForPreTraining", MaskedLM, "prediction_logits", {}),
    ("MegatronBertForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu", "type_vocab_size": 3}),
    ("AlbertForSequenceClassification", TextClassifier, "logits", {"num_labels": 1}),
    (
        "AlbertForSequenceClassification",
        TextClassifier,
        "logits",
        {"classifier_dropout_prob": 0.4},
    ),
    ("ElectraForMaskedLM", MaskedLM, "logits", {}),
    ("ElectraForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu", "embedding_size": 24}),
    ("ElectraForMaskedLM", MaskedLM, "logits", {"tie_word_embeddings": False}),
    ("ElectraForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("ElectraForSequenceClassification", TextClassifier, "logits", {"classifier_dropout": 0.4}),
    ("ElectraForSequenceClassification", TextClassifier, "logits", {"hidden_act": "relu"}),
    *(("ModernBertModel", None, "last_hidden_state", changes) for changes in MODERN_BERT_BASE),
    *((kind, task, "logits", changes) for kind, task, changes in MODERN_BERT_HEADS),
    *(("OPTModel", None, "last_hidden_state", changes) for changes in OPT_BASE),
    *(("OPTForCausalLM", CausalLM, "logits", {"tie_word_embeddings": t}) for t in (True, False)),
    ("OPTForCausalLM", CausalLM, "logits", OPT_350M),
    ("OPTForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("OPTForSequenceClassification", TextClassifier, "logits", OPT_350M),
    *(("NomicBertModel", None, "last_hidden_state", changes) for changes in NOMIC_BERT_BASE),
    ("NomicBertForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu"}),
    ("NomicBertForSequenceClassification", TextClassifier, "logits", {"classifier_dropout": 0.4}),
    *(("EsmModel", None, "last_hidden_state", changes) for changes in ESM_BASE),
    ("EsmForMaskedLM", MaskedLM, "logits", {**ABSOLUTE, "emb_layer_norm_before": True}),
    ("EsmForSequenceClassification", TextClassifier, "logits", ABSOLUTE),
    *(("FNetModel", None, "last_hidden_state", changes) for changes in FNET_BASE),
    ("FNetForMaskedLM", MaskedLM, "logits", {}),
    ("FNetForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    ("FNetForMaskedLM", MaskedLM, "logits", {"tie_word_embeddings": False}),
    ("FNetForPreTraining", MaskedLM, "prediction_logits", {}),
    ("FNetForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("FNetForSequenceClassification", TextClassifier, "logits", {"num_labels": 1}),
    *(("RobertaModel", None, "last_hidden_state", changes) for changes in ROBERTA_BASE),
    ("XLMRobertaModel", None, "last_hidden_state", {"type_vocab_size": 1}),
    ("RobertaForMaskedLM", MaskedLM, "logits", {}),
    ("RobertaForMaskedLM", MaskedLM, "logits", {"hidden_act": "relu"}),
    ("RobertaForMaskedLM", MaskedLM, "logits", {"tie_word_embeddings": False}),
    ("CamembertForMaskedLM", MaskedLM, "logits", {"type_vocab_size": 1}),
    ("RobertaForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("XLMRobertaForSequenceClassification", TextClassifier, "logits", {"classifier_dropout": 0.4}),
    *(("BertModel", None, "last_hidden_state", changes) for changes in BERT_BASE),
    *(("DistilBertModel", None, "last_hidden_state", changes) for changes in DISTIL_BASE),
    ("BertForMaskedLM", MaskedLM, "logits", {}),
    ("BertForMaskedLM", MaskedLM, "logits", {"tie_word_embeddings": False, "hidden_act": "relu"}),
    ("BertForPreTraining", MaskedLM, "prediction_logits", {}),
    ("BertForPreTraining", MaskedLM, "prediction_logits", {"layer_norm_eps": 1e-3}),
    ("BertForSequenceClassification", TextClassifier, "logits", {"num_labels": 3}),
    ("BertForSequenceClassification", TextClassifier, "logits", {"classifier_dropout": 0.4}),
    ("BertForSequenceClassification", TextClassifier, "logits", {"num_labels": 1}),
    ("DistilBertForMaskedLM", MaskedLM, "logits", {}),
    ("DistilBertForMaskedLM", MaskedLM, "logits", {"tie_word_embeddings": False}),
    ("DistilBertForMaskedLM", MaskedLM, "logits", {"activation": "relu"}),
    ("DistilBertForSequenceClassification", TextClassifier, "logits", {"num_labels": 4}),
    ("DistilBertForSequenceClassification", TextClassifier, "logits", {"seq_classif_dropout": 0}),
]

CASES += [case for case in usual_cases() if case not in CASES]


def load(folder, task, **arguments):
    if task is None:
        return Backbone.from_preset(folder, **arguments)
    return task.from_preset(folder, preprocessor=None, **arguments)


def inputs_of(written, model, vocabulary=61):
    """Return a batch for a checkpoint's reference and its model here, with the pads that it has."""
    config = written.model.config
    reads_segments = "segment_ids" in getattr(model, "backbone", model).input
    segments = config.type_vocab_size if reads_segments else None
    return whole_batch(model, batch(segments, vocabulary, padding=config.pad_token_id or 0))


def our_outputs(model, inputs):
    outputs = model(inputs)
    outputs = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return keras.ops.convert_to_numpy(outputs).astype("float64")


@pytest.mark.parametrize(("kind", "task", "name", "changes"), CASES)
def test_numbers_are_the_references_and_come_back_byte_equal(
    kind, task, name, changes, write, tmp_path
):
    written = write(kind, **changes)
    model = load(written.folder, task)
    inputs = inputs_of(written, model)
    single, double = (written.outputs(inputs, name, double) for double in (False, True))
    ours = our_outputs(model, inputs)
    real = inputs["padding_mask"].astype(bool) if ours.ndim == 3 else slice(None)
    assert noise_ratio(ours[real], single[real], double[real]) <= 4

    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    written_config, config = (
        json.loads((f / "config.json").read_text()) for f in (written.folder, tmp_path / "out")
    )
    assert config == written_config

    back, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    written.model = with_eager_experts(back.eval())
    np.testing.assert_array_equal(written.outputs(inputs, name, False), single)


LEFT = [  # with absolute positions, relative ones, both or none of either
    ("BertModel", {}),
    ("BertModel", {"type_vocab_size": 4, "num_attention_heads": 3}),
    ("DistilBertModel", {}),
    ("DistilBertModel", {"sinusoidal_pos_embds": True, "n_heads": 3}),
    ("RobertaModel", {}),
    ("RobertaModel", {"pad_token_id": 5, "max_position_embeddings": 19}),
    ("XLMRobertaModel", {"type_vocab_size": 1}),
    ("DebertaV2Model", {}),
    ("DebertaV2Model", {"position_biased_input": True, "conv_kernel_size": 3}),
    ("DebertaV2Model", PLAIN),
    ("DebertaModel", {"position_biased_input": True}),
    ("ElectraModel", {}),
    ("ModernBertModel", {}),
    ("FNetModel", {}),
    ("LlamaModel", {}),
    ("MistralModel", {"sliding_window": 4}),
    ("BloomModel", {"n_head": 3}),
    ("Gemma2Model", {}),
    ("Gemma3TextModel", {}),
    ("Gemma3TextModel", {"use_bidirectional_attention": True}),
]


LEFT += [(kind, {}) for kind in bare() if kind not in dict(LEFT)]


@pytest.mark.parametrize(("kind", "changes"), LEFT)
def test_left_padded_rows_are_the_references(kind, changes, write):
    """Rows with no pads in front, with a few, with all but one; pads are counted as positions."""
    written = write(kind, **changes)
    model = Backbone.from_preset(written.folder)
    inputs = inputs_of(written, model)
    inputs = {k: v[:, ::-1].copy() for k, v in inputs.items()}
    assert not inputs["padding_mask"][1:, 0].any()
    single, double = (written.outputs(inputs, "last_hidden_state", d) for d in (False, True))
    ours = our_outputs(model, inputs)
    for row, real in enumerate(inputs["padding_mask"].astype(bool)):
        assert noise_ratio(ours[row, real], single[row, real], double[row, real]) <= 4


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("BertForSequenceClassification", TextClassifier),
        ("BertForMaskedLM", MaskedLM),
        ("DistilBertForMaskedLM", MaskedLM),
        ("RobertaForMaskedLM", MaskedLM),
        ("DebertaV2ForMaskedLM", MaskedLM),
    ],
)
def test_the_heads_numbers_on_left_padded_rows_are_the_references(kind, task, write):
    written = write(kind)
    model = load(written.folder, task)
    inputs = {k: v[:, ::-1].copy() for k, v in inputs_of(written, model).items()}
    single, double = (written.outputs(inputs, "logits", d) for d in (False, True))
    ours = our_outputs(model, inputs)
    # A classifier reads the first place, which is a pad where there are some; what ours and the
    # reference make of pads need not be the same.
    rows = inputs["padding_mask"].astype(bool) if ours.ndim == 3 else [0]  # the row without pads
    assert noise_ratio(ours[rows], single[rows], double[rows]) <= 4


@pytest.mark.parametrize("kind", ["BertModel", "RobertaModel"])
def test_the_pooled_output_is_the_references(kind, write):
    written = write(kind)
    model = Backbone.from_preset(written.folder)
    inputs = inputs_of(written, model)
    double, single = (written.outputs(inputs, "pooler_output", d) for d in (True, False))
    outputs = model(inputs)["pooled_output"]
    ours = keras.ops.convert_to_numpy(outputs).astype("float64")
    assert noise_ratio(ours, single, double) <= 4


@pytest.mark.parametrize(
    "kind",
    [*(name for name in headed() if hasattr(transformers, name)), "XLMRobertaForMultipleChoice"],
)
def test_a_backbone_of_a_file_with_a_head_is_exact_and_carries_the_head(kind, write, tmp_path):
    written = write(kind)
    model = Backbone.from_preset(written.folder)
    inputs = inputs_of(written, model)
    base = getattr(written.model, written.model.base_model_prefix)
    full, written.model = written.model, base
    double, single = (written.outputs(inputs, "last_hidden_state", d) for d in (True, False))
    real = inputs["padding_mask"].astype(bool)
    assert noise_ratio(our_outputs(model, inputs)[real], single[real], double[real]) <= 4
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    written.model = full


def without_prefix(written):
    """The same checkpoint with the backbone's names unprefixed, as older exports have them."""
    from safetensors.torch import load_file, save_file

    path = written.folder / "model.safetensors"
    prefix = written.model.base_model_prefix + "."
    state = {k.removeprefix(prefix): v for k, v in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})


def legacy_names(written):
    """The same checkpoint with TensorFlow's names for layer normalization."""
    from safetensors.torch import load_file, save_file

    path = written.folder / "model.safetensors"
    state = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): v
        for k, v in load_file(path).items()
    }
    save_file(state, path, metadata={"format": "pt"})


def pickled(written):
    """The same checkpoint as torch's pytorch_model.bin, with position_ids as old exports had."""
    state = dict(written.model.state_dict())
    prefix = next(k for k in state if "word_embeddings" in k).rpartition("word_embeddings")[0]
    state[prefix + "position_ids"] = torch.arange(32)[None]
    torch.save(state, written.folder / "pytorch_model.bin")
    (written.folder / "model.safetensors").unlink()


@pytest.mark.parametrize("change", [without_prefix, legacy_names, pickled])
@pytest.mark.parametrize(
    "kind",
    [
        "BertForMaskedLM",
        "DistilBertForMaskedLM",
        "BertModel",
        "DebertaV2ForMaskedLM",
        "DebertaForMaskedLM",
        "FNetForMaskedLM",
        "RobertaForMaskedLM",
        "AlbertForMaskedLM",
    ],
)
def test_older_spellings_of_a_checkpoint_load_and_export(change, kind, write, tmp_path):
    written = write(kind)
    change(written)
    task = MaskedLM if "MaskedLM" in kind else None
    name = "logits" if task else "last_hidden_state"
    model = load(written.folder, task)
    inputs = inputs_of(written, model)
    double, single = (written.outputs(inputs, name, d) for d in (True, False))
    real = inputs["padding_mask"].astype(bool)
    assert noise_ratio(our_outputs(model, inputs)[real], single[real], double[real]) <= 4
    model.save_to_preset(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bin"))
    if change is pickled:
        state = written.model.float().state_dict()
        for key, (_, _, raw) in tensors(tmp_path / "out").items():
            if not key.endswith("position_ids"):
                assert raw == state[key].numpy().tobytes()
    else:
        assert tensors(tmp_path / "out") == tensors(written.folder)
    back, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    written.model = with_eager_experts(back.eval())
    np.testing.assert_array_equal(written.outputs(inputs, name, False), single)


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "DistilBertModel"])
def test_shards_come_back_as_they_were(kind, write, tmp_path):
    written = write(kind, save={"max_shard_size": "12KB"})
    assert len(list(written.folder.glob("*.safetensors"))) > 2
    model = load(written.folder, MaskedLM if "MaskedLM" in kind else None)
    model.save_to_preset(tmp_path / "out")
    for path in written.folder.glob("model*"):
        if path.suffix == ".safetensors":
            assert tensors(path.parent) == tensors(tmp_path / "out")
            assert (tmp_path / "out" / path.name).stat().st_size == path.stat().st_size
    ours, theirs = (
        json.loads((f / "model.safetensors.index.json").read_text())["weight_map"]
        for f in (tmp_path / "out", written.folder)
    )
    assert ours == theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_load_exactly_and_come_back_byte_equal(dtype, write, tmp_path):
    written = write("BertForMaskedLM", dtype=dtype)
    model = load(written.folder, MaskedLM)
    inputs = batch(2)
    double, single = (written.outputs(inputs, "logits", d) for d in (True, False))
    real = inputs["padding_mask"].astype(bool)
    assert noise_ratio(our_outputs(model, inputs)[real], single[real], double[real]) <= 4
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("AlbertModel", {"inner_group_num": 2}),
        ("AlbertModel", {"num_hidden_groups": 9}),
        ("BertModel", {"is_decoder": True}),
        ("BertModel", {"hidden_act": "gelu_10"}),
        ("BertModel", {"position_embedding_type": "relative_key"}),
        ("DebertaV2Model", {"pos_att_type": "c2p|p2p"}),
        ("DebertaV2Model", {"norm_rel_ebd": "batch_norm"}),
        ("DebertaV2Model", {"attention_head_size": 8}),
        ("DebertaV2Model", {"pooler_hidden_size": 12}),
        ("DebertaV2Model", {"conv_act": "mish"}),
        ("DebertaV2Model", {"position_buckets": "256"}),
        ("DebertaModel", {"talking_head": True}),
        ("DebertaModel", {"pos_att_type": "c2p|p2p"}),
        ("DistilBertModel", {"activation": "mish"}),
        ("FNetModel", {"hidden_act": "quick_gelu"}),
        ("FNetModel", {"num_attention_heads": 4}),
        ("OPTModel", {"layer_norm_elementwise_affine": False}),
        ("RobertaModel", {"position_embedding_type": "relative_key"}),
        ("RobertaModel", {"pad_token_id": 33}),
    ],
)
def test_a_field_that_is_not_computed_is_refused_by_name(kind, changes, write):
    (field,) = changes
    folder = write(kind).folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=field):
        Backbone.from_preset(folder)


@pytest.mark.parametrize("kind", ["AlbertModel", "BertModel", "DistilBertModel", "FNetModel"])
def test_a_feed_forward_in_chunks_gives_the_same_numbers(kind, write):
    written = write(kind, chunk_size_feed_forward=1)
    model = load(written.folder, None)
    inputs = inputs_of(written, model)
    double, single = (written.outputs(inputs, "last_hidden_state", d) for d in (True, False))
    ours = our_outputs(model, inputs)
    real = inputs["padding_mask"].astype(bool)
    assert noise_ratio(ours[real], single[real], double[real]) <= 4


@pytest.mark.parametrize("kind", bare())
@pytest.mark.parametrize(
    ("task", "suffix"),
    [(MaskedLM, "ForMaskedLM"), (TextClassifier, "ForSequenceClassification")],
)
def test_a_fresh_head_saves_as_the_references_class(kind, task, suffix, write, tmp_path):
    written = write(kind)
    with pytest.warns(UserWarning, match="freshly"):
        model = load(written.folder, task)
    model.save_to_preset(tmp_path / "out")
    cls = getattr(transformers, kind.removesuffix("Model") + suffix)
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == [cls.__name__]
    back, report = cls.from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    written.model = with_eager_experts(back.eval())
    inputs = inputs_of(written, model)
    ours, theirs = our_outputs(model, inputs), written.outputs(inputs, "logits", True)
    real = inputs["padding_mask"].astype(bool) if ours.ndim == 3 else slice(None)
    np.testing.assert_allclose(ours[real], theirs[real], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", bare())
def test_a_model_built_here_loads_there(kind, tmp_path):
    cls = getattr(transformers, kind)
    architecture, _ = by_model_type(cls.config_class.model_type)
    parts = architecture.sources[0].optional_layers
    whole = dict.fromkeys(parts, True)
    known = inspect.signature(architecture.backbone).parameters
    others = {"activation": "relu", "max_sequence_length": 20}
    sizes = {**architecture.tiny, **{n: v for n, v in others.items() if n in known}}
    model = architecture.backbone(**sizes, **whole)
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    model.save_to_preset(tmp_path / "out")
    back, report = cls.from_pretrained(
        tmp_path / "out",
        output_loading_info=True,
        attn_implementation="eager",
        **small_padding(cls, sizes["vocabulary_size"]),
    )
    assert not any(report[key] for key in ("missing_keys", "mismatched_keys"))
    # The bare class of Nomic BERT has no pooler, so that its golden file has none in its first run.
    golden = Golden.read(Path(__file__).parents[1] / "golden" / f"{architecture.name}.safetensors")
    shown = {tensor.tap[0] for tensor in golden.runs[""].tensors}
    lacking = [e for part in parts.keys() - shown for e in parts[part]]
    assert {*report["unexpected_keys"]} == {name for entry in lacking for name in entry.theirs}
    written = Written(tmp_path, back.eval())
    inputs = inputs_of(written, model, vocabulary=architecture.tiny["vocabulary_size"])
    theirs = written.outputs(inputs, "last_hidden_state", True)
    real = inputs["padding_mask"].astype(bool)
    np.testing.assert_allclose(our_outputs(model, inputs)[real], theirs[real], rtol=1e-3, atol=1e-3)
