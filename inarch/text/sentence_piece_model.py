"""A SentencePiece model (Kudo and Richardson, 2018, arXiv:1808.06226), read without its library.

The file is a protocol buffers message; `read_model` takes what matters from it.
"""

from dataclasses import dataclass, field
from typing import Any

import inarch.protobuf as protobuf
from inarch.errors import CheckpointError
from inarch.text.tokenizer_json_checks import check_charsmap

KIND = "SentencePiece model"
SPACE = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
# Characters of a piece; SentencePiece makes none of more than 16 by default.
LONGEST = 1_000
MODEL_TYPES = {UNIGRAM: "Unigram", BPE: "BPE", 3: "word", 4: "character"}


@dataclass(frozen=True)
class SentencePiece:
    """A token of the vocabulary, its log-probability (or minus its rank) and its type."""

    text: str
    score: float
    type: int = NORMAL


@dataclass(frozen=True)
class SentencePieceModel:
    """Content of a SentencePiece model; field names and defaults are those of its format."""

    name: str
    pieces: tuple[SentencePiece, ...]
    model_type: int = UNIGRAM
    treat_whitespace_as_suffix: bool = False
    byte_fallback: bool = False
    unk_surface: str = " \u2047 "
    precompiled_charsmap: bytes = field(default=b"", repr=False)
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True

    @property
    def unk_id(self) -> int:
        """Id of the piece for unknown text."""
        return next(i for i, piece in enumerate(self.pieces) if piece.type == UNKNOWN)

    @property
    def space(self) -> str:
        """Character that represents a space within pieces."""
        return SPACE if self.escape_whitespaces else " "

    def texts(self, *types: int) -> list[str]:
        """Return the pieces of these types."""
        return [piece.text for piece in self.pieces if piece.type in types]


def read_model(data: bytes, name: str = "the SentencePiece model") -> SentencePieceModel:
    """Read a `.model` file.

    Raises:
        CheckpointError: the file, called `name`, is damaged, truncated or of another kind.
    """
    pieces: list[SentencePiece] = []
    trainer: dict[int, protobuf.Value] = {}
    normalizer: dict[int, protobuf.Value] = {}
    parts = {2: trainer, 3: normalizer}
    seen = set()
    for number, value in protobuf.fields(data, name, KIND):
        seen.add(number)
        if number == 1:
            place = f"piece {len(pieces)} of {name}"
            pieces.append(_piece(protobuf.bytes_of(value, place), place))
        elif number in parts:
            message = protobuf.bytes_of(value, f"a part of {name}")
            parts[number].update(protobuf.fields(message, name, KIND))
    if not pieces:
        raise CheckpointError(f"{name} has no pieces, so it isn't a SentencePiece model.")
    if not seen.issuperset(parts):
        raise CheckpointError(
            f"{name} is truncated: after {len(pieces)} pieces the "
            f"{'normalizer' if 2 in seen else 'trainer'}'s settings are missing. Fetch it again."
        )
    model = SentencePieceModel(
        name=name,
        pieces=tuple(pieces),
        **_settings(trainer, TRAINER_FIELDS, name),
        **_settings(normalizer, NORMALIZER_FIELDS, name),
    )
    _check(model)
    return model


# Number of a field in its message, and its name here.
TRAINER_FIELDS = {
    3: "model_type",
    24: "treat_whitespace_as_suffix",
    35: "byte_fallback",
    44: "unk_surface",
}
NORMALIZER_FIELDS = {
    2: "precompiled_charsmap",
    3: "add_dummy_prefix",
    4: "remove_extra_whitespaces",
    5: "escape_whitespaces",
}


def _settings(
    message: dict[int, protobuf.Value], names: dict[int, str], file: str
) -> dict[str, Any]:
    """Return the fields present in a message, by name."""
    found: dict[str, Any] = {}
    for number, name in names.items():
        if number not in message:
            continue
        value, what = message[number], f"{name} of {file}"
        if name == "precompiled_charsmap":
            found[name] = protobuf.bytes_of(value, what)
            check_charsmap(found[name], what)
        elif name == "unk_surface":
            found[name] = protobuf.text_of(value, what)
        elif name == "model_type":
            found[name] = protobuf.number_of(value, what)
        else:
            found[name] = bool(protobuf.number_of(value, what))
    return found


def _piece(data: bytes, place: str) -> SentencePiece:
    message = dict(protobuf.fields(data, place, KIND))
    return SentencePiece(
        protobuf.text_of(message.get(1, b""), f"the text of {place}"),
        protobuf.float_of(message.get(2, 0), f"the score of {place}"),
        protobuf.number_of(message.get(3, NORMAL), f"the type of {place}"),
    )


def _check(model: SentencePieceModel) -> None:
    """Check the conditions that SentencePiece itself has for a model."""
    first: dict[str, int] = {}
    for index, piece in enumerate(model.pieces):
        place = f"piece {index} of {model.name}"
        if not piece.text:
            raise CheckpointError(f"{place} is empty; the file may be damaged: fetch it again.")
        if len(piece.text) > LONGEST:
            raise CheckpointError(
                f"{place} has {len(piece.text):,} characters, of at most {LONGEST:,}; the file may "
                "be damaged: fetch it again."
            )
        if piece.text in first:
            raise CheckpointError(
                f"{place} repeats {piece.text!r} of piece {first[piece.text]}, so two ids would "
                "mean one token; the file may be damaged: fetch it again."
            )
        first[piece.text] = index
        if piece.type not in range(NORMAL, BYTE + 1):
            raise CheckpointError(f"{place} is of the unknown type {piece.type}.")
    unknown = model.texts(UNKNOWN)
    if len(unknown) != 1:
        raise CheckpointError(
            f"{model.name} has {len(unknown)} pieces for unknown text; it should have one."
        )
    if model.model_type not in (UNIGRAM, BPE):
        kind = MODEL_TYPES.get(model.model_type, model.model_type)
        raise CheckpointError(
            f"{model.name} is a model of type {kind}; only Unigram and BPE models can be read."
        )
    if model.model_type == BPE and model.texts(UNUSED):
        raise CheckpointError(
            f"{model.name} is a BPE model with unused pieces, such as {model.texts(UNUSED)[0]!r}, "
            "which the tokenizers library can't leave out. Save it without a restricted vocabulary."
        )
    missing = {f"<0x{byte:02X}>" for byte in range(256)} - set(model.texts(BYTE))
    if model.byte_fallback and missing:
        raise CheckpointError(
            f"{model.name} falls back to bytes and has no piece {min(missing)!r}; the file may be "
            "damaged: fetch it again."
        )
