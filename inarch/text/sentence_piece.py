"""A SentencePiece model as a tokenizer.json, as its own library reads texts."""

import base64
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from inarch.text.json_parts import bpe_model, replace, split, tokenizer_json
from inarch.text.sentence_piece_model import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNIGRAM,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    SentencePieceModel,
    read_model,
)
from inarch.text.special_tokens import added_token

# The bonus that makes the Unigram algorithm prefer a user's symbol to all else.
USER_DEFINED_SCORE = -0.1
# Noncharacters, which no text should have. For a space that decoding must keep:
KEPT_SPACE = "\U0008fffe"
# For a text of which nothing is left, and which wasn't empty:
REMOVED = "\U0008ffff"


def sentence_piece_json(
    model: bytes | SentencePieceModel,
    *,
    name: str = "the SentencePiece model",
    normalized: bool = False,
) -> dict[str, Any]:
    """Return the model as the content of a tokenizer.json, without a template of special tokens.

    Ids are those of the sentencepiece library. Where the model replaces sequences of characters,
    such as a letter and the accents after it, the Rust library replaces fewer of them; a
    `SentencePieceTokenizer` makes up for it.

    Args:
        model: the bytes of a `.model` file, or the model read from it.
        name: what errors call the file.
        normalized: texts come with their characters already replaced (see `inarch.text.charsmap`).
    """
    if isinstance(model, bytes):
        model = read_model(model, name)
    return tokenizer_json(
        unigram(model) if model.model_type == UNIGRAM else byte_pairs(model),
        normalizer=_sequence("normalizers", _normalizers(model, normalized)),
        pre_tokenizer=_sequence("pretokenizers", list(_splits(model))),
        decoder=_sequence("decoders", list(_decoders(model))),
        added_tokens=[
            added_token({"normalized": False}, piece.text, index, is_control=True)
            for index, piece in enumerate(model.pieces)
            if piece.type == CONTROL
        ],
    )


def metaspace(prepend_scheme: str, split: bool = True) -> dict[str, Any]:
    """Return the pre-tokenizer, or decoder, that has SentencePiece's character for spaces."""
    return {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": prepend_scheme,
        "split": split,
    }


def precompiled(charsmap: bytes) -> dict[str, Any]:
    """Return the normalizer that replaces characters by the model's own table."""
    encoded = base64.b64encode(charsmap).decode("ascii")
    return {"type": "Precompiled", "precompiled_charsmap": encoded}


def _sequence(name: str, parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"type": "Sequence", name: parts} if parts else None


def _normalizers(model: SentencePieceModel, normalized: bool) -> list[dict[str, Any]]:
    """Return what replaces characters, then white space, in SentencePiece's order."""
    space, steps = model.space, []
    prefix = model.add_dummy_prefix and not model.treat_whitespace_as_suffix
    if model.precompiled_charsmap and not normalized:
        steps.append(precompiled(model.precompiled_charsmap))
    if model.remove_extra_whitespaces:
        steps += [replace(" {2,}", " "), replace(r"\A ", "")]
    if prefix:
        steps.append({"type": "Prepend", "prepend": space})
    if model.escape_whitespaces:
        steps.append(replace(" ", SPACE, "String"))
    suffix = model.add_dummy_prefix and model.treat_whitespace_as_suffix
    if suffix:
        steps.append(replace(r"(?<=[\s\S])\z", KEPT_SPACE))
    steps.append(replace(REMOVED, "", "String"))
    if model.remove_extra_whitespaces:
        steps.append(replace(rf"{space}+(?={KEPT_SPACE}?\z)" if suffix else rf"{space}+\z", ""))
    if suffix:
        steps.append(replace(rf"{KEPT_SPACE}\z", space))
    return steps


def _splits(model: SentencePieceModel) -> Iterator[dict[str, Any]]:
    """Yield cuts that no piece crosses, so that words are found and remembered one by one."""
    user = sorted(model.texts(USER_DEFINED), key=len, reverse=True)
    if user and model.model_type == BPE:
        yield split("|".join(map(re.escape, user)))
    texts, space = model.texts(NORMAL, USER_DEFINED), model.space
    if space in texts and not any(space in text[1:] for text in texts):
        yield split(space, "MergedWithNext", "String")
    elif space in texts and not any(space in text[:-1] for text in texts):
        yield split(space, "MergedWithPrevious", "String")
    if model.model_type == UNIGRAM or user:
        hidden = [text for text in model.texts(CONTROL, UNKNOWN, UNUSED, BYTE) if len(text) > 1]
        if hidden:
            cuts = hidden_cuts(hidden, texts)
            yield split("|".join(f"(?<={re.escape(a)})(?={re.escape(b)})" for a, b in cuts))


def hidden_cuts(hidden: list[str], pieces: list[str]) -> list[tuple[str, str]]:
    """Return where to cut each text that the model may not find, so that no other piece is cut.

    The Rust library looks for every entry of its vocabulary, control pieces among them.
    """
    known = set(pieces)
    # Only a piece that has the two characters around a cut can cross it.
    around: dict[str, list[tuple[str, str]]] = {
        text[at - 1 : at + 1]: [] for text in hidden for at in range(1, len(text))
    }
    for piece in pieces:
        for at in range(1, len(piece)):
            if (two := piece[at - 1 : at + 1]) in around:
                around[two].append((piece[:at], piece[at:]))

    def crossings(text: str, at: int) -> tuple[int, bool]:
        left, right = text[:at], text[at:]
        crossing = sum(
            (left.endswith(a) or a.endswith(left)) and (right.startswith(b) or b.startswith(right))
            for a, b in around[text[at - 1 : at + 1]]
        )
        return crossing, left[-1] not in known and right[0] not in known

    best = ((text, min(range(1, len(text)), key=partial(crossings, text))) for text in hidden)
    return [(text[:at], text[at:]) for text, at in best]


def _decoders(model: SentencePieceModel) -> Iterator[dict[str, Any]]:
    """Yield the steps from pieces to text."""
    # With bytes to fall back to, no text is unknown, and every character may come of them.
    kept = " " if model.byte_fallback else KEPT_SPACE
    surface = model.unk_surface.replace(" ", kept)
    yield replace(model.pieces[model.unk_id].text, surface, "String")
    if model.escape_whitespaces:
        yield replace(SPACE, " ", "String")
    if model.byte_fallback:
        yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    if model.add_dummy_prefix or model.remove_extra_whitespaces:
        yield replace(r"\A +" if model.remove_extra_whitespaces else r"\A ", "")
    yield replace(kept, " ", "String")


def unigram(model: SentencePieceModel) -> dict[str, Any]:
    """Return the Unigram model (Kudo, 2018, arXiv:1804.10959).

    The library takes the unknown token's score from the least of all; only normal pieces count.
    """
    normal = [piece.score for piece in model.pieces if piece.type == NORMAL]
    least, most = min(normal, default=0.0), max([0.0, *normal])
    vocabulary = []
    for piece in model.pieces:
        score = piece.score
        if piece.type == USER_DEFINED:
            score = len(piece.text.encode()) * most + USER_DEFINED_SCORE
        vocabulary.append([piece.text, max(score, least)])
    return {
        "type": "Unigram",
        "unk_id": model.unk_id,
        "vocab": vocabulary,
        "byte_fallback": model.byte_fallback,
    }


def byte_pairs(model: SentencePieceModel) -> dict[str, Any]:
    """Return the BPE model (Sennrich et al., 2015, arXiv:1508.07909).

    SentencePiece keeps no merges: any two pieces that make a third may merge, the highest score
    first and the leftmost of equals. The rank of a pair is that of the piece it makes.
    """
    scores = {piece.text: piece.score for piece in model.pieces if piece.type == NORMAL}
    return bpe_model(
        {piece.text: index for index, piece in enumerate(model.pieces)},
        make_merges(sorted(scores, key=lambda text: -scores[text])),
        unk_token=model.pieces[model.unk_id].text,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
        ignore_merges=bool(model.texts(USER_DEFINED)),
    )


def make_merges(pieces: Iterable[str]) -> list[list[str]]:
    """Return the pairs of pieces that make a third, in the order of those that they make."""
    known = dict.fromkeys(pieces)
    return [
        [whole[:at], whole[at:]]
        for whole in known
        for at in range(1, len(whole))
        if whole[:at] in known and whole[at:] in known
    ]
