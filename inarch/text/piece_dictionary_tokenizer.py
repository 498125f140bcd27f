"""Marian's and M2M100's tokenizers, whose ids are those of a dictionary of pieces."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from inarch.errors import CheckpointError
from inarch.text.encoding import Encoding
from inarch.text.families import find_family, named_class
from inarch.text.files import IDS_FILE
from inarch.text.piece_dictionary import (
    DICTIONARY,
    PIECE_IDS,
    TARGET,
    TARGET_IDS,
    PieceDictionaryFamily,
    has_own_target_ids,
)
from inarch.text.rust_backend import check_ids
from inarch.text.sentence_piece_model import SPACE
from inarch.text.tokenizer import Tokenizer


class PieceDictionaryTokenizer(Tokenizer):
    """Marian's or M2M100's tokenizer, loaded by `Tokenizer.from_folder`; Marian's of the source."""

    _table: list[int]
    _unknown: int

    @classmethod
    def _is_of(cls, spec: str, config: Any) -> bool:
        return DICTIONARY in config and PIECE_IDS in config

    def _read_vocabulary(self) -> dict[str, int]:
        pieces = super()._read_vocabulary()
        ids, table = self.config.get(DICTIONARY), self.config.get(PIECE_IDS)
        if (
            not isinstance(ids, dict)
            or not isinstance(table, list)
            or not all(type(index) is int and index >= 0 for index in (*ids.values(), *table))
            or max(pieces.values()) >= len(table)
            or not ids.keys() >= {*self._special_tokens.values()}
            or "unk_token" not in self._special_tokens
        ):
            raise CheckpointError(
                f"{DICTIONARY} and {PIECE_IDS} aren't the ids of the tokenizer's pieces; load it "
                "from its files again."
            )
        self._table = table
        self._unknown = pieces[self._special_tokens["unk_token"]]
        return dict(ids)

    @property
    def _family(self) -> PieceDictionaryFamily:
        found = find_family(named_class(self.config, {}))
        if not isinstance(found, PieceDictionaryFamily):
            raise CheckpointError(
                f"tokenizer_class is {self.config.get('tokenizer_class')!r}, which has no "
                "dictionary of pieces; load the tokenizer from its files again."
            )
        return found

    def surface_id(self, text: str) -> int:
        """Return the id of text that the model doesn't know, unless it spells a special token."""
        index = self._ids.get(text)
        is_text = index is not None and index not in self.special_ids
        return index if index is not None and is_text else self._table[self._unknown]

    @cached_property
    def target(self) -> Tokenizer | None:
        """The tokenizer of translations, where they have a model of pieces of their own."""
        if TARGET not in self.files:
            return None
        family = self._family
        files = {**self.files, family.files[0]: self.files[TARGET]}
        if has_own_target_ids(self.config):
            files[IDS_FILE] = self.files[TARGET_IDS]
        own = {n: v for n, v in self.config.items() if n not in (DICTIONARY, PIECE_IDS)}
        spec, config = family.build(files, family.files, own)
        del files[TARGET]
        return type(self)._assembled(json.dumps(spec), config, files)

    @property
    def output_tokenizer(self) -> Tokenizer:
        """The tokenizer of translations, where they have a dictionary of their own."""
        return (has_own_target_ids(self.config) and self.target) or self

    def _wrap(self, raw: Any) -> Encoding:
        return PieceDictionaryEncoding(raw, self)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a row of ids (a list or a one-dimensional array)."""
        values = check_ids(ids, self._tokens, self.vocabulary_size)
        special = {*self.special_ids, self.unk_token_id}
        text, words = "", ""
        for index in values:
            if index not in special:
                words += self._tokens[index]
            elif not skip_special_tokens:
                text += f"{_as_text(words)}{self._tokens[index]}{self._family.gap}"
                words = ""
        return (text + _as_text(words)).strip()


def _as_text(pieces: str) -> str:
    """Return the text of joined pieces, without the space that the first one begins with."""
    return pieces.removeprefix(SPACE).replace(SPACE, " ")


class PieceDictionaryEncoding(Encoding):
    """An encoding whose ids and tokens are those of a dictionary, not of the model's pieces."""

    __slots__ = ("_tokenizer",)

    def __init__(self, raw: Any, tokenizer: PieceDictionaryTokenizer):
        super().__init__(raw)
        self._tokenizer = tokenizer

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        own = self._tokenizer
        return [
            own.surface_id(text) if piece == own._unknown else own._table[piece]
            for piece, text in zip(self._raw.ids, self._raw.tokens, strict=True)
        ]

    @property
    def tokens(self) -> list[str]:
        """Tokens as the dictionary writes them."""
        return [self._tokenizer._tokens[index] for index in self.ids]
