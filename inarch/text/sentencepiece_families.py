"""What models make of a bare SentencePiece model: their ids, special tokens and normalization.

Each layout gives what transformers gives for the same folder, but for FNet's, of whose special
tokens transformers 5 adds none. SentencePiece itself would normalize some texts otherwise:
DeBERTa's layout ignores the model's table of replacements.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.errors import CheckpointError
from inarch.text import special_tokens
from inarch.text.byte_level import ROBERTA, SPACED, flag
from inarch.text.sentence_piece import (
    CONTROL,
    MODEL_TYPES,
    SPACE,
    UNIGRAM,
    USER_DEFINED,
    SentencePieceModel,
    precompiled,
    read_model,
    replace,
)
from inarch.text.tokenizer_json import special, token_text

Config = Mapping[str, Any]
Part = dict[str, Any]


def deberta(model: SentencePieceModel, config: Config) -> Part:
    """DeBERTa-v2 and v3: the model's own ids, and a mask after them."""
    names = _names(config)
    vocabulary = _pieces(model)
    unknown = [names["unk_token"], 0.0]
    normalizers: list[Part] = (
        [{"type": "Lowercase"}] if flag(config, "do_lower_case", False) else []
    )
    normalizers += [
        replace(r"\s{2,}|[\n\r\t]", " "),
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ]
    punctuation = {"type": "Punctuation", "behavior": "Isolated"}
    return {
        "unk_id": vocabulary.index(unknown) if unknown in vocabulary else model.unk_id,
        "vocab": vocabulary,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "before": [punctuation] if flag(config, "split_by_punct", False) else [],
        "scheme": "always" if flag(config, "add_prefix_space", True) else "first",
        "template": ("cls_token", "sep_token", False),
    }


def xlm_roberta(model: SentencePieceModel, config: Config) -> Part:
    """XLM-RoBERTa: fairseq's four special tokens first, the pieces after its three, a mask."""
    names = _names(config)
    first = [names[role] for role in ("bos_token", "pad_token", "eos_token", "unk_token")]
    vocabulary = [[token, 0.0] for token in first] + _pieces(model)[3:]
    return _fairseq(model, config, [*vocabulary, [names["mask_token"], 0.0]])


def camembert(model: SentencePieceModel, config: Config) -> Part:
    """CamemBERT: fairseq's special tokens, of which three aren't used; the pieces; a mask."""
    names = _names(config)
    first = ["<s>NOTUSED", names["pad_token"], "</s>NOTUSED", names["unk_token"]]
    vocabulary = [[token, 0.0] for token in first] + [["<unk>NOTUSED", -100.0]]
    return _fairseq(model, config, [*vocabulary, *_pieces(model)[1:], [names["mask_token"], 0.0]])


def _fairseq(model: SentencePieceModel, config: Config, vocabulary: list[list]) -> Part:
    table = model.precompiled_charsmap
    return {
        "unk_id": 3,
        "vocab": vocabulary,
        "normalizer": precompiled(table) if table else None,
        "before": [{"type": "WhitespaceSplit"}],
        "scheme": "always" if flag(config, "add_prefix_space", True) else "never",
        "template": ("bos_token", "eos_token", True),
    }


def albert(model: SentencePieceModel, config: Config) -> Part:
    """ALBERT and FNet: the model's own ids; quotes, accents and case made alike."""
    normalizers: list[Part] = [replace(quote, '"', "String") for quote in ("``", "''")]
    if not flag(config, "keep_accents", False):
        normalizers += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if flag(config, "do_lower_case", True):
        normalizers.append({"type": "Lowercase"})
    if model.precompiled_charsmap:
        normalizers.append(precompiled(model.precompiled_charsmap))
    return {
        "unk_id": model.unk_id,
        "vocab": _pieces(model),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "before": [{"type": "WhitespaceSplit"}],
        "scheme": "always" if flag(config, "add_prefix_space", True) else "never",
        "template": ("cls_token", "sep_token", False),
    }


@dataclass(frozen=True)
class SentencePieceFamily:
    """How a family of models uses a SentencePiece model.

    Attributes:
        title: the family.
        tokenizer_class: how tokenizer_config.json names it.
        parts: makes the vocabulary and what goes around it.
        defaults: what a tokenizer_config.json leaves out.
    """

    title: str
    tokenizer_class: str
    parts: Callable[[SentencePieceModel, Config], Part]
    defaults: Config


FNET = {
    **special_tokens.ALBERT,
    "mask_token": {"content": "[MASK]", **SPACED},
    "do_lower_case": False,
    "keep_accents": True,
}
FAMILIES = {
    layout.tokenizer_class: layout
    for layout in (
        SentencePieceFamily("DeBERTa-v2", "DebertaV2Tokenizer", deberta, special_tokens.DEBERTA),
        SentencePieceFamily(
            "XLM-RoBERTa", "XLMRobertaTokenizer", xlm_roberta, special_tokens.ROBERTA
        ),
        SentencePieceFamily("CamemBERT", "CamembertTokenizer", camembert, ROBERTA),
        SentencePieceFamily("ALBERT", "AlbertTokenizer", albert, special_tokens.ALBERT),
        SentencePieceFamily("FNet", "FNetTokenizer", albert, FNET),
    )
}


def with_defaults(config: Config, defaults: Config) -> dict[str, Any]:
    """A tokenizer_config.json with what it leaves out; a token's flags stay with its name."""
    merged = {**defaults, **config}
    mask, given = defaults.get("mask_token"), merged.get("mask_token")
    if isinstance(mask, Mapping) and isinstance(given, str):
        merged["mask_token"] = {**mask, "content": given}
    return merged


def family_json(
    model: bytes | SentencePieceModel,
    layout: SentencePieceFamily,
    config: Config,
    *,
    name: str = "the SentencePiece model",
) -> dict[str, Any]:
    """The content of the tokenizer.json that a model family makes of a SentencePiece model.

    Args:
        model: the bytes of the file, or the model read from it.
        layout: the family.
        config: the tokenizer_config.json, completed by `with_defaults`.
        name: what errors call the file.

    Raises:
        CheckpointError: the model is damaged, of another kind, or lacks a special token.
    """
    if isinstance(model, bytes):
        model = read_model(model, name)
    check_unigram(model, layout.title)
    parts = layout.parts(model, config)
    ids = {entry[0]: index for index, entry in enumerate(parts["vocab"])}
    metaspace = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": parts["scheme"],
        "split": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(model, ids, config),
        "normalizer": parts["normalizer"],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*parts["before"], metaspace]},
        "post_processor": _template(model, ids, config, *parts["template"]),
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": parts["unk_id"],
            "vocab": parts["vocab"],
            "byte_fallback": False,
        },
    }


def check_unigram(model: SentencePieceModel, title: str) -> None:
    """Raises CheckpointError where a model is of a type that a family doesn't use."""
    if model.model_type != UNIGRAM:
        raise CheckpointError(
            f"{model.name} is a {MODEL_TYPES[model.model_type]} model; that of {title} is a "
            "Unigram model. Put a tokenizer.json beside it, which is read in its place."
        )


def _pieces(model: SentencePieceModel) -> list[list]:
    return [[piece.text, piece.score] for piece in model.pieces]


def _names(config: Config) -> dict[str, str]:
    """Role to token."""
    return {
        role: token_text(value, role) or ""
        for role, value in config.items()
        if role in special_tokens.SPECIAL_TOKEN_NAMES
    }


def _added(model: SentencePieceModel, ids: Mapping[str, int], config: Config) -> list[Part]:
    """Pieces that are found in a text before all else; those with a role are added by it."""
    special = set(_names(config).values())
    return [
        {
            "id": ids[piece.text],
            "content": piece.text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece.type == CONTROL,
        }
        for piece in model.pieces
        if piece.type in (CONTROL, USER_DEFINED) and piece.text in ids and piece.text not in special
    ]


def _template(
    model: SentencePieceModel,
    ids: Mapping[str, int],
    config: Config,
    start: str,
    end: str,
    fairseq: bool,
) -> Part:
    """`start A end B end`, or fairseq's `start A end end B end`, all of one segment."""
    names = _names(config)
    first, last = names[start], names[end]
    for role, token in ((start, first), (end, last)):
        if token not in ids:
            raise CheckpointError(
                f"{model.name} has no piece {token!r}, which is the {role}. Name the right token "
                f"as {role!r} in tokenizer_config.json."
            )
    second = 0 if fairseq else 1
    single: Sequence = [special(first, 0), _sequence("A", 0), special(last, 0)]
    middle = [special(last, 0)] if fairseq else []
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *middle, _sequence("B", second), special(last, second)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (first, last)
        },
    }


def _sequence(name: str, segment: int) -> Part:
    return {"Sequence": {"id": name, "type_id": segment}}
