"""Whisper in its other formats: OpenAI's own, and CTranslate2's, which faster-whisper publishes.

Originals: openai/whisper, whisper/model.py; CTranslate2, python/ctranslate2/specs/whisper_spec.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.ctranslate2_file import open_ctranslate2
from inarch.checkpoints.formats.torch_file import TorchFile, plain
from inarch.checkpoints.formats.weights import TensorInfo, Weights
from inarch.checkpoints.maps import slashed
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import constant, field, ignored, must_be
from inarch.checkpoints.maps.rule import ZEROS, Entry, dense, embedding, norm, rule, tied, under
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import CheckpointFileError, ConfigError
from inarch.json_fields import read_object

BESIDE = "beside the model in its file, such as the state of training; not saved"
MODEL = "model.bin"
SPEC, REVISIONS = "WhisperSpec", 3
GENERATION = "generation_config.json"
ENCODER, DECODER = "num_encoder_layers", "num_decoder_layers"
# Heads of all layers; large has 640. The numbers are in a file, and aren't checked at first.
MOST_HEADS = 100_000
# Constants of both codes. CTranslate2's activations: include/ctranslate2/ops/activation.h.
GELU = 3
SETTLED = (
    constant("activation", "gelu"),
    constant("dropout", 0.0),
    constant("attention_dropout", 0.0),
    constant("activation_dropout", 0.0),
)


# Tables to be read, and checked against the originals with a finger.
# fmt: off
def _attention(theirs: str, ours: str) -> list[Entry]:
    return [
        *dense(f"{theirs}.query", f"{ours}/query"),
        *dense(f"{theirs}.key", f"{ours}/key", bias=False),
        *dense(f"{theirs}.value", f"{ours}/value"),
        *dense(f"{theirs}.out", f"{ours}/output"),
    ]


OPENAI_TABLE = Source(
    model_type="whisper",
    architecture="Whisper",
    strict=True,
    prefix="",
    config=[
        field("n_vocab", "vocabulary_size"),
        field("n_audio_layer", "num_encoder_layers"),
        field("n_text_layer", "num_decoder_layers"),
        field("n_audio_head", "num_encoder_heads"),
        field("n_text_head", "num_decoder_heads"),
        field("n_audio_state", "hidden_dim"),
        field("encoder_mlp", "encoder_intermediate_dim"),
        field("decoder_mlp", "decoder_intermediate_dim"),
        field("n_mels", "num_mels"),
        field("n_audio_ctx", "max_encoder_sequence_length"),
        field("n_text_ctx", "max_decoder_sequence_length"),
        ignored("as wide as n_audio_state, or its tensors fit nowhere", "n_text_state"),
        *SETTLED,
    ],
    weights=[
        *rule("encoder.conv1.weight", "encoder_conv_1/kernel", "o i w -> w i o"),
        *rule("encoder.conv1.bias", "encoder_conv_1/bias", "o -> o"),
        *rule("encoder.conv2.weight", "encoder_conv_2/kernel", "o i w -> w i o"),
        *rule("encoder.conv2.bias", "encoder_conv_2/bias", "o -> o"),
        *rule("encoder.positional_embedding", "encoder_position_embedding/embeddings",
            "v d -> v d"),
        *under("encoder.blocks.{i}", "encoder_layer_{i}",
            _attention("attn", "attention"),
            norm("attn_ln", "attention_norm"),
            dense("mlp.0", "feed_forward/up"),
            dense("mlp.2", "feed_forward/down"),
            norm("mlp_ln", "feed_forward_norm"), count=ENCODER),
        *norm("encoder.ln_post", "encoder_norm"),
        *embedding("decoder.token_embedding", "decoder_embedding/token_embedding"),
        *rule("decoder.positional_embedding", "decoder_embedding/position_embedding/embeddings",
            "v d -> v d"),
        *under("decoder.blocks.{i}", "decoder_layer_{i}",
            _attention("attn", "attention"),
            norm("attn_ln", "attention_norm"),
            _attention("cross_attn", "cross_attention"),
            norm("cross_attn_ln", "cross_attention_norm"),
            dense("mlp.0", "feed_forward/up"),
            dense("mlp.2", "feed_forward/down"),
            norm("mlp_ln", "feed_forward_norm"), count=DECODER),
        *norm("decoder.ln", "decoder_norm"),
    ],
    heads={"speech_to_text": Head(("Whisper",))},
)


def _projection(theirs: str, ours: str) -> list[Entry]:
    return slashed.projection(f"{theirs}/weight", f"{theirs}/bias", ours)


def _self_attention(ours: str) -> list[Entry]:
    """Query, key and value are one tensor, with zeros for the bias that the key doesn't have."""
    query, key, value = (f"{ours}/{name}" for name in ("query", "key", "value"))
    return [
        *rule("self_attention/linear_0/weight",
            [f"{query}/kernel", f"{key}/kernel", f"{value}/kernel"],
            "(o + o + o) i -> i o, i o, i o"),
        *rule("self_attention/linear_0/bias", [f"{query}/bias", ZEROS, f"{value}/bias"],
            "(o + o + o) -> o, o, o"),
        *_projection("self_attention/linear_1", f"{ours}/output"),
        *slashed.norm("self_attention/layer_norm", f"{ours}_norm"),
    ]


def _cross_attention(ours: str) -> list[Entry]:
    return [
        *_projection("attention/linear_0", f"{ours}/query"),
        *rule("attention/linear_1/weight", [f"{ours}/key/kernel", f"{ours}/value/kernel"],
            "(o + o) i -> i o, i o"),
        *rule("attention/linear_1/bias", [ZEROS, f"{ours}/value/bias"], "(o + o) -> o, o"),
        *_projection("attention/linear_2", f"{ours}/output"),
        *slashed.norm("attention/layer_norm", f"{ours}_norm"),
    ]


FEED_FORWARD = [
    *_projection("ffn/linear_0", "feed_forward/up"),
    *_projection("ffn/linear_1", "feed_forward/down"),
    *slashed.norm("ffn/layer_norm", "feed_forward_norm"),
]

CTRANSLATE2_TABLE = Source(
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
        ignored("read where decoder/alibi is set",
            "decoder/alibi_use_positive_positions", "decoder/scale_alibi"),
        ignored("which attention to return, not what it is",
            "decoder/alignment_layer", "decoder/alignment_heads"),
        *SETTLED,
    ],
    weights=[
        *rule("encoder/conv1/weight", "encoder_conv_1/kernel", "o i w -> w i o"),
        *rule("encoder/conv1/bias", "encoder_conv_1/bias", "o -> o"),
        *rule("encoder/conv2/weight", "encoder_conv_2/kernel", "o i w -> w i o"),
        *rule("encoder/conv2/bias", "encoder_conv_2/bias", "o -> o"),
        *slashed.table("encoder/position_encodings/encodings", "encoder_position_embedding"),
        *slashed.under("encoder/layer_{i}", "encoder_layer_{i}",
            _self_attention("attention"), FEED_FORWARD, count=ENCODER),
        *slashed.norm("encoder/layer_norm", "encoder_norm"),
        *slashed.table("decoder/embeddings/weight", "decoder_embedding/token_embedding"),
        *slashed.table("decoder/position_encodings/encodings",
            "decoder_embedding/position_embedding"),
        *slashed.under("decoder/layer_{i}", "decoder_layer_{i}",
            _self_attention("attention"), _cross_attention("cross_attention"),
            FEED_FORWARD, count=DECODER),
        *slashed.norm("decoder/layer_norm", "decoder_norm"),
    ],
    heads={
        "speech_to_text": Head(
            ("WhisperSpec",), tied=tied("decoder/projection/weight", ".decoder/embeddings/weight")
        ),
    },
)
# fmt: on


def _open_openai(path: Path) -> OpenedCheckpoint:
    """`tiny.en.pt` and its like, or a folder with one of them."""
    if path.is_dir():
        found = sorted(path.glob("*.pt"))
        if len(found) != 1:
            names = ", ".join(each.name for each in found)
            raise CheckpointFileError(
                f"{path} has several .pt files ({names}); give the path of one"
            )
        (path,) = found
    reader = TorchFile(path, inside="model_state_dict")
    dims = reader.beside.get("dims")
    if not isinstance(dims, Mapping):
        raise CheckpointFileError(
            f"{path} is no Whisper of OpenAI's: it should have 'dims' beside 'model_state_dict'"
        )
    reader.refuse_others()
    weights = Weights([reader.shard], [reader])
    weights.format = "OpenAI's checkpoint"
    width = dims.get("n_audio_state")
    if dims.get("n_text_state", width) != width or not isinstance(width, int):
        raise ConfigError(
            f"{path} has an encoder {width!r} and a decoder {dims.get('n_text_state')!r} wide; "
            "Hugging Face's format has one width for both"
        )
    config = {**plain(dims), "encoder_mlp": 4 * width, "decoder_mlp": 4 * width}
    # Which heads follow the audio is not in the file. `whisper.load_model` takes for a path the
    # heads of the last half of the layers.
    heads = _last_half(dims.get("n_text_layer"), dims.get("n_text_head"))
    tokens = _tokens(dims.get("n_vocab"))
    return OpenedCheckpoint(
        OPENAI_TABLE,
        config,
        weights,
        ignored_tensors={name: BESIDE for name in reader.beside if name != "dims"},
        fields=tokens,
        sidecar_files=_generation(tokens, dims.get("n_text_ctx"), {"alignment_heads": heads}),
    )


def _last_half(layers: Any, heads: Any) -> list[list[int]]:
    """Every head of the last half of the layers; none where no model has as many."""
    if not isinstance(layers, int) or not isinstance(heads, int) or layers * heads > MOST_HEADS:
        return []
    return [list(pair) for pair in product(range(layers // 2, layers), range(heads))]


def _tokens(vocabulary_size: Any) -> dict[str, Any]:
    """The ids of the special tokens, which follow from the size of the vocabulary."""
    if not isinstance(vocabulary_size, int) or vocabulary_size < 51864:
        # A vocabulary of another make. The start must be a number, so it is left unsaid.
        return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    end = 50257 if vocabulary_size > 51864 else 50256
    names = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    return dict(zip(names, (50257, end + 1, end, end), strict=True))


def _generation(tokens: Mapping[str, Any], positions: Any, told: Mapping[str, Any]) -> dict:
    """What is known of a generation_config.json, where transformers looks for the ids first."""
    known = {name: token for name, token in tokens.items() if token is not None}
    return {GENERATION: {**known, "max_length": positions, **told}}


def _open_ctranslate2(folder: Path) -> OpenedCheckpoint:
    path = folder / MODEL
    weights, reader = open_ctranslate2(path, SPEC, REVISIONS)
    config = _sizes(path, weights.header) | reader.settings
    said = read_object(folder / "config.json")
    names = {
        "suppress_ids": "suppress_tokens",
        "suppress_ids_begin": "begin_suppress_tokens",
        "alignment_heads": "alignment_heads",
    }
    generation = {ours: said[name] for name, ours in names.items() if said.get(name) is not None}
    tokens = _tokens(config["vocab_size"])
    notes = []
    if reader.quantized:
        notes.append(
            f"{path} holds {len(reader.quantized)} quantized tensors, read as float32: they are "
            "as near to the original's as the quantization left them, and what is saved is not "
            "byte-equal to this file"
        )
    return OpenedCheckpoint(
        CTRANSLATE2_TABLE,
        config,
        weights,
        fields=tokens,
        sidecar_files=_generation(tokens, config["max_target_positions"], generation),
        notes=tuple(notes),
    )


def _sizes(path: Path, header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """The sizes that the shapes of the tensors show; config.json is about generation alone."""
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


OPENAI = AuthorFormat(
    "Whisper, by OpenAI", ("*.pt",), _open_openai, OPENAI_TABLE, single=True, unmistakable=False
)
CTRANSLATE2 = AuthorFormat(
    "Whisper, in CTranslate2",
    (MODEL, "config.json"),
    _open_ctranslate2,
    CTRANSLATE2_TABLE,
    unmistakable=False,
)
