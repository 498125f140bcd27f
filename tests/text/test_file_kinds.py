"""Files of a folder that are read, and the settings that a class adds to them."""

import json

import pytest

from inarch.text import BytePairTokenizer, Tokenizer, WordPieceTokenizer

BYTES = {
    token: number
    for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "b", "Ġ", "ab", "<mask>"])
}
MERGES = "#version: 0.2\na b\n"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "a"]
BARE = {
    "RobertaTokenizer": ["<s>", "ab", "</s>", "</s>", "a", "</s>"],
    "RobertaTokenizerFast": ["<s>", "ab", "</s>", "</s>", "a", "</s>"],
    "PreTrainedTokenizerFast": ["ab", "a"],
    "TokenizersBackend": ["ab", "a"],
    "GPT2Tokenizer": ["ab", "a"],
}


def write(folder, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize("config", ["tokenizer_config__json", "config__json"])
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"tokenizer_class": "RobertaTokenizer"}, ["<s>", "ab", "</s>"]),
        ({"tokenizer_class": "RobertaTokenizerFast"}, ["<s>", "ab", "</s>"]),
        ({"tokenizer_class": "BertTokenizer"}, ["[CLS]", "ab", "[SEP]"]),
        ({"tokenizer_class": "DistilBertTokenizerFast"}, ["[CLS]", "ab", "[SEP]"]),
        ({"model_type": "roberta"}, ["<s>", "ab", "</s>"]),
        ({"model_type": "bert"}, ["[CLS]", "ab", "[SEP]"]),
        ({}, ["[CLS]", "ab", "[SEP]"]),
    ],
)
def test_of_several_kinds_the_class_decides(named, expected, config, tmp_path):
    if "model_type" in named and config != "config__json":
        pytest.skip("a model's type is in config.json")
    files = {"vocab__txt": "\n".join(WORDS), "vocab__json": BYTES, "merges__txt": MERGES}
    tokenizer = Tokenizer.from_folder(write(tmp_path, **files, **{config: named}))
    assert tokenizer.encode("ab").tokens == expected


@pytest.mark.parametrize("bare", [None, {"type": "ByteLevel", "add_prefix_space": True,
    "trim_offsets": False, "use_regex": True}])  # fmt: skip
@pytest.mark.parametrize("kind", BARE)
def test_a_class_puts_its_special_tokens_where_tokenizer_json_has_none(kind, bare, tmp_path):
    BytePairTokenizer(BYTES, ["a b"]).save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    write(
        tmp_path,
        tokenizer__json=spec | {"post_processor": bare},
        tokenizer_config__json={"tokenizer_class": kind},
    )
    encoding = Tokenizer.from_folder(tmp_path).encode("ab", "a")
    assert encoding.tokens == BARE[kind]
    assert set(encoding.segment_ids) <= ({0} if "Roberta" in kind else {0, 1})


def test_a_template_in_tokenizer_json_goes_before_the_classs(tmp_path):
    BytePairTokenizer(BYTES, ["a b"]).save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    own = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {},
    }
    named = {"tokenizer_class": "RobertaTokenizer"}
    write(tmp_path, tokenizer__json=spec | {"post_processor": own}, tokenizer_config__json=named)
    assert Tokenizer.from_folder(tmp_path).encode("ab").tokens == ["ab"]


def test_berts_class_puts_two_segments(tmp_path):
    WordPieceTokenizer(WORDS).save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    write(tmp_path, tokenizer__json=spec | {"post_processor": None})
    encoding = Tokenizer.from_folder(tmp_path).encode("ab", "a")
    assert encoding.tokens == ["[CLS]", "ab", "[SEP]", "a", "[SEP]"]
    assert encoding.segment_ids == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("declared", [None, False, True])
@pytest.mark.parametrize("there", [False, True])
def test_of_a_space_before_the_text_the_config_decides_as_its_class_has_it(
    there, declared, tmp_path
):
    BytePairTokenizer(BYTES, ["a b"], add_prefix_space=there).save(tmp_path)
    for kind, expected in (
        ("RobertaTokenizer", bool(declared)),
        ("PreTrainedTokenizerFast", there),
    ):
        config = {"tokenizer_class": kind} | (
            {} if declared is None else {"add_prefix_space": declared}
        )
        write(tmp_path, tokenizer_config__json=config)
        tokens = Tokenizer.from_folder(tmp_path).encode("ab", add_special_tokens=False).tokens
        assert tokens == (["Ġ", "ab"] if expected else ["ab"])
