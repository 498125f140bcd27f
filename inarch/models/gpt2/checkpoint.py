"""GPT-2 as transformers stores it (models/gpt2/modeling_gpt2.py)."""

import numpy as np

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    field,
    ignored,
    must_be,
    probability,
    token_id,
)
from inarch.checkpoints.maps.decoder_heads import causal_lm_head, every_token_head, last_token_head
from inarch.checkpoints.maps.rule import (
    CONV1D,
    dense,
    derived,
    embedding,
    norm,
    rule,
    under,
    unused,
)
from inarch.checkpoints.maps.source import Head, Source

PROJECTIONS = ["query", "key", "value"]

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="gpt2",
    architecture="GPT2Model",
    prefix="transformer.",
    config=[
        field("vocab_size", "vocabulary_size", 50257),
        field("n_layer", "num_layers", 12, aliases=("num_hidden_layers",)),
        field("n_head", "num_heads", 12, aliases=("num_attention_heads",)),
        field("n_embd", "hidden_dim", 768, aliases=("hidden_size",)),
        field("n_inner", "intermediate_dim", None),
        probability("resid_pdrop", "dropout", 0.1),
        probability("embd_pdrop", "embedding_dropout", 0.1),
        probability("attn_pdrop", "attention_dropout", 0.1),
        choice("activation_function", "activation", "gelu_new", values=ACTIVATIONS),
        field("layer_norm_epsilon", "layer_norm_epsilon", 1e-5),
        field("n_positions", "max_sequence_length", 1024, aliases=("max_position_embeddings",)),
        token_id("pad_token_id", "padding_id", None),
        must_be("scale_attn_weights", True),
        must_be("scale_attn_by_inverse_layer_idx", False),
        must_be("add_cross_attention", False),
        must_be("is_causal", True),
        *(must_be(name, None) for name in ("attention_chunk_size", "kv_sharing_modes",
            "layer_types", "per_layer_config", "sliding_window")),
        must_be("pruned_heads", {}, reason="versions of transformers before 5 read it"),
        ignored("reorder_and_upcast_attn", reason="the precision of 16-bit training"),
        ignored("n_ctx", reason="the length of the stored causal mask, which n_positions repeats"),
        ignored("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
            "summary_first_dropout", "summary_last_dropout",
            reason="multiple choice next to a language model, of which no task has the head"),
    ],
    weights=[
        embedding("wte", "embeddings/token_embedding"),
        embedding("wpe", "embeddings/position_embedding"),
        under("h.{i}", "layer_{i}",
            norm("ln_1", "attention_norm"),
            rule("attn.c_attn.weight", [f"attention/{name}/kernel" for name in PROJECTIONS],
                "i (o + o + o) -> i o, i o, i o"),
            rule("attn.c_attn.bias", [f"attention/{name}/bias" for name in PROJECTIONS],
                "(o + o + o) -> o, o, o"),
            CONV1D.dense("attn.c_proj", "attention/output"),
            norm("ln_2", "feed_forward_norm"),
            CONV1D.dense("mlp.c_fc", "feed_forward/up"),
            CONV1D.dense("mlp.c_proj", "feed_forward/down"),
            derived("attn.bias", lambda shape: np.tril(np.ones(shape)), reason="causal mask"),
            unused("attn.masked_bias", reason="what the mask once put in place of a score")),
        norm("ln_f", "final_norm"),
    ],
    heads={
        "causal_lm": causal_lm_head(
            "GPT2LMHeadModel", "GPT2DoubleHeadsModel", tokens=".wte.weight"
        ),
        "text_classifier": last_token_head("GPT2ForSequenceClassification"),
        "token_classifier": every_token_head("GPT2ForTokenClassification", layer="classifier"),
        "question_answering": Head(("GPT2ForQuestionAnswering",), dense("qa_outputs", "logits")),
        "multiple_choice": Head(
            ("GPT2DoubleHeadsModel",), dense("multiple_choice_head.summary", "logits")
        ),
    },
)
