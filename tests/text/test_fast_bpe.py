"""PhoBERT's and BERTweet's ids are fairseq's: of `vocab.txt` with counts and `bpe.codes`."""

import json

import pytest

from inarch.errors import CheckpointError, ConfigError
from inarch.text import FastBpeTokenizer, Tokenizer

CODES = ["t h", "th e</w>", "x i", "xi n</w>", "a b", "a b</w>", "ab c</w>"]
# "th@@", "xi@@" and "ab@@" are pieces of the codes, and only the last is in the dictionary.
DICTIONARY = ["the", "xin", "ab@@", "ab", "abc", "t@@", "h@@", "e", "e@@", "x@@", "i", "n", "a@@"]
DICTIONARY += ["b", "c", "a", "@", "@@@"]
IDS = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *DICTIONARY])}
TEXTS = [
    "the xin abc ab", "thex", "xithe", "a\nb the\n", " the\u00a0xin\u3000ab ", "x\x1cin\x1dthe", "",
    "ththethe abab", "@@ a@@", "日本 the", "<mask> the</s> x", "the<mask>the",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def make(kind="PhobertTokenizer", codes=CODES, dictionary=DICTIONARY, **config):
        (tmp_path / "bpe.codes").write_text("".join(f"{pair} 7\n" for pair in codes))
        (tmp_path / "vocab.txt").write_text("".join(f"{token} 9\n" for token in dictionary))
        named = {"model_type": "roberta", "tokenizer_class": kind}
        (tmp_path / "config.json").write_text(json.dumps(named))
        if config:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


@pytest.mark.parametrize("kind", ["PhobertTokenizer", "BertweetTokenizer"])
def test_pieces_get_the_ids_of_the_dictionary(kind, folder):
    tokenizer = Tokenizer.from_folder(folder(kind))
    assert type(tokenizer) is FastBpeTokenizer
    encoding = tokenizer.encode("the thex ab")
    # "th" and "the" within a word are pieces of the codes that the dictionary hasn't got.
    assert encoding.tokens == ["<s>", "the", "<unk>", "e@@", "<unk>", "ab", "</s>"]
    assert encoding.ids == [IDS.get(token, 3) for token in encoding.tokens]
    assert tokenizer.mask_token_id == len(IDS)
    assert tokenizer.get_vocabulary() == [*IDS, "<mask>"]


def test_a_pair_has_one_segment_and_two_separators(folder):
    encoding = Tokenizer.from_folder(folder()).encode("the", "xin")
    assert encoding.tokens == ["<s>", "the", "</s>", "</s>", "xin", "</s>"]
    assert encoding.segment_ids == [0] * 6


def test_batches_truncation_and_special_tokens_are_as_elsewhere(folder):
    tokenizer = Tokenizer.from_folder(folder())
    batch = tokenizer.encode_batch(TEXTS)
    assert [e.ids for e in batch] == [tokenizer.encode(text).ids for text in TEXTS]
    assert tokenizer.encode("the xin ab", max_length=4).ids == [0, IDS["the"], IDS["xin"], 2]
    mask = tokenizer.mask_token_id
    assert mask not in tokenizer.encode("the <mask>").ids
    assert tokenizer.encode("the <mask>", allow_special=("<mask>",)).ids[2] == mask
    assert tokenizer.decode(tokenizer.encode("the abab xin").ids) == "the abab xin"


def test_it_comes_back_from_its_files_and_its_config(folder, tmp_path):
    tokenizer = Tokenizer.from_folder(folder(model_max_length=256))
    tokenizer.save(tmp_path / "saved")
    (tmp_path / "saved/config.json").write_bytes((tmp_path / "config.json").read_bytes())
    for again in (
        Tokenizer.from_folder(tmp_path / "saved"),
        Tokenizer.from_config(json.loads(json.dumps(tokenizer.get_config()))),
    ):
        assert type(again) is FastBpeTokenizer
        assert [again.encode(t).ids for t in TEXTS] == [tokenizer.encode(t).ids for t in TEXTS]
        assert again.model_max_length == 256


def test_these_files_are_read_before_a_tokenizer_json(folder):
    there = folder()
    (there / "tokenizer.json").write_text("{}")
    assert type(Tokenizer.from_folder(there)) is FastBpeTokenizer


def test_what_it_does_not_do_is_refused(folder):
    with pytest.raises(ConfigError, match="normalization is True"):
        Tokenizer.from_folder(folder("BertweetTokenizer", normalization=True))
    there = folder(normalization=False)
    (there / "vocab.txt").write_text("the\n")
    with pytest.raises(CheckpointError, match=r"line 1 of vocab\.txt isn't a token and a count"):
        Tokenizer.from_folder(there)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["PhobertTokenizer", "BertweetTokenizer"])
def test_ids_are_those_of_transformers(kind, folder):
    transformers = pytest.importorskip("transformers", minversion="5")
    there = folder(kind, tokenizer_class=kind, additional_special_tokens=["<x>"])
    theirs = getattr(transformers, kind).from_pretrained(there)
    ours = Tokenizer.from_folder(there)
    for text in [*TEXTS, "the <x> ab"]:
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"], text
    assert ours.encode("the", "ab").ids == theirs("the", "ab")["input_ids"]
    assert ours.vocabulary_size == len(theirs)
