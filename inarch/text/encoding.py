"""Encoding of one text or one pair of texts."""

from typing import Any


class Encoding:
    """The tokens of one text, read-only; every list has one entry per token.

    The values stay in Rust until they are read, so a caller who only needs `ids` doesn't pay
    for the other lists. Offsets count characters (Python's `str` indices), not bytes.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: Any):
        self._raw = raw

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return self._raw.ids

    @property
    def segment_ids(self) -> list[int]:
        """0 for the first text and its special tokens, 1 for the second (BERT's token types)."""
        return self._raw.type_ids

    @property
    def tokens(self) -> list[str]:
        """Tokens as the vocabulary writes them."""
        return self._raw.tokens

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """`(start, end)` in characters of the text a token came from; `(0, 0)` for added ones."""
        return self._raw.offsets

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for a token the template added, 0 for a token of the text."""
        return self._raw.special_tokens_mask

    @property
    def word_ids(self) -> list[int | None]:
        """Index of the word within its text; None for a token the template added."""
        return self._raw.word_ids

    @property
    def sequence_ids(self) -> list[int | None]:
        """0 for the first text, 1 for the second; None for a token the template added."""
        return self._raw.sequence_ids

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoding):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("ids", "segment_ids", "tokens", "offsets", "word_ids", "sequence_ids")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Encoding({len(self)} tokens: {self.tokens[:8]}{'...' if len(self) > 8 else ''})"
