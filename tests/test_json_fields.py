"""JSON of files is bounded when it is parsed, and a field is of its kind or an error names it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch import json_fields
from inarch.errors import CheckpointFileError, ConfigError, InputError
from inarch.json_fields import COUNT, FLAG, INDEX, NUMBER, TEXT, TEXT_OBJECT, TEXTS, read_field
from inarch.validation import shown

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**39), 10**39) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_what_json_writes_is_read(value):
    text = json.dumps({"field": value})
    assert json.dumps(json_fields.object_in(text, "x.json")) == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "nested too deep|nested deeper"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper"),
        (b'{"a": ' + b"7" * 401 + b"}", "401 digits"),
        (b'{"a": ' + b"7" * 2_000_000 + b"}", "2,000,000 digits"),
        (b"[]", "list, not an object"),
        (b'{"a": 1', "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
    ],
)
def test_json_that_no_checkpoint_has_is_refused_at_once(data, why):
    begin = time.process_time()
    with pytest.raises(CheckpointFileError, match=f"^x.json .*({why})"):
        json_fields.object_in(data, "x.json")
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (FLAG, [True, False], [0, 1, "true", []]),
        (TEXT, ["", "é"], ["\ud800", 5, ["x"]]),
        (INDEX, [0, 7], [-1, True, 1.0, "7"]),
        (COUNT, [1, 7], [0, True, 1.0]),
        (NUMBER, [0, -1.5], [float("nan"), float("inf"), True, "1"]),
        (TEXTS, [[], ["x"]], ["x", [1], ["\udfff"], {"x": "y"}]),
        (TEXT_OBJECT, [{}, {"a": "b"}], [{"a": 1}, {"\ud800": "b"}, ["a"]]),
    ],
)
def test_a_field_is_of_its_kind_or_is_named(kind, good, bad):
    for value in good:
        assert read_field({"f": value}, "f", kind, where="x.json") == value
    for value in bad:
        with pytest.raises(ConfigError, match=r"^x.json: 'f' is .*; it must be") as raised:
            read_field({"f": value}, "f", kind, where="x.json")
        assert str(raised.value).endswith(kind.words)


def test_a_field_that_is_absent_or_null_has_its_default_or_is_named():
    for given_fields in ({}, {"f": None}):
        assert read_field(given_fields, "f", COUNT, 7, where="x.json") == 7
        with pytest.raises(ConfigError, match="'f'"):
            read_field(given_fields, "f", COUNT, where="x.json")


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Zl"])))
def test_every_message_is_printable_and_short(text):
    for message in (text, text * 500):
        shown = str(InputError(f"begin {message} end"))
        assert len(shown.encode()) < 2048
        assert all(c.isprintable() or c == "\n" for c in shown)
        assert shown.startswith("begin ")
        assert shown.endswith(" end")


def test_a_message_that_is_fit_to_print_stays_as_it_is():
    message = "vocab.txt: 'héé' ist kein Wort\n  zweite Zeile"
    assert str(ConfigError(message)) == message
    assert str(CheckpointFileError(message)) == message


def test_any_value_is_shown_shortly_and_quickly():
    itself: list = []
    itself.append(itself)
    shared: list = []
    for _ in range(60):
        shared = [shared] * 9
    begin = time.process_time()
    for value in (10**6000, itself, shared, {"a": shared}, "x" * 10**6, [0] * 10**6):
        assert len(shown(value)) <= 60
    assert time.process_time() - begin < 0.5
    assert shown({"b": [1, "x"], "a": None}) == "{'b': [1, 'x'], 'a': None}"
