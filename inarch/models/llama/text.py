"""Tokenizers of Llama and Mistral (a SentencePiece model's byte pairs) and of Qwen2 and Qwen3.

Sources: transformers, models/llama/tokenization_llama.py, models/qwen2/tokenization_qwen2.py.
Llama 3, SmolLM3 and most others of today come with a tokenizer.json of no class of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.text.byte_level import ByteLevelFamily, make_template, read_flag
from inarch.text.json_parts import Part, bpe_model, replace, split, tokenizer_json
from inarch.text.piece_pairs import PiecePairFamily
from inarch.text.sentence_piece import make_merges, metaspace
from inarch.text.sentence_piece_model import (
    CONTROL,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    read_model,
)
from inarch.text.sentencepiece_families import check_pairs
from inarch.text.special_tokens import added_token

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class LlamaFamily(PiecePairFamily):
    """Byte pairs of a SentencePiece model, or of a tokenizer.json, whose steps the class sets.

    A character without a piece becomes the pieces of its bytes; one for which the vocabulary has no
    such pieces either is dropped, as transformers has it.
    """

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model, config = read_model(files[names[0]], names[0]), self.with_defaults(config)
        check_pairs(model, self.tokenizer_class)
        ids = {piece.text: index for index, piece in enumerate(model.pieces)}
        # Ranks go by the ids, whatever the scores are, and a user's symbols are merged too.
        merged = [piece.text for piece in model.pieces if piece.type not in (CONTROL, UNKNOWN)]
        spec = tokenizer_json(
            bpe_model(ids, make_merges(merged), **self.model_fields(config)),
            post_processor=make_template(config, ids),
            added_tokens=[
                added_token({"normalized": False}, piece.text, ids[piece.text], type_ == CONTROL)
                for piece in model.pieces
                if (type_ := piece.type) in (CONTROL, USER_DEFINED)
            ],
            **self.make_steps(config),
        )
        return spec, config

    def make_steps(self, config: Mapping[str, Any]) -> dict[str, Part | None]:
        has_prefix = read_flag(config, "add_prefix_space", True)
        scheme = "always" if read_flag(config, "legacy", False) else "first"
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        decoders = [replace(SPACE, " ", "String"), {"type": "ByteFallback"}, {"type": "Fuse"}]
        return {
            "normalizer": None,
            "pre_tokenizer": metaspace(scheme if has_prefix else "never", split=False),
            "decoder": {"type": "Sequence", "decoders": decoders + [strip] * has_prefix},
        }


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


LLAMA = LlamaFamily(
    tokenizer_class="LlamaTokenizer",
    model_types=("mistral",),
    kept_types=("mistral",),
    files=("tokenizer.model",),
    special_tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    template="none",
    ends=("bos_token", "eos_token"),
)
QWEN2 = Qwen2Family(
    tokenizer_class="Qwen2Tokenizer",
    model_types=("qwen2", "qwen3"),
    special_tokens=dict.fromkeys(("eos_token", "pad_token", "unk_token"), QWEN2_END),
    template="none",
)
TOKENIZERS = (LLAMA, QWEN2)
