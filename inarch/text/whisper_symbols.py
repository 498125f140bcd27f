"""Symbols that aren't spoken, which Whisper shouldn't write (whisper/tokenizer.py)."""

from collections.abc import Callable

SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))"),
    *("[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
# Suppressed by their first token where they take several: it is shared with other symbols alone.
NOTES = tuple("♩♪♫♬♭♮♯")
# Spoken within a word, and not at its beginning.
WITHIN_WORDS = (" -", " '")


def non_speech(encode: Callable[[str], list[int]]) -> tuple[int, ...]:
    """Return the ids of symbols that aren't spoken, in order."""
    found = {encode(text)[0] for text in WITHIN_WORDS}
    for symbol in (*SYMBOLS, *NOTES):
        for text in (symbol, f" {symbol}"):
            ids = encode(text)
            if len(ids) == 1 or symbol in NOTES:
                found.add(ids[0])
    return tuple(sorted(found))
