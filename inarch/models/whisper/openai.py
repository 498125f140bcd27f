"""Whisper in OpenAI's own format (openai/whisper, whisper/model.py)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.torch_file import TorchFile, plain
from inarch.checkpoints.formats.weights import Weights
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import constant, field, ignored
from inarch.checkpoints.maps.entries import Entries
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, under
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import CheckpointFileError, ConfigError

NOT_SAVED = "next to the model in its file, such as the state of training; not saved"
GENERATION = "generation_config.json"
ENCODER, DECODER = "num_encoder_layers", "num_decoder_layers"
# Heads of all layers; large has 640. The numbers are in a file, and aren't checked at first.
MAX_HEADS = 100_000
# Constants of the code.
SETTLED = (
    constant("activation", "gelu"),
    constant("dropout", 0.0),
    constant("attention_dropout", 0.0),
    constant("activation_dropout", 0.0),
)


# A table to be checked against the reference, line by line.
# fmt: off
def _attention(theirs: str, ours: str) -> Entries:
    return [
        dense(f"{theirs}.query", f"{ours}/query"),
        dense(f"{theirs}.key", f"{ours}/key", bias=False),
        dense(f"{theirs}.value", f"{ours}/value"),
        dense(f"{theirs}.out", f"{ours}/output"),
    ]


TABLE = Source(
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
        ignored("n_text_state", reason="as wide as n_audio_state, or its tensors fit nowhere"),
        SETTLED,
    ],
    weights=[
        rule("encoder.conv1.weight", "encoder_conv_1/kernel", "o i w -> w i o"),
        rule("encoder.conv1.bias", "encoder_conv_1/bias", "o -> o"),
        rule("encoder.conv2.weight", "encoder_conv_2/kernel", "o i w -> w i o"),
        rule("encoder.conv2.bias", "encoder_conv_2/bias", "o -> o"),
        rule("encoder.positional_embedding", "encoder_position_embedding/embeddings",
            "v d -> v d"),
        under("encoder.blocks.{i}", "encoder_layer_{i}",
            _attention("attn", "attention"),
            norm("attn_ln", "attention_norm"),
            dense("mlp.0", "feed_forward/up"),
            dense("mlp.2", "feed_forward/down"),
            norm("mlp_ln", "feed_forward_norm"), i=ENCODER),
        norm("encoder.ln_post", "encoder_norm"),
        embedding("decoder.token_embedding", "decoder_embedding/token_embedding"),
        rule("decoder.positional_embedding", "decoder_embedding/position_embedding/embeddings",
            "v d -> v d"),
        under("decoder.blocks.{i}", "decoder_layer_{i}",
            _attention("attn", "attention"),
            norm("attn_ln", "attention_norm"),
            _attention("cross_attn", "cross_attention"),
            norm("cross_attn_ln", "cross_attention_norm"),
            dense("mlp.0", "feed_forward/up"),
            dense("mlp.2", "feed_forward/down"),
            norm("mlp_ln", "feed_forward_norm"), i=DECODER),
        norm("decoder.ln", "decoder_norm"),
    ],
    heads={"speech_to_text": Head(("Whisper",))},
)
# fmt: on


def _open(path: Path) -> OpenedCheckpoint:
    """Open a file such as `tiny.en.pt`, or a folder with one such file."""
    if path.is_dir():
        found = sorted(path.glob("*.pt"))
        if len(found) != 1:
            names = ", ".join(each.name for each in found)
            raise CheckpointFileError(
                f"{path} has several .pt files ({names}); give the path of one"
            )
        (path,) = found
    reader = TorchFile(path, inside="model_state_dict")
    dims = reader.outside.get("dims")
    if not isinstance(dims, Mapping):
        raise CheckpointFileError(
            f"{path} is no Whisper of OpenAI's: it should have 'dims' next to 'model_state_dict'"
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
    tokens = special_tokens(dims.get("n_vocab"))
    return OpenedCheckpoint(
        TABLE,
        config,
        weights,
        ignored_tensors={name: NOT_SAVED for name in reader.outside if name != "dims"},
        fields=tokens,
        sidecar_files=generation_config(tokens, dims.get("n_text_ctx"), {"alignment_heads": heads}),
    )


def _last_half(layers: Any, heads: Any) -> list[list[int]]:
    """Return every head of the last half of the layers; none where no model has as many."""
    if not isinstance(layers, int) or not isinstance(heads, int) or layers * heads > MAX_HEADS:
        return []
    return [list(pair) for pair in product(range(layers // 2, layers), range(heads))]


def special_tokens(vocabulary_size: Any) -> dict[str, Any]:
    """Return the ids of the special tokens, which follow from the size of the vocabulary."""
    if not isinstance(vocabulary_size, int) or vocabulary_size < 51864:
        # A vocabulary of another make. The start must be a number, so it is left unsaid.
        return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    end = 50257 if vocabulary_size > 51864 else 50256
    names = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    return dict(zip(names, (50257, end + 1, end, end), strict=True))


def generation_config(
    tokens: Mapping[str, Any], positions: Any, settings: Mapping[str, Any]
) -> dict:
    """Return a generation_config.json, where transformers looks for the ids of tokens first."""
    known = {name: token for name, token in tokens.items() if token is not None}
    return {GENERATION: {**known, "max_length": positions, **settings}}


OPENAI = AuthorFormat(
    "Whisper, by OpenAI", ("*.pt",), _open, TABLE, single=True, unmistakable=False
)
