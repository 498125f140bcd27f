"""GTE as transformers and as its authors store it.

transformers, models/gte and conversion_mapping.py; the authors' code is Alibaba-NLP/new-impl on the
hub, configuration.py and modeling.py, whose fields and names of tensors transformers' files keep.
"""

from typing import Any

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
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
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, when
from inarch.checkpoints.maps.source import Head, Source
from inarch.layers.rotary_scaling import SCALING_FIELDS, SCALING_TYPES, check_scaling

# Tables to be checked against the reference, line by line.
# fmt: off
LENGTH = field("max_position_embeddings", "max_sequence_length", 8192)
HEADS = field("num_attention_heads", "num_heads", 12)
WIDTH = field("hidden_size", "hidden_dim", 768)
OURS = "the authors' code reads it"
SHARED: list[Any] = [
    field("vocab_size", "vocabulary_size", 250048),
    field("num_hidden_layers", "num_layers", 12),
    HEADS,
    WIDTH,
    field("intermediate_size", "intermediate_dim", 3072),
    probability("hidden_dropout_prob", "dropout", 0.1),
    probability("attention_probs_dropout_prob", "attention_dropout", 0.0),
    choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
    field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
    LENGTH,
    field("type_vocab_size", "num_segments", 1, least=0),
    # Files of either type have the authors' fields.
    [entry for entry in TEXT_ENCODER if "position_embedding_type" not in entry.known_names],
    must_be("position_embedding_type", "rope", reason=OURS),
    must_be("layer_norm_type", "layer_norm", reason=OURS),
    must_be("logn_attention_scale", False, reason=OURS),
    must_be("pack_qkv", True, reason=OURS),
    ignored("logn_attention_clip1", reason="read with logn_attention_scale alone"),
    ignored("unpad_inputs", "use_memory_efficient_attention",
        reason="other ways to the same numbers"),
]
SEGMENTS = when("num_segments", embedding("embeddings.token_type_embeddings", "segment_embedding"))
WEIGHTS = [
    embedding("embeddings.word_embeddings", "token_embedding"),
    SEGMENTS,
    norm("embeddings.LayerNorm", "embeddings_norm"),
    under("encoder.layer.{i}", "layer_{i}",
        rule("attention.qkv_proj.weight",
            [f"attention/{name}/kernel" for name in ("query", "key", "value")],
            "(o + o + o) i -> i o, i o, i o"),
        rule("attention.qkv_proj.bias",
            [f"attention/{name}/bias" for name in ("query", "key", "value")],
            "(o + o + o) -> o, o, o"),
        dense("attention.o_proj", "attention/output"),
        norm("attn_ln", "attention_norm"),
        rule("mlp.up_gate_proj.weight",
            [f"feed_forward/{name}/kernel" for name in ("up", "gate")],
            "(o + o) i -> i o, i o"),
        dense("mlp.down_proj", "feed_forward/down"),
        norm("mlp_ln", "feed_forward_norm")),
]
POOLER = {"pooler": dense("pooler.dense", "pooler")}
CLASSIFIER_DROPOUT = probability("classifier_dropout", "dropout", None)
VOCABULARY: list[Any] = [
    dense("lm_head.dense", "masked_lm_head/transform"),
    rule("lm_head.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
]
TIED = tied("lm_head.decoder.weight", ".embeddings.word_embeddings.weight")
UNTIED = rule("lm_head.decoder.weight", "masked_lm_head/output_kernel", "v d -> d v")
TRANSFORM_NORM = norm("lm_head.norm", "masked_lm_head/transform_norm")
HUGGING_FACE = Source(
    model_type="gte",
    architecture="GteModel",
    prefix="gte.",
    other_prefixes=("new.",),  # of the authors' files, in which only the type was changed
    config=[
        SHARED,
        fallback("head_dim", "head_dim",
            other=lambda config: WIDTH.read(config) // HEADS.read(config)),
        field("rope_parameters.rope_theta", "rope_theta", 160000.0,
            legacy=("rope_scaling.rope_theta", "rope_theta")),
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling, types=SCALING_FIELDS),
        [must_be(name, None, reason="read where it stands next to a scaling")
            for name in ("original_max_position_embeddings", "partial_rotary_factor")],
    ],
    weights=WEIGHTS,
    module_weights=[
        embedding("embeddings.word_embeddings", "token_embedding"),
        SEGMENTS,
        norm("embeddings.LayerNorm", "embeddings_norm"),
        under("layers.{i}", "layer_{i}",
            *(dense(f"self_attn.{name[0]}_proj", f"attention/{name}")
                for name in ("query", "key", "value", "output")),
            norm("post_attention_layernorm", "attention_norm"),
            *(dense(f"mlp.{name}_proj", f"feed_forward/{name}", bias=False)
                for name in ("gate", "up")),
            dense("mlp.down_proj", "feed_forward/down"),
            norm("post_mlp_layernorm", "feed_forward_norm")),
    ],
    optional_layers=POOLER,
    heads={
        "masked_lm": Head(
            ("GteForMaskedLM", "NewForMaskedLM"),
            weights=[*VOCABULARY, TRANSFORM_NORM],
            module_weights=[
                *VOCABULARY,
                norm("lm_head.layer_norm", "masked_lm_head/transform_norm"),
            ],
            tied=TIED, untied=UNTIED,
        ),
        "text_classifier": Head(
            ("GteForSequenceClassification", "NewForSequenceClassification"),
            dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT], requires=("pooler",),
        ),
        "token_classifier": Head(
            ("GteForTokenClassification", "NewForTokenClassification"),
            dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT],
        ),
    },
)
AUTHORS = Source(
    model_type="new",
    architecture="NewModel",
    prefix="new.",
    config=[
        with_defaults(SHARED, vocab_size=30528, max_position_embeddings=2048),
        constant("head_dim", None),
        must_match("head_dim",
            lambda config: WIDTH.read(config) // HEADS.read(config), reason=OURS),
        field("rope_theta", "rope_theta", 10000.0, reason=OURS),
        rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling, holder="rope_scaling",
            type_name="type", types={"ntk": SCALING_TYPES["ntk"].fields}, reason=OURS),
        must_be("rope_parameters", None, reason="the authors' code reads rope_scaling instead"),
    ],
    weights=WEIGHTS,
    optional_layers=POOLER,
    heads={
        "masked_lm": Head(
            ("NewForMaskedLM",), [*VOCABULARY, TRANSFORM_NORM],
            tied=TIED, untied=UNTIED,
            config=[must_be("hidden_act", "gelu", reason="of this head too, whose GELU is fixed")],
        ),
        "text_classifier": Head(
            ("NewForSequenceClassification",), dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT], requires=("pooler",),
        ),
        "token_classifier": Head(
            ("NewForTokenClassification",), dense("classifier", "logits"),
            config=[CLASSIFIER_DROPOUT],
        ),
        "question_answering": Head(
            ("NewForQuestionAnswering",), dense("qa_outputs", "logits")),
        "multiple_choice": Head(
            ("NewForMultipleChoice",), dense("classifier", "logits"), requires=("pooler",)),
    },
)
