"""SentencePiece as its own library has it, for a model that is trained from scratch."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from inarch.checkpoints.io.steady import retry_when_changed, unchanged
from inarch.errors import CheckpointError, CheckpointFileError, InputError
from inarch.json_fields import json_text, object_in
from inarch.text.charsmap import CharacterRules, Charsmap, Replaced
from inarch.text.discovery import check_folder
from inarch.text.encoding import Encoding
from inarch.text.files import CONFIG_FILE, read_text
from inarch.text.rust_backend import check_batch, check_text
from inarch.text.sentence_piece import REMOVED, sentence_piece_json
from inarch.text.sentence_piece_model import USER_DEFINED, SentencePieceModel, read_model
from inarch.text.special_tokens import SPECIAL_TOKEN_NAMES, token_text
from inarch.text.tokenizer import Tokenizer

PROTO_FILE = "tokenizer.model"


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model (Kudo and Richardson, 2018, arXiv:1808.06226), Unigram or BPE.

    Ids are those of the sentencepiece library. Only where two segmentations of a text have the very
    same score may it choose the other one, by how it rounds; and the noncharacters U+8FFFE and
    U+8FFFF are marks here. No special tokens are added.

    Args:
        proto: the bytes of a `.model` file, or its path.
        special_tokens: role to token, such as `{"pad_token": "<pad>"}`, each one in the model.

    Raises:
        CheckpointError: the model is damaged, truncated or of a kind that can't be read.
        InputError: a special token that isn't there.
    """

    def __init__(
        self,
        proto: bytes | str | os.PathLike,
        special_tokens: Mapping[str, str] | None = None,
    ):
        name = "the SentencePiece model"
        if not isinstance(proto, bytes):
            path = Path(proto)
            try:
                name, proto = path.name, path.read_bytes()
            except OSError as error:
                raise CheckpointFileError(f"{path} can't be read: {error}") from error
        model = read_model(proto, name)
        tokens = {piece.text for piece in model.pieces}
        config: dict[str, Any] = {"unk_token": model.pieces[model.unk_id].text}
        for role, token in (special_tokens or {}).items():
            if token not in tokens:
                raise InputError(
                    f"{name} has no {role} {token!r} among its {len(tokens)} pieces; name the "
                    "right one in special_tokens."
                )
            config[role] = token
        files = {PROTO_FILE: proto, CONFIG_FILE: json_text(config).encode()}
        super().__init__(
            json.dumps(sentence_piece_json(model, normalized=True)), config=config, files=files
        )

    @classmethod
    @retry_when_changed
    def from_folder(
        cls, folder: str | os.PathLike, files: Any = None, vocabulary_size: Any = None
    ) -> "SentencePieceTokenizer":
        """Load what `save` wrote: the model, and which of its tokens are special."""
        root = check_folder(folder)
        with unchanged(root):
            read = object_in(*read_text(root / CONFIG_FILE), CheckpointError)
            special_tokens = {
                role: token_text(read[role], role) for role in SPECIAL_TOKEN_NAMES if read.get(role)
            }
            return cls(
                root / PROTO_FILE, {r: token for r, token in special_tokens.items() if token}
            )

    @cached_property
    def model(self) -> SentencePieceModel:
        """The model that the tokenizer was made of."""
        return read_model(self.files[PROTO_FILE], PROTO_FILE)

    @cached_property
    def _charsmap(self) -> Charsmap:
        return Charsmap(self.model.precompiled_charsmap, f"the charsmap of {PROTO_FILE}")

    def _rules(self, allow_special: Collection[str] | str) -> CharacterRules:
        """Return the replacement rules, which spare user symbols and allowed special tokens."""
        kept = self._backend.control if allow_special == "all" else allow_special
        return CharacterRules(self._charsmap, {*self.model.texts(USER_DEFINED), *kept})

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        allow_special: Collection[str] | str = (),
    ) -> Encoding:
        """Encode one text, or a text and its `pair`. See `Tokenizer.encode`."""
        check_text(text, "text")
        if pair is not None:
            check_text(pair, "pair")
        entry = text if pair is None else (text, pair)
        return self.encode_batch(
            [entry],
            max_length=max_length,
            add_special_tokens=add_special_tokens,
            allow_special=allow_special,
        )[0]

    __call__ = encode

    def encode_batch(
        self,
        texts: Sequence[str | tuple[str, str]],
        *,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        allow_special: Collection[str] | str = (),
    ) -> list[Encoding]:
        """Encode many texts or `(text, pair)` tuples, in order. See `Tokenizer.encode`."""
        entries = check_batch(texts)
        rules = self._rules(allow_special)
        replaced = [_replaced(entry, rules) for entry in entries]
        encodings = super().encode_batch(
            [x[0].text if len(x) == 1 else (x[0].text, x[1].text) for x in replaced],
            max_length=max_length,
            add_special_tokens=add_special_tokens,
            allow_special=allow_special,
        )
        return [
            ReplacedEncoding(encoding, places)
            for encoding, places in zip(encodings, replaced, strict=True)
        ]


def _replaced(entry: str | tuple[str, str], rules: CharacterRules) -> list[Replaced]:
    """Return a text or a pair after the model's replacements."""
    texts = (entry,) if isinstance(entry, str) else entry
    replaced = [Replaced(text, rules.changes(text)) for text in texts]
    for text in replaced:
        if text.removed and not text.text.strip(" "):
            text.text += REMOVED
    return replaced


class ReplacedEncoding(Encoding):
    """An encoding whose offsets are those of the texts before characters were replaced."""

    __slots__ = ("_places",)

    def __init__(self, encoding: Encoding, places: Sequence[Replaced]):
        super().__init__(encoding._raw)
        self._places = places

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """`(start, end)` in characters of the text a token came from; `(0, 0)` for added ones."""
        return [
            (0, 0) if number is None else self._places[number].original(*offset)
            for number, offset in zip(self.sequence_ids, self._raw.offsets, strict=True)
        ]
