"""Laws of entities: what tokens are one, what it is called, and where windows have cut it."""

import numpy as np
import pytest

from inarch.answers.entities import TokenScores, check_aggregation, decode, subwords
from inarch.errors import InputError

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O", *(f"{p}-{kind}" for kind in ("PER", "LOC") for p in "BIES")]
TEXT = "the cats sat in Rome"
OFFSETS = [(0, 3), (4, 7), (7, 8), (9, 12), (13, 15), (16, 20)]
WORDS = [False, False, True, False, False, False]


def scores(labels, names, peaks=None):
    """Rows in which each named label has its peak, and all others share the rest."""
    peaks = peaks or [0.8] * len(names)
    rows = np.array([[(1 - p) / (len(labels) - 1)] * len(labels) for p in peaks])
    for row, name, peak in zip(rows, names, peaks, strict=True):
        row[labels.index(name)] = peak
    return rows


def window(names, first=0, last=6, labels=BIO, peaks=None):
    """The scores of some tokens of the text, whose labels are named."""
    return TokenScores(
        scores(labels, names, peaks), OFFSETS[first:last], WORDS[first:last], first == 0, last == 6
    )


def spans(windows, labels=BIO, aggregation="simple"):
    return [
        (e["label"], e["start"], e["end"]) for e in decode(TEXT, windows, labels, aggregation)
    ]  # fmt: skip


def test_neighbours_of_one_kind_are_an_entity_until_a_label_begins_another():
    one = window(["O", "B-PER", "I-PER", "B-PER", "I-LOC", "I-LOC"])
    assert spans([one]) == [("PER", 4, 8), ("PER", 9, 12), ("LOC", 13, 20)]
    assert spans([one], aggregation="none") == [
        ("B-PER", 4, 7), ("I-PER", 7, 8), ("B-PER", 9, 12), ("I-LOC", 13, 15), ("I-LOC", 16, 20)
    ]  # fmt: skip


def test_an_entity_has_the_mean_score_of_its_tokens_and_the_text_of_its_span():
    one = window(["O", "B-PER", "I-PER", "O", "O", "O"], peaks=[0.8, 0.9, 0.6, 0.8, 0.8, 0.8])
    (found,) = decode(TEXT, [one], BIO, "simple")
    assert found.pop("score") == pytest.approx(0.75)
    assert found == {"label": "PER", "text": "cats", "start": 4, "end": 8}


@pytest.mark.parametrize(
    ("aggregation", "label"), [("first", "PER"), ("average", "LOC"), ("max", "LOC")]
)
def test_a_word_has_one_label(aggregation, label):
    rows = scores(BIO, ["O", "B-PER", "B-LOC", "O", "O", "O"], [0.9, 0.5, 0.8, 0.9, 0.9, 0.9])
    one = TokenScores(rows, OFFSETS, WORDS)
    (found,) = decode(TEXT, [one], BIO, aggregation)
    assert (found["label"], found["start"], found["end"]) == (label, 4, 8)
    expected = {"first": 0.5, "average": (0.8 + 0.125) / 2, "max": 0.8}[aggregation]
    assert found["score"] == pytest.approx(expected)


def test_of_bioes_an_end_ends_and_a_single_is_whole():
    names = ["S-PER", "S-PER", "B-PER", "E-PER", "E-PER", "I-LOC"]
    assert spans([window(names, labels=BIOES)], BIOES) == [
        ("PER", 0, 3), ("PER", 4, 7), ("PER", 7, 12), ("PER", 13, 15), ("LOC", 16, 20)
    ]  # fmt: skip


def test_labels_without_prefixes_are_kinds_whatever_they_are_called():
    labels = ["O", "E-mail", "S-bahn", "PER"]
    names = ["E-mail", "E-mail", "S-bahn", "S-bahn", "PER", "O"]
    assert spans([window(names, labels=labels)], labels) == [
        ("E-mail", 0, 7), ("S-bahn", 7, 12), ("PER", 13, 15)
    ]  # fmt: skip


def test_white_space_of_a_token_is_no_part_of_an_entity():
    one = TokenScores(scores(BIO, ["B-PER", "O"]), [(3, 8), (8, 12)], [False, False])
    assert decode(TEXT, [one], BIO, "simple")[0]["text"] == "cats"


@pytest.mark.parametrize("aggregation", ["simple", "first", "max"])
def test_of_two_windows_the_longest_entity_of_a_place_is_given_once(aggregation):
    one = window(["O", "B-PER", "I-PER", "O"], 0, 4)
    two = window(["I-PER", "B-PER", "O", "O"], 2, 6)  # sees the end alone
    assert spans([one, two], aggregation=aggregation)[0] == ("PER", 4, 8)


def test_of_equally_long_ones_the_likelier_is_given():
    one = window(["O", "O", "O", "B-PER"], 0, 4, peaks=[0.8] * 3 + [0.6])
    two = window(["O", "B-LOC", "O", "O"], 2, 6, peaks=[0.8] * 4)
    assert spans([one, two]) == [("LOC", 9, 12)]
    assert spans([one, two], aggregation="none") == [("B-LOC", 9, 12)]


def test_an_entity_that_reaches_over_windows_is_not_cut():
    one = window(["O", "B-PER", "I-PER"], 0, 3)
    two = window(["I-PER", "I-PER", "I-PER"], 2, 5)
    three = window(["I-PER", "I-PER"], 4, 6)
    assert spans([one, two, three]) == [("PER", 4, 20)]
    halves = [window(["O", "B-PER", "I-PER"], 0, 3), window(["I-PER", "O", "O"], 3, 6)]
    assert spans(halves) == [("PER", 4, 12)]


def test_an_entity_that_begins_in_a_window_is_not_joined_to_the_one_before_it():
    halves = [window(["O", "B-PER", "I-PER"], 0, 3), window(["B-PER", "O", "O"], 3, 6)]
    assert spans(halves) == [("PER", 4, 8), ("PER", 9, 12)]
    kinds = [window(["O", "B-PER", "I-PER"], 0, 3), window(["I-LOC", "O", "O"], 3, 6)]
    assert spans(kinds) == [("PER", 4, 8), ("LOC", 9, 12)]


def test_a_text_without_tokens_has_no_entity():
    empty = TokenScores(np.zeros((0, 5)), [], [])
    for aggregation in ("none", "simple", "average"):
        assert decode("", [empty], BIO, aggregation) == []


def test_a_marked_token_continues_a_word_unless_it_is_unknown():
    offsets = [(0, 4), (4, 7), (8, 10)]
    assert subwords("hugging it", ["hugg", "##ing", "[UNK]"], offsets, True, "[UNK]") == [
        False, True, False
    ]  # fmt: skip


def test_without_marks_words_are_what_is_between_spaces():
    offsets = [(0, 4), (4, 7), (7, 10)]
    assert subwords("hugging it", ["hugg", "ing", "\u0120it"], offsets, False, None) == [
        False, True, False
    ]  # fmt: skip


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(InputError, match="aggregation is 'mean'; it must be one of none, simple"):
        check_aggregation("mean")
