"""Laws of text that comes in pieces: whole characters, no part of a stop string, nothing lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.generation.text import GeneratedText

ALPHABET = "ab!é中🙂\n "
TEXT = st.text(st.sampled_from(ALPHABET), max_size=12)
STOPS = st.lists(st.text(st.sampled_from("ab!中"), min_size=1, max_size=3), max_size=3)


def decode(tokens):
    """Return the text of bytes, two to a token, so that characters and strings are cut."""
    return b"".join(tokens).decode("utf-8", "replace")


def tokens_of(data):
    return [data[i : i + 2] for i in range(0, len(data), 2)]


def pieces(tokens, stops, step=1):
    text, found = GeneratedText(decode, stops), []
    for count in range(step, len(tokens) + 1, step):
        found.append(text.update(tokens[:count]))
    return [*found, text.update(tokens, is_last=True)]


def cut(text, stops):
    """Return the text before the stop string that is complete first, of those the longest."""
    ends = [(end, -len(stop)) for stop in stops for end in range(len(stop), len(text) + 1)
        if text[:end].endswith(stop)]  # fmt: skip
    if not ends:
        return text
    end, negative = min(ends)
    return text[: end + negative]


@settings(deadline=None)
@given(text=TEXT, stops=STOPS, step=st.integers(1, 4), lost=st.integers(0, 3))
def test_pieces_make_up_the_text_before_the_first_stop(text, stops, step, lost):
    data = text.encode()
    tokens = tokens_of(data[: len(data) - lost] if lost else data)
    found = pieces(tokens, stops, step)
    whole = "".join(found)
    assert whole == cut(decode(tokens), stops)
    assert whole == "".join(pieces(tokens, stops, len(tokens) + 1))
    # Only the last piece may have what isn't a character.
    assert not any("�" in piece for piece in found[:-1])
    # No piece has what a stop string would have taken back.
    for i in range(len(found)):
        assert whole.startswith("".join(found[:i]))


def test_what_may_become_a_stop_string_waits_and_comes_when_it_does_not():
    tokens = tokens_of(b"abab!!")
    assert pieces(tokens, ["ab!?"]) == ["", "ab", "ab!!", ""]
    assert pieces(tokens, ["b!"]) == ["a", "ba", "", ""]


@pytest.mark.parametrize("stops", [[], ["ab"]])
def test_nothing_comes_of_nothing(stops):
    assert pieces([], stops) == [""]
