"""Pairs of two long texts, which are truncated here.

The `tokenizers` library keeps what it cuts off, in pieces, and for a pair every combination of a
piece of one text with a piece of the other, so that memory grows with the product of their lengths.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

# A pair is long where both texts have more characters than so many for each token of the limit.
# A character has at most four tokens, so it cuts the shorter one of others into few pieces.
LONG = 2


def is_long_pair(entry: str | tuple[str, str], max_length: int | None) -> bool:
    """Return whether the library would truncate both texts of a pair into many pieces."""
    return (
        max_length is not None
        and isinstance(entry, tuple)
        and min(map(len, entry)) > LONG * max_length
    )


class TruncatedPair:
    """The tokens that truncation leaves of a pair, with the attributes of the library's encodings.

    Args:
        whole: the library's encoding of the pair, not truncated.
        max_length: most tokens, those that the template adds included.
        side: where both texts are cut, "left" or "right".
    """

    def __init__(self, whole: Any, max_length: int, side: str):
        texts = whole.sequence_ids
        first, second = ([i for i, text in enumerate(texts) if text == n] for n in (0, 1))
        added = [i for i, text in enumerate(texts) if text is None]
        counts = lengths_of_pair(len(first), len(second), max_length - len(added))
        kept = (_cut(*one, side) for one in zip((first, second), counts, strict=True))
        self._places = sorted(chain(added, *kept))
        self._whole = whole

    def __getattr__(self, name: str) -> list[Any]:
        if name.startswith("_"):  # before there is a whole, in a copy that is being made
            raise AttributeError(name)
        values = getattr(self._whole, name)
        return [values[place] for place in self._places]

    def __len__(self) -> int:
        return len(self._places)


def lengths_of_pair(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each text are kept, as the library's `longest_first` has it.

    The shorter text is whole where it leaves the longer one at least as much as it takes; else each
    has half of the room, and the longer one the odd token.
    """
    if first + second <= room:
        return first, second
    short = min(first, second)
    if 2 * short > room:
        short = room // 2
    return (short, room - short) if first <= second else (room - short, short)


def _cut(places: Sequence[int], count: int, side: str) -> Sequence[int]:
    return places[:count] if side == "right" else places[len(places) - count :]
