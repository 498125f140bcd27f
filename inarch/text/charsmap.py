"""The table of replacements in a SentencePiece model, and texts with them made.

The Rust `tokenizers` library replaces a letter and its accents only where together they have at
most five bytes, and then by the shortest rule that fits. SentencePiece takes the longest one.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from inarch.errors import CheckpointError
from inarch.text.tokenizer_json_checks import check_charsmap

Change = tuple[int, int, str]
WINDOW = 64


class Charsmap:
    """A precompiled table: a double-array trie over UTF-8 bytes, then texts that end with NUL.

    The layout of the trie is that of darts-clone.

    Raises:
        CheckpointError: the table, called `name`, is damaged.
    """

    def __init__(self, data: bytes, name: str = "precompiled_charsmap"):
        check_charsmap(data, name)
        size = int.from_bytes(data[:4], "little")
        self._units = struct.unpack_from(f"<{size // 4}I", data, 4) if data else ()
        self._texts = data[4 + size :]
        last = max((unit & 0x7FFFFFFF for unit in self._units if unit >> 31), default=-1)
        if last >= len(self._texts) or (self._units and self._texts[-1:] != b"\0"):
            raise CheckpointError(f"{name} is damaged: a rule leads nowhere. Fetch the file again.")

    def _child(self, node: int, label: int) -> int:
        """Return the node that a byte leads to; 0, the root, where there is none."""
        child = self._base(node) ^ label
        known = child < len(self._units) and self._units[child] & 0x800000FF == label
        return child if known else 0

    def _ends_rule(self, node: int) -> bool:
        return bool(self._units[node] & 0x100)

    def _base(self, node: int) -> int:
        unit = self._units[node]
        return node ^ ((unit >> 10) << ((unit & 0x200) >> 6))

    def longest(self, data: bytes) -> tuple[int, str] | None:
        """Return length in bytes and replacement of the longest rule that `data` begins with."""
        if not self._units:
            return None
        node, found = 0, None
        for size, byte in enumerate(data, 1):
            node = self._child(node, byte)
            if not node:
                break
            if self._ends_rule(node):
                found = size, self._units[self._base(node)] & 0x7FFFFFFF
        if found is None:
            return None
        size, place = found
        return size, self._texts[place : self._texts.index(b"\0", place)].decode()

    @cached_property
    def starts(self) -> tuple[str, str]:
        """ASCII characters that begin a rule: one that is ASCII alone, and any other one."""
        alone, followed = [], []
        for label in range(1, 0x80) if self._units else ():
            if not (node := self._child(0, label)):
                continue
            below = [byte for byte in range(1, 0x100) if self._child(node, byte)]
            if self._ends_rule(node) or any(byte < 0x80 for byte in below):
                alone.append(chr(label))
            elif below:
                followed.append(chr(label))
        return "".join(alone), "".join(followed)


class CharacterRules:
    """Finder of the replacements that SentencePiece makes before it splits into pieces.

    Args:
        charsmap: the rules.
        kept: symbols that no rule touches.
    """

    def __init__(self, charsmap: Charsmap, kept: Iterable[str] = ()):
        self._charsmap = charsmap
        self._kept = frozenset(kept)
        alone, followed = charsmap.starts
        # Most English text has none of these, and is passed over in one search.
        places = [re.escape(symbol) for symbol in sorted(self._kept, key=len, reverse=True)]
        places.append("[^\x00-\x7f]")
        places += [f"[{re.escape(alone)}]"] if alone else []
        places += [f"[{re.escape(followed)}](?=[^\x00-\x7f])"] if followed else []
        self._places = re.compile("|".join(places))

    def changes(self, text: str) -> Iterator[Change]:
        """Yield where `text` changes, as `(start, end, replacement)` in order."""
        at = 0
        while match := self._places.search(text, at):
            at = match.start()
            if match[0] in self._kept:
                at = match.end()
                continue
            # No rule is longer than a few characters; the window keeps long texts linear.
            window = text[at : at + WINDOW].encode()
            found = self._charsmap.longest(window)
            if found is None:
                at += 1
                continue
            size, new = found
            end = at + len(window[:size].decode())
            if new != text[at:end]:
                yield at, end, new
            at = end


class Replaced:
    """A text with changes made, and where its characters stood before.

    Attributes:
        text: the changed text.
        removed: whether a change left nothing in its place.
    """

    def __init__(self, original: str, changes: Iterable[Change]):
        self.text = original
        self.removed = False
        self._places: Sequence[tuple[int, int]] | None = None
        if changes := list(changes):
            self._make(original, changes)

    def _make(self, original: str, changes: Iterable[Change]) -> None:
        parts, at = [], 0
        places: list[tuple[int, int]] = []
        for start, end, new in changes:
            self.removed |= not new
            parts += [original[at:start], new]
            places += [(i, i + 1) for i in range(at, start)]
            places += [(start, end)] * len(new)
            at = end
        parts.append(original[at:])
        places += [(i, i + 1) for i in range(at, len(original))]
        self.text = "".join(parts)
        self._places = [*places, (len(original), len(original))]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original of `text[start:end]`."""
        if self._places is None:
            return start, end
        # What was put behind the text is of its end.
        first = self._places[min(start, len(self._places) - 1)][0]
        last = self._places[min(end, len(self._places)) - 1][1] if end > start else first
        return first, last
