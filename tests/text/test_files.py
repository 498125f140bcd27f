"""The files of a folder become a tokenizer, and go back byte for byte."""

import json

import pytest

from inarch.errors import CheckpointError, CheckpointFileError, ConfigError, InputError
from inarch.text import Tokenizer, WordPieceTokenizer

BAD_NORMALIZER = {"type": "Precompiled", "precompiled_charsmap": "////"}
BAD_TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}


@pytest.fixture(scope="module")
def spec(vocabulary):
    """A tokenizer.json as an object."""
    return json.loads(WordPieceTokenizer(vocabulary).files["tokenizer.json"])


def folder_of(path, **files):
    for name, value in files.items():
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        (path / name.replace("__", ".")).write_bytes(data)
    return path


def test_padding_and_truncation_left_in_the_file_are_dropped(tmp_path, spec):
    spec = {
        **spec,
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    }
    tokenizer = Tokenizer.from_folder(folder_of(tmp_path, tokenizer__json=spec))
    assert len(tokenizer.encode("a b")) == 4
    assert len(tokenizer.encode("a b c d e")) == 7


def test_saving_gives_the_same_bytes(tmp_path, spec):
    files = {
        "tokenizer.json": json.dumps(spec, indent=7).encode(),
        "tokenizer_config.json": b'{ "model_max_length":512,\r\n "odd": 1 }\n\n',
        "special_tokens_map.json": b'{"mask_token": {"content": "[MASK]", "lstrip": true}}',
        "spiece.model": b"\x00\xff\xfe binary",
        "extra.txt": b"asked for",
    }
    source = tmp_path / "source"
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data)
    (source / "model.safetensors").write_bytes(b"not a tokenizer's")
    tokenizer = Tokenizer.from_folder(source, files=["extra.txt"])
    again = Tokenizer.from_config(json.loads(json.dumps(tokenizer.get_config())))
    for number, each in enumerate((tokenizer, again)):
        target = tmp_path / f"target{number}" / "deep"
        each.save(target)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == files


def test_a_folder_without_a_tokenizer_lists_what_was_looked_for(tmp_path):
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointFileError, match=r"tokenizer\.json, vocab\.txt.*\['vocab\.json"):
        Tokenizer.from_folder(tmp_path)
    with pytest.raises(CheckpointFileError, match="isn't a folder"):
        Tokenizer.from_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model": 5}',
        b'{"model": {"type": "Riddle"}}',
        b'{"model": {"type": "WordPiece", "vocab": 3}}',
        b'{"model": {"type": "Unigram", "vocab": [[]]}}',
        b'{"added_tokens": [3], "model": {}}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_damaged_tokenizer_file_is_named(tmp_path, damaged):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(folder_of(tmp_path, tokenizer__json=damaged))


def test_a_truncated_tokenizer_file_is_named(tmp_path, spec):
    data = json.dumps(spec).encode()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not JSON"):
        Tokenizer.from_folder(folder_of(tmp_path, tokenizer__json=data[: len(data) // 2]))


@pytest.mark.parametrize(
    "change", [{"normalizer": BAD_NORMALIZER}, {"post_processor": BAD_TEMPLATE}]
)
def test_a_panic_in_the_library_is_an_error_of_ours(tmp_path, spec, change):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json (can't be used|is damaged)"):
        Tokenizer.from_folder(folder_of(tmp_path, tokenizer__json={**spec, **change}))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"cls_token": 5}'),
        ("tokenizer_config.json", b'{"do_lower_case": "yes"}'),
        ("tokenizer_config.json", b'{"model_max_length": "many"}'),
        ("special_tokens_map.json", b'{"sep_token": ["[SEP]"]}'),
        ("added_tokens.json", b'{"x": "y"}'),
    ],
)
def test_a_damaged_config_is_an_error(tmp_path, spec, name, data):
    folder_of(tmp_path, tokenizer__json=spec)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"), [(512, 512), (1e30, None), (10**30, None), (None, None), (512.0, 512)]
)
def test_the_mark_for_no_limit_is_none(tmp_path, spec, value, expected):
    config = {"model_max_length": value}
    folder = folder_of(tmp_path, tokenizer__json=spec, tokenizer_config__json=config)
    assert Tokenizer.from_folder(folder).model_max_length == expected


def test_truncation_takes_the_side_that_the_config_names(tmp_path, spec):
    config = {"truncation_side": "left"}
    folder = folder_of(tmp_path, tokenizer__json=spec, tokenizer_config__json=config)
    tokens = Tokenizer.from_folder(folder).encode("a b c d", max_length=4).tokens
    assert tokens == ["[CLS]", "c", "d", "[SEP]"]


def test_the_config_wins_over_the_file_in_the_settings_of_bert(tmp_path, spec):
    folder = folder_of(
        tmp_path, tokenizer__json=spec, tokenizer_config__json={"do_lower_case": False}
    )
    assert Tokenizer.from_folder(folder).encode("C", add_special_tokens=False).tokens == ["C"]
    generic = {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"}
    folder_of(tmp_path, tokenizer_config__json=generic)
    assert Tokenizer.from_folder(folder).encode("C", add_special_tokens=False).tokens == ["c"]


def test_control_tokens_of_a_unigram_vocabulary_stay_out_of_a_text(tmp_path):
    pieces = [["[CLS]", 0.0], ["[SEP]", 0.0], ["<unk>", 0.0], ["▁", -2.0]]
    pieces += [[letter, -3.0] for letter in "aSEP[]"]
    spec = {
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for index, token in enumerate(["[CLS]", "[SEP]"])
        ],
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        },
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces},
    }
    config = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "<unk>"}
    folder = folder_of(tmp_path, tokenizer__json=spec, tokenizer_config__json=config)
    tokenizer = Tokenizer.from_folder(folder)
    encoding = tokenizer.encode("a [SEP]a")
    assert encoding.tokens == ["▁", "a", "▁", "[", "S", "E", "P", "]", "a"]
    assert encoding.offsets[3:8] == [(2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert "[SEP]" in tokenizer.encode("a [SEP]a", allow_special=("[SEP]",)).tokens
    assert tokenizer.token_to_id("[SEP]") == 1


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "", "a\\b"])
def test_a_stored_config_cannot_write_outside_its_folder(vocabulary, name):
    config = WordPieceTokenizer(vocabulary).get_config()
    config["files"][name] = "x"
    with pytest.raises(CheckpointFileError, match="must be a path within"):
        Tokenizer.from_config(config)


def test_a_tokenizer_made_of_its_description_saves_both_files(tmp_path, spec):
    Tokenizer(json.dumps(spec), config={"model_max_length": 64}).save(tmp_path)
    loaded = Tokenizer.from_folder(tmp_path)
    assert loaded.model_max_length == 64
    assert loaded.encode("the cat").tokens == ["[CLS]", "the", "cat", "[SEP]"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, vocabulary):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointFileError, match="file"):
        WordPieceTokenizer(vocabulary).save(tmp_path / "file")


def test_a_description_that_is_not_text_is_refused():
    with pytest.raises(InputError, match="surrogate"):
        Tokenizer('{"\ud800": 1}')


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "spiece.model"])
def test_a_git_lfs_pointer_is_named_as_what_it_is(tmp_path, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(CheckpointFileError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        Tokenizer.from_folder(tmp_path)
