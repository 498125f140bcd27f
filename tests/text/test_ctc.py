"""Tokens of CTC models: frames to text with offsets, text to tokens, files and what is refused."""

import json

import pytest

from inarch.errors import CheckpointError, CheckpointFileError, InputError
from inarch.text import CTCTokenizer
from inarch.text.ctc import Span

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C"]
VOCABULARY = {token: i for i, token in enumerate(TOKENS)}
PAD, BAR, A, B, C = 0, 4, 5, 6, 7


def test_runs_are_one_character_and_a_blank_parts_two():
    decoded = CTCTokenizer(VOCABULARY).decode([A, A, PAD, A, PAD, PAD, B])
    assert decoded.text == "AAB"
    assert decoded.characters == [Span("A", 0, 2), Span("A", 3, 4), Span("B", 6, 7)]


def test_delimiters_part_words_and_the_text_has_none_at_its_ends():
    decoded = CTCTokenizer(VOCABULARY).decode([BAR, A, PAD, B, BAR, BAR, PAD, C, BAR])
    assert decoded.text == "AB C"
    assert decoded.words == [Span("AB", 1, 4), Span("C", 7, 8)]
    assert decoded.characters[0] == Span(" ", 0, 1)


@pytest.mark.parametrize("ids", [[], [PAD, PAD]])
def test_nothing_said_is_no_text(ids):
    decoded = CTCTokenizer(VOCABULARY).decode(ids)
    assert (decoded.text, decoded.characters, decoded.words) == ("", [], [])


def test_lower_case_is_of_the_text_and_of_what_is_encoded():
    tokenizer = CTCTokenizer(VOCABULARY, {"do_lower_case": True})
    assert tokenizer.decode([A, B]).text == "ab"
    assert tokenizer.encode("ab c") == [A, B, BAR, C]


def test_spaces_before_punctuation_are_taken_out_where_the_files_say_so():
    vocabulary = VOCABULARY | {".": 8, "'": 9}
    ids = [A, BAR, 8, BAR, B, BAR, 9, BAR, C]
    assert CTCTokenizer(vocabulary).decode(ids).text == "A . B ' C"
    cleaned = CTCTokenizer(vocabulary, {"clean_up_tokenization_spaces": True})
    assert cleaned.decode(ids).text == "A. B'C"


def test_text_that_spells_a_special_token_stays_text():
    tokenizer = CTCTokenizer(VOCABULARY)
    assert tokenizer.encode("<s>") == [3, 3, 3]


def test_a_longer_token_goes_before_its_characters():
    tokenizer = CTCTokenizer(VOCABULARY | {"AB": 8, "ABC": 9})
    assert tokenizer.encode("ABCABB") == [9, 8, B]


def test_an_unknown_character_is_the_unknown_token_or_an_error_that_names_it():
    assert CTCTokenizer(VOCABULARY).encode("AX") == [A, 3]
    with pytest.raises(InputError, match="'X'"):
        CTCTokenizer({"<pad>": 0, "A": 1}).encode("AX")


def test_a_tokenizer_of_texts_has_their_characters_and_a_blank_first():
    tokenizer = CTCTokenizer.from_texts(["ab", "b c"])
    assert tokenizer.blank_id == 0
    assert tokenizer.vocabulary_size == 8
    ids = tokenizer.encode("ab c")
    assert tokenizer.decode(ids).text == "ab c"


def test_files_and_configs_give_the_same_tokenizer(tmp_path):
    tokenizer = CTCTokenizer(VOCABULARY, {"word_delimiter_token": "C"})
    for name, data in tokenizer.files.items():
        (tmp_path / name).write_bytes(data)
    again = CTCTokenizer.from_folder(tmp_path)
    for other in (again, CTCTokenizer.from_config(tokenizer.get_config())):
        assert other.files == tokenizer.files
        assert other.decode([A, C, B]).text == "A B"


def test_tokens_of_the_files_beside_the_vocabulary_count(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"[PAD]": 0, "A": 1}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<s>": 2}))
    tokenizer = CTCTokenizer.from_folder(tmp_path)
    assert tokenizer.decode([1, 0, 2]).text == "A<s>"
    assert tokenizer.vocabulary_size == 3


def test_a_vocabulary_of_several_languages_needs_one_of_them():
    nested = {"eng": VOCABULARY, "deu": {"<pad>": 0, "Ä": 1}}
    assert CTCTokenizer(nested, {"target_lang": "deu"}).decode([1]).text == "Ä"
    with pytest.raises(CheckpointError, match="target_lang"):
        CTCTokenizer(nested)


@pytest.mark.parametrize(
    ("vocabulary", "named"),
    [
        ({}, "vocab.json"),
        ({"<pad>": "0"}, "'<pad>'"),
        ({"<pad>": 0, "A": 0}, "two tokens"),
        ({"A": 0}, "'<pad>'"),
        ({"<pad>": -1}, "-1"),
        ({"<pad>": True}, "True"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(vocabulary, named):
    with pytest.raises(CheckpointError, match=named):
        CTCTokenizer(vocabulary)


@pytest.mark.parametrize("text", ["[]", "{", '{"<pad>": 0'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "vocab.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        CTCTokenizer.from_folder(tmp_path)


def test_a_folder_without_a_vocabulary_says_so(tmp_path):
    with pytest.raises(CheckpointFileError, match=r"vocab\.json"):
        CTCTokenizer.from_folder(tmp_path)


def test_a_special_token_that_is_no_text_is_refused():
    with pytest.raises(CheckpointError, match="word_delimiter_token"):
        CTCTokenizer(VOCABULARY, {"word_delimiter_token": 7})
