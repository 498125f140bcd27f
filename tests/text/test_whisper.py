"""The laws of Whisper's tokenizer, on one of 256 bytes, a few merges and all control tokens."""

import base64
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inarch
from inarch.errors import CheckpointError, CheckpointFileError, ConfigError, InputError
from inarch.text import Tokenizer, WhisperTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE
from inarch.text.discovery import has_tokenizer
from inarch.text.languages import LANGUAGES, language_code
from inarch.text.whisper_json import control_tokens
from inarch.verify.corpus import CORPUS

MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ c", "a t", "Ġc at"]
WORDS = {
    token: i for i, token in enumerate([*BYTE_TO_UNICODE, *(m.replace(" ", "") for m in MERGES)])
}
CONTROL = {token: len(WORDS) + i for i, token in enumerate(control_tokens(99))}
# Ranks, one end, one start, six more control tokens and 1501 times.
SIZE = len(WORDS) + 99 + 8 + 1501
MULTILINGUAL = "multilingual.tiktoken"

texts = st.text(
    st.one_of(
        st.sampled_from("hello cat<|en|>.12 日本ไทย😀é'-"), st.characters(exclude_categories=["Cs"])
    )
)
quick = settings(max_examples=60, deadline=None)


def made(control=CONTROL):
    return WhisperTokenizer(WORDS, MERGES, control)


@pytest.fixture(scope="module")
def tokenizer():
    return made()


def ranks():
    """The lines of a `.tiktoken` file of the same words."""
    tokens = (bytes(BYTE_TO_UNICODE.index(letter) for letter in token) for token in WORDS)
    return [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]


def write(folder, name, lines, vocab_size=SIZE):
    (folder / name).write_text("\n".join([*lines, ""]))
    if vocab_size:
        config = {"model_type": "whisper", "vocab_size": vocab_size}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def changed_spec(tokenizer, tokens):
    """The text of a tokenizer.json with other added tokens."""
    spec = json.loads(tokenizer.files["tokenizer.json"])
    return json.dumps(spec | {"added_tokens": tokens(spec["added_tokens"])})


# --- text --------------------------------------------------------------------------------------


@given(st.one_of(st.sampled_from(CORPUS), texts))
@quick
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@given(st.lists(texts, max_size=6))
@quick
def test_a_batch_keeps_its_order(tokenizer, rows):
    assert tokenizer.encode_batch(rows) == [tokenizer.encode(text) for text in rows]


@given(texts, st.sampled_from(["<|endoftext|>", "<|en|>", "<|notimestamps|>", "<|1.08|>"]), texts)
@quick
def test_a_control_token_in_a_text_is_ordinary_text(tokenizer, before, token, after):
    ids = tokenizer.encode(before + token + after).ids
    assert not tokenizer.special_ids & set(ids)
    assert tokenizer.decode(ids) == before + token + after


def test_a_control_token_is_one_where_it_is_let_through(tokenizer):
    found = tokenizer.encode("cat<|1.08|>", allow_special=("<|1.08|>",)).ids
    assert found[-1] == tokenizer.timestamp_begin + 54


def test_labels_are_wrapped_on_request(tokenizer):
    plain = tokenizer("hello").ids
    assert tokenizer.encode("hello", add_special_tokens=True).ids == [
        *(tokenizer.start_of_transcript, tokenizer.no_timestamps),
        *plain,
        tokenizer.end_of_text,
    ]


def test_the_config_decides_how_labels_are_wrapped(tokenizer):
    spec = tokenizer.files["tokenizer.json"].decode()
    config = tokenizer.config | {"language": "Castilian", "task": "translate"}
    configured = Tokenizer.from_config(
        {"spec": spec, "config": config | {"predict_timestamps": True}, "files": {}}
    )
    found = configured.encode("", add_special_tokens=True).ids
    assert found == [*configured.start_sequence("es", "translate"), configured.end_of_text]


def test_times_and_control_tokens_are_dropped_or_written(tokenizer):
    begin = tokenizer.timestamp_begin
    start = tokenizer.start_sequence("en")
    ids = np.array([*start, begin, *tokenizer("hello").ids, begin + 54, tokenizer.end_of_text])
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, timestamps=True) == "<|0.00|>hello<|1.08|>"
    whole = "<|startoftranscript|><|en|><|transcribe|>{}<|endoftext|>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == whole.format("hello")
    shown = tokenizer.decode(ids, skip_special_tokens=False, timestamps=True)
    assert shown == whole.format("<|0.00|>hello<|1.08|>")
    assert tokenizer.id_to_token(begin + 1500) == "<|30.00|>"


@given(st.binary(max_size=12))
@quick
def test_bytes_that_are_no_text_are_marked(tokenizer, data):
    assert tokenizer.decode(list(data)) == data.decode("utf-8", "replace")


# --- words -------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.integers(0, 255), st.integers(0, SIZE - 1)), max_size=30),
    st.sampled_from([None, "en", "ja", "cantonese"]),
)
@quick
def test_words_share_out_the_ids(tokenizer, ids, language):
    words, groups = tokenizer.split_to_words(ids, language)
    assert len(words) == len(groups)
    assert all(groups)
    assert [index for group in groups for index in group] == ids


@given(texts)
@quick
def test_the_words_of_a_text_are_the_text(tokenizer, text):
    for language in ("en", "ja"):
        assert "".join(tokenizer.split_to_words(tokenizer(text).ids, language)[0]) == text


def test_words_begin_at_spaces_and_punctuation(tokenizer):
    ids = [*tokenizer("hello cat's, é!").ids, tokenizer.end_of_text]
    words, groups = tokenizer.split_to_words(ids)
    assert words == ["hello", " cat", "'s", ",", " é", "!", "<|endoftext|>"]
    assert groups[-1] == [tokenizer.end_of_text]


def test_where_no_spaces_are_written_each_character_is_a_word(tokenizer):
    ids = tokenizer("日本").ids
    assert tokenizer.split_to_words(ids, "japanese")[0] == ["日", "本"]
    assert tokenizer.split_to_words(ids, "en")[0] == ["日本"]


# --- control tokens ----------------------------------------------------------------------------


def test_control_tokens_have_the_ids_of_the_files(tokenizer):
    for name, token in {
        "end_of_text": "<|endoftext|>",
        "start_of_transcript": "<|startoftranscript|>",
        "transcribe": "<|transcribe|>",
        "translate": "<|translate|>",
        "start_of_lm": "<|startoflm|>",
        "start_of_prev": "<|startofprev|>",
        "no_speech": "<|nospeech|>",
        "no_timestamps": "<|notimestamps|>",
    }.items():
        assert getattr(tokenizer, name) == CONTROL[token]
    assert tokenizer.timestamp_begin == max(CONTROL.values()) + 1
    assert tokenizer.vocabulary_size == SIZE
    assert list(tokenizer.languages) == list(LANGUAGES)[:99]
    assert tokenizer.languages["de"] == CONTROL["<|de|>"]
    assert tokenizer.suppress_blank == (*tokenizer(" ").ids, tokenizer.end_of_text)


def test_the_older_name_of_no_speech_is_read():
    control = {name.replace("nospeech", "nocaptions"): i for name, i in CONTROL.items()}
    assert made(control).no_speech == CONTROL["<|nospeech|>"]


def test_non_speech_symbols_are_listed(tokenizer):
    found = tokenizer.non_speech_tokens
    assert list(found) == sorted(set(found))
    # One byte each; the notes by their first byte, which is a space where one is before them.
    expected = {ord(symbol) for symbol in '"#()*+/:;<=>@[\\]^_`{|}~'} | {0xE2, 0x20}
    assert set(found) == {WORDS[BYTE_TO_UNICODE[byte]] for byte in expected}


@pytest.mark.parametrize("language", ["es", "ES", "spanish", "Spanish", "castilian", " Castilian "])
def test_a_language_goes_by_code_name_and_alias(tokenizer, language):
    start = tokenizer.start_sequence(language, timestamps=False)
    names = ("startoftranscript", "es", "transcribe", "notimestamps")
    assert start == tuple(CONTROL[f"<|{name}|>"] for name in names)


def test_languages_are_distinct_by_code_and_by_name():
    assert len(LANGUAGES) == len(set(LANGUAGES.values())) == 100
    assert all(language_code(name) == code for code, name in LANGUAGES.items())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"language": "klingon"}, "'klingon'.*'english'"),
        ({"language": "yue"}, r"'yue' \(cantonese, 'yue'\).*the 99"),
        ({"language": 3}, "language is 3"),
        ({}, "language is None.*99"),
        ({"language": "en", "task": "sing"}, "task is 'sing'"),
    ],
)
def test_what_a_model_of_many_languages_cant_do_is_named(tokenizer, options, reason):
    with pytest.raises(InputError, match=reason):
        tokenizer.start_sequence(**options)


def test_an_english_only_model_has_no_other_language_and_no_task():
    english = made({token: len(WORDS) + i for i, token in enumerate(control_tokens(0))})
    assert not english.is_multilingual
    start = (english.start_of_transcript,)
    assert english.start_sequence() == english.start_sequence("English") == start
    assert english.start_sequence(timestamps=False) == (*start, english.no_timestamps)
    with pytest.raises(InputError, match=r"'de'.*English-only.*multilingual model"):
        english.start_sequence("de")
    with pytest.raises(InputError, match="translate.*English-only.*multilingual model"):
        english.start_sequence(task="translate")


# --- files -------------------------------------------------------------------------------------


def same(one, other):
    assert type(one) is type(other) is WhisperTokenizer
    assert one.get_vocabulary() == other.get_vocabulary()
    for text in CORPUS:
        assert one.encode(text) == other.encode(text)


def test_a_folder_is_recognised_and_written_back_byte_for_byte(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "normalizer.json").write_text('{"colour":"color"}')
    found = Tokenizer.from_folder(tmp_path)
    same(found, tokenizer)
    found.save(tmp_path / "again")
    for path in tmp_path.glob("*.json"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "again" / "normalizer.json").exists()
    same(Tokenizer.from_config(json.loads(json.dumps(found.get_config()))), tokenizer)
    same(pickle.loads(pickle.dumps(found)), tokenizer)


def test_a_lone_tokenizer_file_without_times_is_enough(tokenizer, tmp_path):
    """Read a tokenizer as CTranslate2's folders of older models have it."""
    spec = changed_spec(tokenizer, lambda tokens: tokens[: len(CONTROL)])
    (tmp_path / "tokenizer.json").write_text(spec)
    (tmp_path / "vocabulary.txt").write_text("!\n")
    found = Tokenizer.from_folder(tmp_path)
    same(found, tokenizer)
    assert len(found.implied_tokens) == 1501
    assert not tokenizer.implied_tokens
    assert found.eos_token_id == found.end_of_text


def test_the_older_files_make_the_same_tokenizer(tokenizer, tmp_path):
    ids = WORDS | {"<|endoftext|>": len(WORDS)}
    added = {token: index for token, index in CONTROL.items() if token not in ids}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"additional_special_tokens": list(CONTROL)})
    )
    for name, config in (
        ("config.json", {"model_type": "whisper"}),
        ("tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer"}),
    ):
        (tmp_path / name).write_text(json.dumps(config))
        found = Tokenizer.from_folder(tmp_path)
        same(found, tokenizer)
        (tmp_path / name).unlink()
    same(Tokenizer.from_folder(tmp_path), tokenizer)
    found.save(tmp_path / "again")
    assert (tmp_path / "again" / "merges.txt").read_bytes() == (
        tmp_path / "merges.txt"
    ).read_bytes()


@pytest.mark.parametrize("languages", [99, 100])
def test_ranks_make_the_same_tokenizer(tmp_path, languages):
    folder = write(tmp_path, MULTILINGUAL, ranks(), SIZE + languages - 99)
    assert has_tokenizer(folder)
    found = Tokenizer.from_folder(folder)
    control = {token: len(WORDS) + i for i, token in enumerate(control_tokens(languages))}
    same(found, made(control))
    found.save(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        *("tokenizer.json", "tokenizer_config.json")
    }
    same(Tokenizer.from_folder(tmp_path / "saved"), found)


def test_the_model_decides_how_many_languages_there_are(tmp_path):
    write(tmp_path, MULTILINGUAL, ranks(), vocab_size=None)
    with pytest.raises(ConfigError, match="how many languages.*vocabulary_size=51865"):
        Tokenizer.from_folder(tmp_path)
    found = WhisperTokenizer.from_folder(tmp_path, vocabulary_size=SIZE + 1)
    assert list(found.languages) == list(LANGUAGES)
    with pytest.raises(ConfigError, match="a model of 9 tokens.*264 ranks"):
        WhisperTokenizer.from_folder(tmp_path, vocabulary_size=9)
    write(tmp_path, "gpt2.tiktoken", ranks(), vocab_size=None)
    with pytest.raises(ConfigError, match="English-only"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / MULTILINGUAL).unlink()
    assert len(Tokenizer.from_folder(tmp_path).languages) == 99


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (51864, "put gpt2.tiktoken next to it"),
        (51866, "put multilingual.tiktoken next to it"),
        (None, "put gpt2.tiktoken, if the model is English-only, or else multilingual.tiktoken"),
    ],
)
def test_the_absent_vocabulary_is_named_where_there_are_openais_weights_alone(
    size, wanted, tmp_path
):
    (tmp_path / "tiny.pt").write_bytes(b"")
    with pytest.raises(CheckpointFileError, match="whisper/assets .* openai-whisper") as caught:
        WhisperTokenizer.from_folder(tmp_path, vocabulary_size=size)
    assert wanted in str(caught.value)


def test_other_folders_have_no_hint_of_openais_vocabulary(tmp_path):
    with pytest.raises(CheckpointFileError) as caught:
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tiny.pt").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointFileError) as other:
        Tokenizer.from_folder(tmp_path)
    assert "tiktoken" not in str(caught.value) + str(other.value)


def line(number, text):
    lines = ranks()
    lines[number - 1 : number] = [text] if text else []
    return lines


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (line(3, "Iw=? 2"), r"line 3 of multilingual\.tiktoken has 'Iw=\?', which isn't base64"),
        (line(3, "Iw== two"), r"line 3 .* is 'Iw== two', not a token in base64 and its rank"),
        (line(3, "Iw=="), "line 3 .* is 'Iw=='"),
        (line(3, "//// 1"), "line 3 .* repeats the rank 1 of line 2"),
        (line(3, "AQ== 2"), r"line \d+ .* repeats the token"),
        (line(3, ""), "has 263 ranks and none is 2"),
        (line(260, "eHl6 259"), "b'xyz' has the rank 259"),
        (line(3, "eHk= 2"), r"no token for 1 of the 256 bytes, such as 0x02"),
        ([], "has 0 ranks"),
    ],
)
def test_damaged_ranks_are_named(tmp_path, lines, reason):
    with pytest.raises(CheckpointError, match=reason):
        Tokenizer.from_folder(write(tmp_path, MULTILINGUAL, lines))


def test_a_list_of_tokens_isnt_a_tokenizer(tmp_path):
    (tmp_path / "vocabulary.json").write_text("[]")
    with pytest.raises(CheckpointFileError, match=r"vocabulary\.json is CTranslate2's.*Put the"):
        Tokenizer.from_folder(tmp_path)


def test_a_tokenizer_that_isnt_whispers_is_refused(tokenizer, tmp_path):
    spec = changed_spec(tokenizer, lambda tokens: tokens[:1])
    (tmp_path / "tokenizer.json").write_text(spec)
    assert type(Tokenizer.from_folder(tmp_path)) is Tokenizer
    missing = r"no <\|startoftranscript\|>, .*<\|nospeech\|> among its 265 tokens"
    with pytest.raises(CheckpointError, match=missing):
        WhisperTokenizer.from_folder(tmp_path)
    config = json.dumps({"tokenizer_class": "WhisperTokenizerFast"})
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(CheckpointError, match=missing):
        Tokenizer.from_folder(tmp_path)


def test_a_token_in_the_place_of_a_time_is_refused(tokenizer):
    def other(tokens):
        kept = tokens[: len(CONTROL)]
        return [*kept, kept[-1] | {"content": "<mine>", "id": kept[-1]["id"] + 1}]

    files = {"tokenizer.json": changed_spec(tokenizer, other)}
    with pytest.raises(CheckpointError, match=r"<\|0\.00\|> should have the id.*'<mine>' has it"):
        WhisperTokenizer.from_config({"spec": None, "config": {}, "files": files})


def test_ids_with_a_hole_are_refused(tokenizer):
    def shifted(tokens):
        return [token | {"id": token["id"] + 1} for token in tokens]

    files = {"tokenizer.json": changed_spec(tokenizer, shifted)}
    with pytest.raises(CheckpointError, match=r"'<\|endoftext\|>' should have the id 265"):
        WhisperTokenizer.from_config({"spec": None, "config": {}, "files": files})


def test_merges_that_dont_fit_are_named():
    with pytest.raises(CheckpointError, match="merge 1 is 'q q'.*'qq'"):
        WhisperTokenizer(WORDS, ["q q"], CONTROL)


def test_it_is_found_by_name():
    assert inarch.WhisperTokenizer is WhisperTokenizer
