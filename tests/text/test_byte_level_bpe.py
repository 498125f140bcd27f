"""Byte-level byte pair encoding, from vocab.json and merges.txt and from memory."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import CheckpointError, ConfigError, InputError
from inarch.text import BytePairTokenizer, Tokenizer
from inarch.text.byte_level import ROBERTA
from inarch.text.discovery import has_tokenizer
from inarch.verify.corpus import CORPUS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ c", "a t", "Ġc at"]


def byte_letters():
    """A letter for each byte: its own where it shows, else one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [*map(chr, shown), *(chr(0x100 + i) for i in range(len(hidden)))]


def ids_of(special):
    made = [merge.replace(" ", "") for merge in MERGES]
    return {token: index for index, token in enumerate([*special, *byte_letters(), *made])}


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder with the two files and a config."""

    def make(special=SPECIAL, model_type=None, merges=MERGES, ids=None, **config):
        (tmp_path / "vocab.json").write_text(json.dumps(ids_of(special) if ids is None else ids))
        (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
        if model_type:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        if config:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


def test_roberta_wraps_a_text_and_a_pair(folder):
    found = Tokenizer.from_folder(folder())
    assert has_tokenizer(folder())
    assert found.encode("hello cat").tokens == ["<s>", "hello", "Ġcat", "</s>"]
    pair = found.encode("hello", "hello")
    assert pair.tokens == ["<s>", "hello", "</s>", "</s>", "hello", "</s>"]
    assert pair.segment_ids == [0] * 6
    assert found.encode("hello cat").offsets == [(0, 0), (0, 5), (6, 9), (0, 0)]


def test_one_file_alone_has_robertas_special_tokens(folder):
    path = folder(model_type="roberta")
    made = Tokenizer.from_folder(path)
    for name in ("vocab.json", "merges.txt"):
        (path / name).unlink()
    (path / "tokenizer.json").write_text(made._given_spec)
    alone = Tokenizer.from_folder(path)
    assert alone.special_tokens == made.special_tokens == ROBERTA.special_token_texts


def test_options_of_the_config(folder):
    found = Tokenizer.from_folder(folder(add_prefix_space=True, trim_offsets=False))
    encoding = found.encode("hello cat")
    assert encoding.tokens[1:-1] == ["Ġhello", "Ġcat"]
    assert encoding.offsets[2] == (5, 9)


def test_the_mask_takes_the_space_before_it(folder):
    found = Tokenizer.from_folder(folder())
    encoding = found.encode("hello <mask> cat", allow_special=("<mask>",))
    tokens = [found.id_to_token(index) for index in encoding.ids]
    assert tokens[1:-1] == ["hello", "<mask>", "Ġcat"]
    assert not found.special_ids & set(found.encode("<mask></s>", add_special_tokens=False).ids)


def test_gpt2_adds_nothing(folder):
    found = Tokenizer.from_folder(folder(special=["<|endoftext|>"], model_type="gpt2"))
    assert found.encode("hello cat").tokens == ["hello", "Ġcat"]
    assert found.eos_token_id == found.bos_token_id == 0


@given(st.one_of(st.sampled_from(CORPUS), st.text(st.characters(exclude_categories=["Cs"]))))
@settings(max_examples=80, deadline=None)
def test_every_text_comes_back(text):
    found = BytePairTokenizer(ids_of(SPECIAL), MERGES)
    assert found.decode(found.encode(text).ids) == text


def test_a_tokenizer_in_memory_is_saved_and_loaded(tmp_path):
    roles = {"cls_token": "<s>", "sep_token": "</s>"}
    found = BytePairTokenizer(ids_of(SPECIAL), MERGES, special_tokens=roles)
    found.save(tmp_path)
    again = BytePairTokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert again.encode("hello cat").tokens == ["hello", "Ġcat"]
    assert Tokenizer.from_folder(tmp_path).encode("hello") == found.encode("hello")
    with pytest.raises(InputError, match=r"pad_token '\[PAD\]'"):
        BytePairTokenizer(ids_of(SPECIAL), MERGES, special_tokens={"pad_token": "[PAD]"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"merges": ["h e", "onlyone"]}, r"line 3 of merges\.txt is 'onlyone'"),
        ({"merges": ["h h"]}, "merge 1 is 'h h'.*'hh'"),
        ({"ids": {"a": 0, "b": 0}}, r"vocab\.json gives 'a' and 'b' the same id"),
        ({"ids": {"a": "0"}}, r"vocab\.json gives 'a' the id '0'"),
        ({"ids": {}}, r"vocab\.json is empty"),
        ({"special": ["<s>"], "model_type": "roberta"}, "no '</s>', which is the sep_token"),
        ({"add_prefix_space": "yes"}, "add_prefix_space is 'yes'"),
    ],
)
def test_damaged_files_are_named(folder, change, reason):
    with pytest.raises(CheckpointError, match=reason):
        Tokenizer.from_folder(folder(**change))


def test_another_kind_is_refused_by_name(folder):
    with pytest.raises(ConfigError, match="CodeGenTokenizer.*RobertaTokenizer"):
        Tokenizer.from_folder(folder(tokenizer_class="CodeGenTokenizer"))


@pytest.mark.reference
@pytest.mark.parametrize("options", [{}, {"add_prefix_space": True, "trim_offsets": False}])
def test_roberta_is_that_of_transformers(folder, options):
    pytest.importorskip("transformers", minversion="5")
    from inarch.verify.tokenizer import compare_tokenizers

    mask = {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}
    path = folder(tokenizer_class="RobertaTokenizer", mask_token=mask, **options)
    assert compare_tokenizers(path).differences == ()


@pytest.mark.reference
def test_gpt2_is_that_of_transformers(folder):
    transformers = pytest.importorskip("transformers", minversion="5")
    path = folder(special=["<|endoftext|>"], model_type="gpt2")
    theirs, ours = transformers.AutoTokenizer.from_pretrained(path), Tokenizer.from_folder(path)
    for text in CORPUS:
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"]


BETWEEN_BERTS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]


def test_deberta_wraps_a_pair_as_it_was_trained(folder):
    found = Tokenizer.from_folder(folder(special=BETWEEN_BERTS, model_type="deberta"))
    pair = found.encode("hello", "hello cat")
    assert pair.tokens == ["[CLS]", "hello", "[SEP]", "hello", "Ġcat", "[SEP]"]
    assert found.mask_token_id == 4
    masked = found.encode("hello [MASK]", allow_special="all")
    assert masked.ids == [0, found.encode("hello").ids[1], 4, 2]


@pytest.mark.reference
def test_deberta_is_that_of_transformers_but_for_the_space_before_a_mask(folder):
    transformers = pytest.importorskip("transformers", minversion="5")
    path = folder(special=BETWEEN_BERTS, tokenizer_class="DebertaTokenizer")
    theirs, ours = transformers.DebertaTokenizer.from_pretrained(path), Tokenizer.from_folder(path)
    for text in (text for text in CORPUS if "[MASK]" not in text):
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"]


OPTS = ["</s>", "<pad>", "<unk>"]
OPT_CONFIG = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "</s>", "eos_token": "</s>"}
OPT_CONFIG |= {"unk_token": "</s>", "pad_token": "<pad>", "add_bos_token": True}


@pytest.mark.parametrize("config", [OPT_CONFIG, {}])
def test_opt_begins_each_text_with_a_token(folder, config):
    found = Tokenizer.from_folder(folder(special=OPTS, model_type="opt", **config))
    assert found.encode("hello cat").tokens == ["</s>", "hello", "Ġcat"]
    assert found.pad_token_id == 1
    gpt2 = {**OPT_CONFIG, "add_bos_token": False}
    without = Tokenizer.from_folder(folder(special=OPTS, model_type="opt", **gpt2))
    assert without.encode("hello cat").tokens == ["hello", "Ġcat"]


@pytest.mark.reference
@pytest.mark.parametrize("kept", ["vocab.json", "tokenizer.json"])
def test_opt_is_that_of_transformers(folder, kept, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    path = folder(special=OPTS, model_type="opt", **OPT_CONFIG)
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    if kept == "tokenizer.json":
        theirs.save_pretrained(tmp_path / "saved")
        path = tmp_path / "saved"
    ours = Tokenizer.from_folder(path)
    for text in CORPUS:
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"]


NEOX = ["<|endoftext|>", "<|padding|>"]


@pytest.mark.parametrize("config", [{"tokenizer_class": "GPTNeoXTokenizer"}, {}])
def test_gpt_neox_composes_letters_and_adds_nothing(folder, config):
    found = Tokenizer.from_folder(folder(special=NEOX, model_type="gpt_neox", **config))
    assert found.encode("hello cat").tokens == ["hello", "Ġcat"]
    assert found.encode("e\u0301").ids == found.encode("\u00e9").ids
    assert (found.eos_token_id, found.pad_token_id) == (0, 1)


@pytest.mark.reference
@pytest.mark.parametrize("kept", ["vocab.json", "tokenizer.json"])
@pytest.mark.parametrize("settings", [{}, {"add_bos_token": True, "add_prefix_space": True}])
def test_gpt_neox_is_that_of_transformers(folder, kept, settings, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    named = {"tokenizer_class": "GPTNeoXTokenizer", **settings}
    path = folder(special=NEOX, model_type="gpt_neox", **named)
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    if kept == "tokenizer.json":
        theirs.save_pretrained(tmp_path / "saved")
        path = tmp_path / "saved"
        theirs = transformers.AutoTokenizer.from_pretrained(path)
    ours = Tokenizer.from_folder(path)
    for text in (*CORPUS, "e\u0301"):
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"]


BLOOM = ["<unk>", "<s>", "</s>", "<pad>"]


@pytest.fixture
def bloom(folder):
    """A folder with a tokenizer as BLOOM's: words by a pattern, then bytes; no other file."""
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), BLOOM, strict=True))
    path = folder(
        special=BLOOM, model_type="bloom", tokenizer_class="BloomTokenizerFast",
        padding_side="left", add_prefix_space=False, **names,
    )  # fmt: skip
    for name in ("vocab.json", "merges.txt"):
        (path / name).unlink()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
        "use_regex": False}  # fmt: skip
    words = {"type": "Split", "pattern": {"Regex": r" ?[^(\s|[.,!?…。，、।۔،])]+"},
        "behavior": "Isolated", "invert": False}  # fmt: skip
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [
            {"id": i, "content": token, "special": True, **added} for i, token in enumerate(BLOOM)
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, level]},
        "post_processor": {**level, "use_regex": True}, "decoder": {**level, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": ids_of(BLOOM),
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "merges": MERGES},
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(spec))
    return path


def test_bloom_adds_nothing_and_splits_by_its_own_pattern(bloom):
    found = Tokenizer.from_folder(bloom)
    assert found.encode("hello cat").tokens == ["hello", "Ġcat"]
    assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (1, 2, 3)


@pytest.mark.reference
def test_bloom_is_that_of_transformers(bloom, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    theirs, ours = transformers.AutoTokenizer.from_pretrained(bloom), Tokenizer.from_folder(bloom)
    ours.save(tmp_path / "saved")
    saved = Tokenizer.from_folder(tmp_path / "saved")
    for text in (*CORPUS, "hello, cat...hello", "<s>hello</s>"):
        expected = theirs(text)["input_ids"]
        assert ours.encode(text, allow_special="all").ids == expected
        assert saved.encode(text, allow_special="all").ids == expected
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True)
