"""PhoBERT's and BERTweet's tokenizers, whose ids are those of fairseq's dictionary."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inarch.errors import CheckpointError
from inarch.text.encoding import Encoding
from inarch.text.fast_bpe import DICTIONARY, PIECE_IDS, WITHIN
from inarch.text.rust_backend import check_ids
from inarch.text.tokenizer import Tokenizer


class FastBpeTokenizer(Tokenizer):
    """PhoBERT's or BERTweet's tokenizer (Nguyen and Nguyen, 2020, arXiv:2003.00744).

    Loaded by `Tokenizer.from_folder` from `vocab.txt` and `bpe.codes`.
    """

    @classmethod
    def _is_of(cls, spec: str, config: Mapping[str, Any]) -> bool:
        return PIECE_IDS in config and DICTIONARY in config

    def _read_vocabulary(self) -> dict[str, int]:
        pieces = super()._read_vocabulary()
        ids, table = self.config.get(DICTIONARY), self.config.get(PIECE_IDS)
        if (
            not isinstance(ids, dict)
            or not isinstance(table, list)
            or not all(type(index) is int and index >= 0 for index in (*ids.values(), *table))
            or max(pieces.values()) >= len(table)
            or not self._special_tokens.items()
            or not ids.keys() >= {*self._special_tokens.values(), *self._backend.control}
        ):
            raise CheckpointError(
                f"{DICTIONARY} and {PIECE_IDS} aren't the ids of the tokenizer's pieces; load it "
                "from its files again."
            )
        self._table = table
        return dict(ids)

    def _wrap(self, raw: Any) -> Encoding:
        return DictionaryEncoding(raw, self._table, self._tokens)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a row of ids (a list or a one-dimensional array)."""
        values = check_ids(ids, self._tokens, self.vocabulary_size)
        kept = [i for i in values if not (skip_special_tokens and i in self.special_ids)]
        return " ".join(self._tokens[i] for i in kept).replace(f"{WITHIN} ", "").strip()


class DictionaryEncoding(Encoding):
    """An encoding whose ids and tokens are those of a dictionary, not of the merges."""

    __slots__ = ("_table", "_words")

    def __init__(self, raw: Any, table: Sequence[int], words: Mapping[int, str]):
        super().__init__(raw)
        self._table = table
        self._words = words

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return [self._table[piece] for piece in self._raw.ids]

    @property
    def tokens(self) -> list[str]:
        """Tokens as the dictionary writes them."""
        return [self._words[index] for index in self.ids]
