"""Whisper as transformers stores it (models/whisper/modeling_whisper.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_DECODER,
    PADDING_ROW,
    choice,
    field,
    ignored,
    must_be,
    probability,
)
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under
from inarch.checkpoints.maps.source import Head, Source


# A table to be checked against the reference, line by line.
# fmt: off
def attention(theirs: str, ours: str) -> list:
    return under(theirs, ours,
        dense("q_proj", "query"),
        dense("k_proj", "key", bias=False),
        dense("v_proj", "value"),
        dense("out_proj", "output"))


HUGGING_FACE = Source(
    model_type="whisper",
    architecture="WhisperModel",
    prefix="model.",
    config=[
        field("vocab_size", "vocabulary_size", 51865),
        field("encoder_layers", "num_encoder_layers", 4, aliases=("num_hidden_layers",)),
        field("decoder_layers", "num_decoder_layers", 4),
        field("encoder_attention_heads", "num_encoder_heads", 6,
            aliases=("num_attention_heads", "num_key_value_heads")),
        field("decoder_attention_heads", "num_decoder_heads", 6),
        field("d_model", "hidden_dim", 384, aliases=("hidden_size",)),
        field("encoder_ffn_dim", "encoder_intermediate_dim", 1536),
        field("decoder_ffn_dim", "decoder_intermediate_dim", 1536),
        field("num_mel_bins", "num_mels", 80),
        probability("dropout", "dropout", 0.0),
        probability("attention_dropout", "attention_dropout", 0.0),
        probability("activation_dropout", "activation_dropout", 0.0),
        choice("activation_function", "activation", "gelu", values=ACTIVATIONS),
        field("max_source_positions", "max_encoder_sequence_length", 1500),
        field("max_target_positions", "max_decoder_sequence_length", 448),
        must_be("encoder_layerdrop", 0.0, 0),
        must_be("decoder_layerdrop", 0.0, 0),
        ENCODER_DECODER,
        PADDING_ROW,
        ignored("init_std", reason="initial weights"),
        ignored("scale_embedding", reason="read by no line of the reference"),
        ignored("apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks",
            "mask_feature_prob", "mask_feature_length", "mask_feature_min_masks",
            reason="the reference's training masks its inputs"),
        ignored("max_position_embeddings", "forced_decoder_ids",
            "median_filter_width", "alignment_heads", reason="generation"),
    ],
    weights=[
        rule("encoder.conv1.weight", "encoder_conv_1/kernel", "o i w -> w i o"),
        rule("encoder.conv1.bias", "encoder_conv_1/bias", "o -> o"),
        rule("encoder.conv2.weight", "encoder_conv_2/kernel", "o i w -> w i o"),
        rule("encoder.conv2.bias", "encoder_conv_2/bias", "o -> o"),
        embedding("encoder.embed_positions", "encoder_position_embedding"),
        under("encoder.layers.{i}", "encoder_layer_{i}",
            attention("self_attn", "attention"),
            norm("self_attn_layer_norm", "attention_norm"),
            dense("fc1", "feed_forward/up"),
            dense("fc2", "feed_forward/down"),
            norm("final_layer_norm", "feed_forward_norm"),
            i="num_encoder_layers"),
        norm("encoder.layer_norm", "encoder_norm"),
        embedding("decoder.embed_tokens", "decoder_embedding/token_embedding"),
        embedding("decoder.embed_positions", "decoder_embedding/position_embedding"),
        under("decoder.layers.{i}", "decoder_layer_{i}",
            attention("self_attn", "attention"),
            norm("self_attn_layer_norm", "attention_norm"),
            attention("encoder_attn", "cross_attention"),
            norm("encoder_attn_layer_norm", "cross_attention_norm"),
            dense("fc1", "feed_forward/up"),
            dense("fc2", "feed_forward/down"),
            norm("final_layer_norm", "feed_forward_norm"),
            i="num_decoder_layers"),
        norm("decoder.layer_norm", "decoder_norm"),
    ],
    heads={
        "speech_to_text": Head(
            ("WhisperForConditionalGeneration",),
            tied=tied("proj_out.weight", ".decoder.embed_tokens.weight"),
            untied=rule("proj_out.weight", "logits/kernel", "v d -> d v"),
        ),
        "encoder_classifier": Head(
            ("WhisperForAudioClassification",),
            weights=[
                dense("projector", "projector"),
                dense("classifier", "logits"),
                rule("layer_weights", "layer_weights", "n -> n"),
            ],
            config=[
                field("classifier_proj_size", "projection_dim", 256),
                field("use_weighted_layer_sum", "use_weighted_layer_sum", False),
            ],
        ),
    },
)
