"""Tokenizers of Llama and Mistral (a SentencePiece model's byte pairs) and of Qwen2 and Qwen3.

Sources: transformers, models/llama/tokenization_llama.py, models/qwen2/tokenization_qwen2.py.
Llama 3, SmolLM3 and most others of today come with a tokenizer.json of no class of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.errors import ConfigError
from inarch.text.byte_level import ByteLevelFamily, flag
from inarch.text.family import TokenizerFamily
from inarch.text.json_parts import (
    Part,
    replace,
    sequence,
    special,
    split,
    template_processing,
    tokenizer_json,
)
from inarch.text.sentence_piece import byte_pairs
from inarch.text.sentence_piece_model import BPE, CONTROL, MODEL_TYPES, SPACE, read_model
from inarch.text.special_tokens import added_token, token_text

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class LlamaFamily(TokenizerFamily):
    """Byte pairs of a SentencePiece model that falls back to bytes and replaces nothing."""

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model, config = read_model(files[names[0]], names[0]), self.with_defaults(config)
        if model.model_type != BPE:
            raise ConfigError(
                f"{names[0]} is a {MODEL_TYPES[model.model_type]} model; that of "
                f"{self.tokenizer_class} is a BPE model. Put a tokenizer.json next to it."
            )
        ids = {piece.text: index for index, piece in enumerate(model.pieces)}
        has_prefix = flag(config, "add_prefix_space", True)
        scheme = "always" if flag(config, "legacy", False) else "first"
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        decoders = [replace(SPACE, " ", "String"), {"type": "ByteFallback"}, {"type": "Fuse"}]
        spec = tokenizer_json(
            byte_pairs(model),
            normalizer=None,
            pre_tokenizer={
                "type": "Metaspace",
                "replacement": SPACE,
                "prepend_scheme": scheme if has_prefix else "never",
                "split": False,
            },
            post_processor=_ends(config, ids),
            decoder={"type": "Sequence", "decoders": decoders + [strip] * has_prefix},
            added_tokens=[
                added_token({"normalized": False}, piece.text, ids[piece.text], is_control=True)
                for piece in model.pieces
                if piece.type == CONTROL
            ],
        )
        return spec, config


def _ends(config: Mapping[str, Any], ids: Mapping[str, int]) -> Part | None:
    """Return the post-processor of the tokens that each text, of a pair too, is put between."""
    first, last = (
        token_text(config.get(f"{end}_token"), f"{end}_token")
        if flag(config, f"add_{end}_token", False)
        else None
        for end in ("bos", "eos")
    )
    for token in (first, last):
        if token is not None and token not in ids:
            raise ConfigError(f"the vocabulary has no {token!r}, which is put around each text.")
    if first is None and last is None:
        return None
    parts = [
        [*special(first, segment), sequence(name, segment), *special(last, segment)]
        for segment, name in enumerate("AB")
    ]
    return template_processing(parts[0], parts[0] + parts[1], ids)


@dataclass(frozen=True, kw_only=True)
class Qwen2Family(ByteLevelFamily):
    """Byte-level byte pairs of words that are found by a pattern of its own."""

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        spec, config = super().build(files, names, config)
        words = spec["pre_tokenizer"] | {"use_regex": False}
        splits = {"type": "Sequence", "pretokenizers": [split(QWEN2_WORDS), words]}
        return spec | {"normalizer": {"type": "NFC"}, "pre_tokenizer": splits}, config


TOKENIZERS = (
    LlamaFamily(
        tokenizer_class="LlamaTokenizer",
        files=("tokenizer.model",),
        special_tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        template="none",
        ends=("bos_token", "eos_token"),
    ),
    Qwen2Family(
        tokenizer_class="Qwen2Tokenizer",
        model_types=("qwen2", "qwen3"),
        special_tokens=dict.fromkeys(("eos_token", "pad_token", "unk_token"), QWEN2_END),
        template="none",
    ),
)
