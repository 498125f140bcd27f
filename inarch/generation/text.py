"""Text of a row of tokens, as far as no later token can change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Bytes that aren't a whole character yet are decoded as this.
REPLACEMENT = "�"


class GeneratedText:
    """The text of tokens that come one by one, up to a stop string.

    A piece never ends within a character, nor within what may become a stop string. Of several
    stop strings the one counts that is complete first, of these the longest.

    Args:
        decode: from token ids to text; of more tokens it gives a text that goes on from that of
            the first ones, but for characters that weren't whole.
        stop_strings: texts before which the text ends.

    Attributes:
        stopped: whether a stop string has come, after which nothing is added.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop_strings: Sequence[str] = ()):
        self._decode = decode
        self._stop_strings = sorted(stop_strings, key=len, reverse=True)
        self._length = 0
        self.stopped = False

    def update(self, token_ids: Sequence[int], is_last: bool = False) -> str:
        """Return the piece of text that is new, which may be empty.

        Args:
            token_ids: all tokens so far.
            is_last: whether no more tokens will come, so that nothing is held back.
        """
        if self.stopped:
            return ""
        text = self._decode(token_ids)
        if not is_last:
            text = text.rstrip(REPLACEMENT)
        found = [(text.find(stop) + len(stop), stop) for stop in self._stop_strings if stop in text]
        if found:
            self.stopped = True
            end, stop = min(found, key=lambda pair: pair[0])
            text = text[: end - len(stop)]
        elif not is_last:
            text = text[: len(text) - self._held_back(text)]
        piece = text[self._length :]
        self._length = max(self._length, len(text))
        return piece

    def _held_back(self, text: str) -> int:
        """Return the number of characters at the end that may be the beginning of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stop_strings), default=0)
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stop_strings):
                return size
        return 0
