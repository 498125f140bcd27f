"""Tokenizers of Llama and Mistral (a SentencePiece model's byte pairs) and of Qwen2 and Qwen3.

Sources: transformers, models/llama/tokenization_llama.py, models/qwen2/tokenization_qwen2.py.
Llama 3, SmolLM3 and most others of today come with a tokenizer.json of no class of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

from inarch.errors import ConfigError
from inarch.text.byte_level import ByteLevelFamily, flag
from inarch.text.family import TokenizerFamily
from inarch.text.json_parts import (
    Part,
    bpe_model,
    replace,
    sequence,
    special,
    split,
    template_processing,
    tokenizer_json,
)
from inarch.text.sentence_piece import make_merges
from inarch.text.sentence_piece_model import (
    BPE,
    CONTROL,
    MODEL_TYPES,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    read_model,
)
from inarch.text.special_tokens import added_token, token_text
from inarch.text.tokenizer_json_checks import PARTS

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_END = "<|endoftext|>"


# Of the reference's model: characters without a piece or bytes are dropped, for want of a token.
MODEL: dict[str, Any] = {
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": True,
    "byte_fallback": True,
    "ignore_merges": False,
}


@dataclass(frozen=True, kw_only=True)
class LlamaFamily(TokenizerFamily):
    """Byte pairs of a SentencePiece model, or of a tokenizer.json, whose steps the class sets.

    A character without a piece becomes the pieces of its bytes; one for which the vocabulary has no
    such pieces either is dropped, as transformers has it.
    """

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
        # Ranks go by the ids, whatever the scores are, and a user's symbols are merged too.
        merged = [piece.text for piece in model.pieces if piece.type not in (CONTROL, UNKNOWN)]
        spec = tokenizer_json(
            bpe_model(ids, make_merges(merged), **MODEL),
            post_processor=_make_template(config, ids),
            added_tokens=[
                added_token({"normalized": False}, piece.text, ids[piece.text], type_ == CONTROL)
                for piece in model.pieces
                if (type_ := piece.type) in (CONTROL, USER_DEFINED)
            ],
            **_make_steps(config),
        )
        return spec, config

    def rebuild(
        self, spec: Mapping[str, Any], config: Mapping[str, Any], model_type: object
    ) -> Mapping[str, Any]:
        """Return a tokenizer.json of byte pairs with the steps of the class, whatever it had.

        One of bytes, as Llama 3 has it, and a Mistral's stay as they are, as in transformers.
        """
        model, parts = spec["model"], [spec.get(name) for name in PARTS]
        has_pairs = model.get("type") == "BPE" and isinstance(model.get("vocab"), Mapping)
        if model_type == "mistral" or not has_pairs or '"ByteLevel"' in dumps(parts):
            return spec
        config = self.with_defaults(config)
        added, declared = spec.get("added_tokens") or [], config.get("added_tokens_decoder")
        if isinstance(declared, Mapping):  # which is read in place of the file's, and added later
            kept = {token_text(token) for token in declared.values()}
            added = [token for token in added if token["content"] in kept]
        spec = {**spec, "model": {**model, **MODEL}, "added_tokens": added, **_make_steps(config)}
        is_set = not config.keys().isdisjoint(("add_bos_token", "add_eos_token"))
        if is_set or not spec.get("post_processor"):
            ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
            spec["post_processor"] = _make_template(config, ids)
        return spec


def _make_steps(config: Mapping[str, Any]) -> dict[str, Part | None]:
    """Return the parts of a tokenizer.json around its model, but for the post-processor."""
    has_prefix = _read_flag(config, "add_prefix_space", True)
    scheme = "always" if _read_flag(config, "legacy", False) else "first"
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    decoders = [replace(SPACE, " ", "String"), {"type": "ByteFallback"}, {"type": "Fuse"}]
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": scheme if has_prefix else "never",
            "split": False,
        },
        "decoder": {"type": "Sequence", "decoders": decoders + [strip] * has_prefix},
    }


def _read_flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    return default if config.get(name) is None else flag(config, name, default)


def _make_template(config: Mapping[str, Any], ids: Mapping[str, int]) -> Part | None:
    """Return the post-processor of the tokens that each text, of a pair too, is put between."""
    first, last = (
        token_text(config.get(f"{end}_token"), f"{end}_token")
        if _read_flag(config, f"add_{end}_token", False)
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
