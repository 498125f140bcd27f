"""GPT-NeoX as transformers stores it (models/gpt_neox/modeling_gpt_neox.py)."""

import numpy as np

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    token_id,
)
from inarch.checkpoints.maps.decoder_heads import last_token_head
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import (
    dense,
    derived,
    embedding,
    norm,
    rule,
    tied,
    under,
    unused,
    when,
)
from inarch.checkpoints.maps.source import Head, Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling

# A table to be checked against the reference, line by line.
# fmt: off
HEADS = field("num_attention_heads", "num_heads", 64)
WIDTH = field("hidden_size", "hidden_dim", 6144)
LENGTH = field("max_position_embeddings", "max_sequence_length", 2048)
BASE = field("rope_parameters.rope_theta", "rope_theta", 10000.0,
    legacy=("rope_scaling.rope_theta", "rotary_emb_base"))
SHARE = field("rope_parameters.partial_rotary_factor", "partial_rotary_factor", 0.25,
    legacy=("rope_scaling.partial_rotary_factor", "rotary_pct"))
HUGGING_FACE = Source(
    model_type="gpt_neox",
    architecture="GPTNeoXModel",
    prefix="gpt_neox.",
    config=[
        field("vocab_size", "vocabulary_size", 50432),
        field("num_hidden_layers", "num_layers", 44),
        HEADS,
        WIDTH,
        field("intermediate_size", "intermediate_dim", 24576),
        field("use_parallel_residual", "parallel_residual", True),
        probability("hidden_dropout", "dropout", 0.0),
        probability("attention_dropout", "attention_dropout", 0.0),
        field("attention_bias", "attention_bias", True),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-5),
        BASE,
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling,
            types=SCALING_FIELDS),
        SHARE,
        must_be("original_max_position_embeddings", None, reason="read next to a scaling"),
        LENGTH,
        token_id("pad_token_id", "padding_id", None),
        must_be("is_causal", True),
        must_be("pruned_heads", {}, reason="versions of transformers before 5 read it"),
        must_match("head_dim", lambda config: WIDTH.read(config) // HEADS.read(config)),
        [must_match(name, entry.read, reason="versions of transformers before 5 write it as well")
            for name, entry in (("rope_theta", BASE), ("partial_rotary_factor", SHARE))],
        ignored("hidden_dropout_prob", "attention_probs_dropout_prob",
            reason="fields of gpt-neox-20b's file, which the reference doesn't read"),
        [must_be(name, None) for name in ("attention_chunk_size", "kv_sharing_modes",
            "layer_types", "per_layer_config", "sliding_window")],
    ],
    weights=[
        embedding("embed_in", "token_embedding"),
        under("layers.{i}", "layer_{i}",
            norm("input_layernorm", "attention_norm"),
            rule("attention.query_key_value.weight",
                [f"attention/{name}/kernel" for name in ("query", "key", "value")],
                "(h=num_heads (q + k + v)) i -> i (h q), i (h k), i (h v)"),
            when("attention_bias",
                rule("attention.query_key_value.bias",
                    [f"attention/{name}/bias" for name in ("query", "key", "value")],
                    "(h=num_heads (q + k + v)) -> (h q), (h k), (h v)")),
            dense("attention.dense", "attention/output", bias="attention_bias"),
            norm("post_attention_layernorm", "feed_forward_norm"),
            dense("mlp.dense_h_to_4h", "feed_forward/up"),
            dense("mlp.dense_4h_to_h", "feed_forward/down"),
            derived("attention.bias", lambda shape: np.tril(np.ones(shape)), reason="causal mask"),
            unused("attention.masked_bias", reason="what the mask once put in place of a score"),
            unused("attention.rotary_emb.inv_freq", reason="frequencies, which the config has")),
        norm("final_layer_norm", "final_norm"),
    ],
    heads={
        "causal_lm": Head(
            ("GPTNeoXForCausalLM",),
            tied=[tied(name, ".embed_in.weight")
                for name in ("embed_out.weight", "lm_head.weight")],
            untied=rule("embed_out.weight", "logits/kernel", "v d -> d v", legacy="lm_head.weight"),
        ),
        "text_classifier": last_token_head("GPTNeoXForSequenceClassification"),
        "token_classifier": Head(
            ("GPTNeoXForTokenClassification",), dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", 0.1)],
        ),
        "question_answering": Head(("GPTNeoXForQuestionAnswering",), dense("qa_outputs", "logits")),
    },
    tie_word_embeddings=False,
)
