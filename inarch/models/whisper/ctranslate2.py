"""Whisper in CTranslate2's format, as faster-whisper publishes it.

Original: CTranslate2, python/ctranslate2/specs/whisper_spec.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from inarch.checkpoints.formats.ctranslate2_file import open_ctranslate2
from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import field, ignored, must_be
from inarch.checkpoints.maps.entries import ZEROS, Entries
from inarch.checkpoints.maps.rule import TENSORFLOW, rule, tied
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import CheckpointFileError
from inarch.json_fields import read_object
from inarch.models.whisper.openai import (
    DECODER,
    ENCODER,
    SETTLED,
    generation_config,
    special_tokens,
)

MODEL = "model.bin"
SPEC, REVISIONS = "WhisperSpec", 3
# Of its activations: include/ctranslate2/ops/activation.h.
GELU = 3
NAMES = replace(TENSORFLOW, kernel="weight", kernel_axes="o i -> i o")


# A table to be checked against the reference, line by line.
# fmt: off
def _self_attention(ours: str) -> Entries:
    """Return the entries of attention whose query, key and value are one tensor."""
    query, key, value = (f"{ours}/{name}" for name in ("query", "key", "value"))
    return [
        rule("self_attention/linear_0/weight",
            [f"{query}/kernel", f"{key}/kernel", f"{value}/kernel"],
            "(o + o + o) i -> i o, i o, i o"),
        rule("self_attention/linear_0/bias", [f"{query}/bias", ZEROS, f"{value}/bias"],
            "(o + o + o) -> o, o, o"),
        NAMES.dense("self_attention/linear_1", f"{ours}/output"),
        NAMES.norm("self_attention/layer_norm", f"{ours}_norm"),
    ]


def _cross_attention(ours: str) -> Entries:
    return [
        NAMES.dense("attention/linear_0", f"{ours}/query"),
        rule("attention/linear_1/weight", [f"{ours}/key/kernel", f"{ours}/value/kernel"],
            "(o + o) i -> i o, i o"),
        rule("attention/linear_1/bias", [ZEROS, f"{ours}/value/bias"], "(o + o) -> o, o"),
        NAMES.dense("attention/linear_2", f"{ours}/output"),
        NAMES.norm("attention/layer_norm", f"{ours}_norm"),
    ]


FEED_FORWARD = [
    NAMES.dense("ffn/linear_0", "feed_forward/up"),
    NAMES.dense("ffn/linear_1", "feed_forward/down"),
    NAMES.norm("ffn/layer_norm", "feed_forward_norm"),
]

TABLE = Source(
    model_type="whisper",
    architecture="WhisperSpec",
    strict=True,
    prefix="",
    config=[
        field("vocab_size", "vocabulary_size"),
        field("encoder_layers", "num_encoder_layers"),
        field("decoder_layers", "num_decoder_layers"),
        field("encoder/num_heads", "num_encoder_heads"),
        field("decoder/num_heads", "num_decoder_heads"),
        field("d_model", "hidden_dim"),
        field("encoder_ffn_dim", "encoder_intermediate_dim"),
        field("decoder_ffn_dim", "decoder_intermediate_dim"),
        field("num_mel_bins", "num_mels"),
        field("max_source_positions", "max_encoder_sequence_length"),
        field("max_target_positions", "max_decoder_sequence_length"),
        must_be("decoder/activation", GELU),
        must_be("decoder/pre_norm", 1),
        must_be("decoder/scale_embeddings", 0),
        must_be("decoder/alibi", 0),
        must_be("decoder/start_from_zero_embedding", 0),
        ignored("decoder/alibi_use_positive_positions", "decoder/scale_alibi",
            reason="read where decoder/alibi is set"),
        ignored("decoder/alignment_layer", "decoder/alignment_heads",
            reason="which attention to return, not what it is"),
        SETTLED,
    ],
    weights=[
        rule("encoder/conv1/weight", "encoder_conv_1/kernel", "o i w -> w i o"),
        rule("encoder/conv1/bias", "encoder_conv_1/bias", "o -> o"),
        rule("encoder/conv2/weight", "encoder_conv_2/kernel", "o i w -> w i o"),
        rule("encoder/conv2/bias", "encoder_conv_2/bias", "o -> o"),
        NAMES.embedding("encoder/position_encodings/encodings", "encoder_position_embedding"),
        NAMES.under("encoder/layer_{i}", "encoder_layer_{i}",
            _self_attention("attention"), FEED_FORWARD, i=ENCODER),
        NAMES.norm("encoder/layer_norm", "encoder_norm"),
        NAMES.embedding("decoder/embeddings/weight", "decoder_embedding/token_embedding"),
        NAMES.embedding("decoder/position_encodings/encodings",
            "decoder_embedding/position_embedding"),
        NAMES.under("decoder/layer_{i}", "decoder_layer_{i}",
            _self_attention("attention"), _cross_attention("cross_attention"),
            FEED_FORWARD, i=DECODER),
        NAMES.norm("decoder/layer_norm", "decoder_norm"),
    ],
    heads={
        "speech_to_text": Head(
            ("WhisperSpec",), tied=tied("decoder/projection/weight", ".decoder/embeddings/weight")
        ),
    },
)
# fmt: on


def _open(folder: Path) -> OpenedCheckpoint:
    path = folder / MODEL
    weights, reader = open_ctranslate2(path, SPEC, REVISIONS)
    config = _sizes(path, weights.header) | reader.settings
    settings = read_object(folder / "config.json")
    names = {
        "suppress_ids": "suppress_tokens",
        "suppress_ids_begin": "begin_suppress_tokens",
        "alignment_heads": "alignment_heads",
    }
    generation = {
        ours: settings[name] for name, ours in names.items() if settings.get(name) is not None
    }
    tokens = special_tokens(config["vocab_size"])
    notes = []
    if reader.quantized:
        notes.append(
            f"{path} holds {len(reader.quantized)} quantized tensors, read as float32: they are "
            "as near to the published ones as the quantization left them, and what is saved is not "
            "byte-equal to this file"
        )
    return OpenedCheckpoint(
        TABLE,
        config,
        weights,
        fields=tokens,
        sidecar_files=generation_config(tokens, config["max_target_positions"], generation),
        notes=tuple(notes),
    )


def _sizes(path: Path, header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Return the sizes that the tensors show; config.json is about generation alone."""
    places = {
        "vocab_size": ("decoder/embeddings/weight", 0),
        "d_model": ("decoder/embeddings/weight", 1),
        "num_mel_bins": ("encoder/conv1/weight", 1),
        "max_source_positions": ("encoder/position_encodings/encodings", 0),
        "max_target_positions": ("decoder/position_encodings/encodings", 0),
        "encoder_ffn_dim": ("encoder/layer_0/ffn/linear_0/weight", 0),
        "decoder_ffn_dim": ("decoder/layer_0/ffn/linear_0/weight", 0),
    }
    sizes = {}
    for size, (name, axis) in places.items():
        if name not in header or len(header[name].shape) < 2:
            raise CheckpointFileError(f"{path} has no table {name!r}, so it is no whole Whisper")
        sizes[size] = header[name].shape[axis]
    for half in ("encoder", "decoder"):
        layers = {n.split("/")[1] for n in header if n.startswith(f"{half}/layer_")}
        sizes[f"{half}_layers"] = len(layers - {"layer_norm"})
    return sizes


CTRANSLATE2 = AuthorFormat(
    "Whisper, in CTranslate2",
    (MODEL, "config.json"),
    _open,
    TABLE,
    unmistakable=False,
)
