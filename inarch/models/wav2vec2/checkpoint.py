"""wav2vec 2.0 and HuBERT as transformers stores them (models/wav2vec2/modeling_wav2vec2.py and
models/hubert/modeling_hubert.py).
"""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    choice,
    constant,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    sizes,
)
from inarch.checkpoints.maps.entries import Entries, Rule
from inarch.checkpoints.maps.rule import dense, norm, rule, under, unused, when
from inarch.checkpoints.maps.source import Head, Source

LIST = sizes("conv_dim", "conv_dims", (512,) * 7)
CONVOLUTION = "encoder.pos_conv_embed.conv."


# A table to be checked against the reference, line by line.
# fmt: off
def config(*others) -> list:
    return [
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout", "dropout", 0.1),
        probability("attention_dropout", "attention_dropout", 0.1),
        probability("activation_dropout", "activation_dropout", 0.1),
        probability("feat_proj_dropout", "projection_dropout", 0.0),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-5),
        field("do_stable_layer_norm", "normalize_first", False),
        LIST,
        sizes("conv_kernel", "conv_kernels", (10, 3, 3, 3, 3, 2, 2), like=LIST),
        sizes("conv_stride", "conv_strides", (5, 2, 2, 2, 2, 2, 2), like=LIST),
        must_match("num_feat_extract_layers", lambda config: len(LIST.read(config))),
        field("conv_bias", "conv_bias", False),
        choice("feat_extract_norm", "conv_norm", "group",
            values={"group": "group", "layer": "layer"}),
        choice("feat_extract_activation", "conv_activation", "gelu", values=ACTIVATIONS),
        field("num_conv_pos_embeddings", "position_kernel", 128),
        field("num_conv_pos_embedding_groups", "position_groups", 16),
        field("use_weighted_layer_sum", "layer_outputs", False),
        field("adapter_attn_dim", "adapter_dim", None, nullable=True),
        must_be("add_adapter", False),
        ignored("adapter_kernel_size", "adapter_stride", "num_adapter_layers",
            "output_hidden_size", reason="settings of add_adapter, which is refused"),
        ENCODER_ONLY,
        ignored("layerdrop", "apply_spec_augment", "mask_time_prob", "mask_time_length",
            "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
            "mask_feature_min_masks",
            reason="the reference's training skips layers and masks its inputs"),
        *others,
    ]


WEIGHTS: Entries = [
    under("feature_extractor.conv_layers.{i}", "stem",
        rule("conv.weight", "conv_{i}/kernel", "o i w -> w i o"),
        when("conv_bias", rule("conv.bias", "conv_{i}/bias", "o -> o")),
        when(lambda arguments: arguments["conv_norm"] == "layer",
            norm("layer_norm", "conv_{i}_norm")),
        i="conv_dims"),
    when(lambda arguments: arguments["conv_norm"] == "group",
        norm("feature_extractor.conv_layers.0.layer_norm", "stem/conv_0_norm")),
    when("projection_norm", norm("feature_projection.layer_norm", "projection_norm")),
    dense("feature_projection.projection", "projection"),
    # The names that torch gives to a weight norm, and those that it gave before.
    Rule((CONVOLUTION + "parametrizations.weight.original0",), ("position_embedding/scale",),
        "a b w -> w a b", ((CONVOLUTION + "weight_g",),)),
    Rule((CONVOLUTION + "parametrizations.weight.original1",), ("position_embedding/kernel",),
        "o i w -> w i o", ((CONVOLUTION + "weight_v",),)),
    rule(CONVOLUTION + "bias", "position_embedding/bias", "o -> o"),
    norm("encoder.layer_norm", "encoder_norm"),
    under("encoder.layers.{i}", "layer_{i}",
        [dense(f"attention.{theirs}_proj", f"attention/{ours}") for theirs, ours in
            (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output"))],
        norm("layer_norm", "attention_norm"),
        dense("feed_forward.intermediate_dense", "feed_forward/up"),
        dense("feed_forward.output_dense", "feed_forward/down"),
        norm("final_layer_norm", "feed_forward_norm")),
    when(lambda arguments: arguments["adapter_dim"] and arguments["normalize_first"],
        under("encoder.layers.{i}.adapter_layer", "adapter_{i}",
            norm("norm", "norm"),
            dense("linear_1", "up"),
            dense("linear_2", "down"))),
    unused("masked_spec_embed", reason="what the reference's training puts in place of frames"),
]


def heads(name: str, **others) -> dict:
    return {
        "ctc": Head((f"{name}ForCTC",), dense("lm_head", "logits"), config=[
            field("vocab_size", "vocabulary_size", 32),
            probability("final_dropout", "dropout", 0.1),
            ignored("ctc_loss_reduction", "ctc_zero_infinity", "pad_token_id",
                reason="the reference's loss"),
        ]),
        "audio_classifier": Head((f"{name}ForSequenceClassification",), [
            dense("projector", "projector"),
            dense("classifier", "logits"),
            when("layer_outputs", rule("layer_weights", "layer_weights/weights", "n -> n")),
        ], config=field("classifier_proj_size", "projection_dim", 256)),
        **others,
    }


WAV2VEC2 = Source(
    model_type="wav2vec2",
    architecture="Wav2Vec2Model",
    prefix="wav2vec2.",
    config=config(
        constant("projection_norm", True),
        ignored("tdnn_dim", "tdnn_kernel", "tdnn_dilation", "xvector_output_dim",
            reason="a head that isn't here"),
    ),
    weights=WEIGHTS,
    heads=heads("Wav2Vec2", pretraining=Head(("Wav2Vec2ForPreTraining",), [
        rule("quantizer.codevectors", "quantizer/codevectors", "a n d -> a n d"),
        [dense(theirs, ours) for theirs, ours in (
            ("quantizer.weight_proj", "quantizer/projection"),
            ("project_hid", "hidden_projection"), ("project_q", "quantized_projection"))],
    ], config=ignored(
        "feat_quantizer_dropout", "num_codevector_groups", "num_codevectors_per_group",
        "codevector_dim", "proj_codevector_dim", "contrastive_logits_temperature",
        "diversity_loss_weight", "num_negatives", reason="pretraining, of which there is no task",
    ))),
)

HUBERT = Source(
    model_type="hubert",
    architecture="HubertModel",
    prefix="hubert.",
    config=config(
        field("feat_proj_layer_norm", "projection_norm", True),
        must_be("conv_pos_batch_norm", False),
    ),
    weights=WEIGHTS,
    heads=heads("Hubert"),
)
