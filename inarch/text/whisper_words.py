"""Token ids in words, as Whisper's timestamps of words need them (whisper/tokenizer.py)."""

import string
from collections.abc import Callable, Container, Sequence

Words = tuple[list[str], list[list[int]]]
Decode = Callable[[Sequence[int]], str]
# The replacement character, which bytes that aren't UTF-8 are decoded to.
MARK = "\ufffd"
# Languages that are written without spaces; their words are taken to be characters.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def split_on_characters(ids: Sequence[int], decode: Decode) -> Words:
    """Return the shortest runs of ids that are whole characters.

    A mark that is in the whole text too is a whole character, or a fault in it, that no
    further id mends. Ids at the end that don't come out even are a last run, where OpenAI's
    function loses them or fails.
    """
    whole = decode(ids)
    words: list[str] = []
    groups: list[list[int]] = []
    pending: list[int] = []
    done = 0
    for index in ids:
        pending.append(index)
        text = decode(pending)
        place = done + text.find(MARK)
        if MARK not in text or whole[place : place + 1] == MARK:
            words.append(text)
            groups.append(pending)
            pending = []
            done += len(text)
    if pending:
        words.append(decode(pending))
        groups.append(pending)
    return words, groups


def split_on_spaces(ids: Sequence[int], decode: Decode, special: Container[int]) -> Words:
    """Return runs of characters that begin with a space, or are a special token or punctuation."""
    words: list[str] = []
    groups: list[list[int]] = []
    for text, group in zip(*split_on_characters(ids, decode), strict=True):
        apart = group[0] in special or text.startswith(" ") or text.strip() in string.punctuation
        if apart or not words:
            words.append(text)
            groups.append(group)
        else:
            words[-1] += text
            groups[-1] += group
    return words, groups
