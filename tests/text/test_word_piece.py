"""BERT's tokenizer, from a vocab.txt and from a vocabulary in memory."""

import json
import re
import warnings

import pytest

from inarch.errors import (
    CheckpointError,
    CheckpointFileError,
    ConfigError,
    InputError,
    InputTypeError,
)
from inarch.text import Tokenizer, WordPieceTokenizer
from inarch.text.families import families
from inarch.text.special_tokens import BERT_TOKENS
from inarch.text.word_piece_json import WordPieceFamily, word_piece_json


def tokens(tokenizer, text, **settings):
    return tokenizer.encode(text, add_special_tokens=False, **settings).tokens


def test_a_vocabulary_file_alone_makes_an_uncased_bert_tokenizer(bert_folder):
    tokenizer = Tokenizer.from_folder(bert_folder())
    assert tokenizer.encode("Hello Wörld").tokens == ["[CLS]", "hello", "world", "[SEP]"]
    assert tokenizer.decode(tokenizer.encode("hello cats").ids) == "hello cats"


def test_the_config_decides_case_accents_and_cjk(bert_folder):
    cased = Tokenizer.from_folder(bert_folder(name="a", do_lower_case=False))
    assert tokens(cased, "Aé") == ["A", "##é"]
    accents = Tokenizer.from_folder(bert_folder(name="b", strip_accents=False))
    assert tokens(accents, "Aé") == ["a", "##é"]
    together = Tokenizer.from_folder(bert_folder(name="c", tokenize_chinese_chars=False))
    assert tokens(together, "中文") == ["中", "##文"]
    assert tokens(Tokenizer.from_folder(bert_folder(name="d")), "中文") == ["中", "文"]


CONFIG_FILES = ("tokenizer_config.json", "config.json")
OF_BERT = [{}, {"tokenizer_class": None}, {"model_type": "electra"}, {"hidden_size": 8}]
OF_BERT += [
    {"tokenizer_class": f"{family.tokenizer_class}Fast"}
    for family in families()
    if isinstance(family, WordPieceFamily) and family.special_tokens == BERT_TOKENS
]
OF_OTHERS = [
    ({"tokenizer_class": "BertJapaneseTokenizer", "model_type": "bert"}, "BertJapaneseTokenizer"),
    ({"tokenizer_class": "CanineTokenizer"}, "CanineTokenizer"),
    ({"tokenizer_class": "BertweetTokenizer"}, "BertweetTokenizer"),
    ({"tokenizer_class": "ProphetNetTokenizerFast"}, "ProphetNetTokenizer"),
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, "PreTrainedTokenizerFast"),
]
# Of some kinds of model the class is known.
OF_OTHER_MODELS = [
    ("roberta", "RobertaTokenizer"),
    ("deberta", "DebertaTokenizer"),
    ("prophetnet", "prophetnet"),
]


@pytest.mark.parametrize("file", CONFIG_FILES)
@pytest.mark.parametrize("config", OF_BERT)
def test_the_kinds_that_are_berts_under_another_name_read_text_as_bert(bert_folder, file, config):
    folder = bert_folder()
    (folder / file).write_text(json.dumps(config))
    assert tokens(Tokenizer.from_folder(folder), "Hello Wörld") == ["hello", "world"]


@pytest.mark.parametrize(
    ("file", "config", "kind"),
    [(file, *other) for file in CONFIG_FILES for other in OF_OTHERS]
    + [("config.json", {"model_type": model}, kind) for model, kind in OF_OTHER_MODELS],
)
def test_a_vocabulary_of_another_kind_of_tokenizer_is_refused_by_name(
    bert_folder, file, config, kind
):
    folder = bert_folder()
    (folder / file).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=rf"vocab\.txt.*'{kind}'.*save_pretrained"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("word_tokenizer_type", "mecab"), ("subword_tokenizer_type", "character")],
)
def test_another_way_to_split_words_is_refused_by_name(bert_folder, field, value):
    usual = bert_folder(word_tokenizer_type="basic", subword_tokenizer_type="wordpiece")
    assert tokens(Tokenizer.from_folder(usual), "cat") == ["cat"]
    with pytest.raises(ConfigError, match=f"{field}={value}"):
        Tokenizer.from_folder(bert_folder(name="other", **{field: value}))


def test_the_tokenizers_own_config_wins_over_the_models(bert_folder):
    folder = bert_folder(tokenizer_class="BertTokenizer")
    (folder / "config.json").write_text('{"model_type": "mpnet", "tokenizer_class": "Other"}')
    assert tokens(Tokenizer.from_folder(folder), "cat") == ["cat"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_either_line_end_gives_the_same_ids(bert_folder, vocabulary, end):
    tokenizer = Tokenizer.from_folder(bert_folder(end=end))
    assert tokenizer.get_vocabulary() == vocabulary


def test_a_last_line_without_an_end_counts(bert_folder, vocabulary):
    folder = bert_folder()
    path = folder / "vocab.txt"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert Tokenizer.from_folder(folder).get_vocabulary() == vocabulary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [], "empty"),
        (lambda v: ["", ""], "line 1 of vocab.txt is ''"),
        (lambda v: ["\ufeff[PAD]", *v[1:]], "byte order mark"),
    ],
)
def test_a_wrong_vocabulary_is_an_error(bert_folder, vocabulary, change, message):
    folder = bert_folder(vocabulary=change(vocabulary))
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize("blank", ["", " "])
def test_of_a_repeated_token_the_last_line_counts_and_a_blank_line_is_skipped(
    blank, bert_folder, vocabulary
):
    folder = bert_folder(vocabulary=[*vocabulary[:8], blank, *vocabulary[8:], "the", "new"])
    with pytest.warns(UserWarning, match="'the' in line 7, '' in line 9"):
        tokenizer = Tokenizer.from_folder(folder)
    last = len(vocabulary) + 1
    assert [tokenizer.token_to_id(t) for t in ("the", "new", "cat")] == [last, last + 1, 7]
    assert tokenizer.encode("the sat", add_special_tokens=False).ids == [last, 9]
    assert tokenizer.decode([last, 9]) == "the sat"


@pytest.mark.parametrize("missing", ["[UNK]", "[CLS]", "[SEP]"])
def test_a_special_token_outside_the_vocabulary_comes_after_it_with_a_warning(
    missing, bert_folder, vocabulary
):
    left = [token for token in vocabulary if token != missing]
    with pytest.warns(UserWarning, match=re.escape(f"has no '{missing}'")):
        tokenizer = Tokenizer.from_folder(bert_folder(vocabulary=left))
    assert tokenizer.token_to_id(missing) == len(left)
    encoding = tokenizer.encode("the \u0416")
    assert encoding.tokens == ["[CLS]", "the", "[UNK]", "[SEP]"]


def test_special_tokens_take_the_names_that_the_files_give(bert_folder, vocabulary):
    renamed = [token.replace("[CLS]", "<s>").replace("[MASK]", "<mask>") for token in vocabulary]
    folder = bert_folder(vocabulary=renamed, cls_token={"content": "<s>"}, mask_token="[nothing]")
    special = {"mask_token": {"content": "<mask>", "lstrip": True}}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.cls_token, tokenizer.cls_token_id) == ("<s>", 3)
    assert tokenizer.mask_token == "<mask>"
    encoding = tokenizer.encode("the <mask>", allow_special=("<mask>",))
    assert encoding.ids == [tokenizer.token_to_id(t) for t in ("<s>", "the", "<mask>", "[SEP]")]
    assert encoding.offsets[2] == (3, 10)


def test_a_token_the_vocabulary_lacks_has_no_role(bert_folder, vocabulary):
    folder = bert_folder(vocabulary=[t for t in vocabulary if t != "[MASK]"])
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == (None, None)
    assert tokenizer.vocabulary_size == len(vocabulary) - 1


def test_added_tokens_follow_the_vocabulary(bert_folder, vocabulary):
    folder = bert_folder()
    added = {"newword": len(vocabulary), "<x>": len(vocabulary) + 1}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    (folder / "special_tokens_map.json").write_text('{"additional_special_tokens": ["<x>"]}')
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.vocabulary_size == len(vocabulary) + 2
    assert tokens(tokenizer, "newword cat") == ["newword", "cat"]
    assert tokens(tokenizer, "<x>") == ["<", "x", ">"]
    assert tokens(tokenizer, "<x>", allow_special=("<x>",)) == ["<x>"]
    assert tokenizer.token_to_id("<x>") in tokenizer.special_ids


def test_a_vocabulary_may_be_a_list_a_mapping_or_a_file(bert_folder, vocabulary):
    mapping = dict(reversed([(token, index) for index, token in enumerate(vocabulary)]))
    path = bert_folder() / "vocab.txt"
    expected = WordPieceTokenizer(vocabulary).encode("The unbelievable cat")
    for given in (tuple(vocabulary), mapping, path, str(path)):
        assert WordPieceTokenizer(given).encode("The unbelievable cat") == expected


def test_another_suffix_indicator_is_kept_through_save_and_load(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "@@able"]
    tokenizer = WordPieceTokenizer(vocabulary, suffix_indicator="@@")
    assert tokens(tokenizer, "unable") == ["un", "@@able"]
    assert tokenizer.decode([5, 6]) == "unable"
    tokenizer.save(tmp_path)
    assert tokens(Tokenizer.from_folder(tmp_path), "unable") == ["un", "@@able"]


def test_a_tokenizer_without_special_tokens_adds_none():
    tokenizer = WordPieceTokenizer(
        ["[UNK]", "a"], cls_token=None, sep_token=None, pad_token=None, mask_token=None
    )
    assert tokenizer.encode("a b", "a").tokens == ["a", "[UNK]", "a"]
    assert tokenizer.encode("a b", "a").segment_ids == [0, 0, 1]
    assert tokenizer.special_tokens == {"unk_token": "[UNK]"}


def test_a_saved_tokenizer_loads_the_same(tmp_path, vocabulary):
    tokenizer = WordPieceTokenizer(vocabulary, lowercase=False, split_on_cjk=False)
    tokenizer.save(tmp_path)
    names = {"tokenizer.json", "vocab.txt", "tokenizer_config.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    text = "The cAt 中文 é [SEP]"
    for loaded in (Tokenizer.from_folder(tmp_path), WordPieceTokenizer.from_folder(tmp_path)):
        assert loaded.encode(text) == tokenizer.encode(text)
    (tmp_path / "tokenizer.json").unlink()
    assert Tokenizer.from_folder(tmp_path).encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("vocabulary", "error", "message"),
    [
        (["[UNK]"], InputError, "cls_token|sep_token"),
        ({"[UNK]": 0, "a": 2}, InputError, "0 to 1, each once"),
        (["[UNK]", 5], InputTypeError, r"vocabulary\[1\] is of type int"),
        (["[UNK]", "a "], InputError, r"vocabulary\[1\]"),
        (["[UNK]", "a\nb"], InputError, r"vocabulary\[1\]"),
        (["[UNK]", "a", "a"], CheckpointError, r"vocabulary\[2\] repeats"),
        (["[UNK]", ""], CheckpointError, r"vocabulary\[1\]"),
        ("/nowhere/vocab.txt", CheckpointFileError, "nowhere"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(vocabulary, error, message):
    with pytest.raises(error, match=message):
        WordPieceTokenizer(vocabulary)


@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.json", "vocab.txt"])
def test_an_unknown_token_without_an_id_is_warned_of_once_in_every_format(file, tmp_path):
    ids = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "<s>": 4, "</s>": 5, "<pad>": 6}
    if file == "vocab.txt":
        (tmp_path / file).write_text("".join(f"{token}\n" for token in ids))
    elif file == "vocab.json":
        (tmp_path / file).write_text(json.dumps(ids | {"<mask>": 7}))
        (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    else:
        (tmp_path / file).write_text(json.dumps(word_piece_json(list(ids), {})))
    kind = "RobertaTokenizer" if file == "vocab.json" else "BertTokenizer"
    config = {"tokenizer_class": kind, "unk_token": "[XYZ]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Tokenizer.from_folder(tmp_path)
    messages = [
        str(w.message) for w in caught if "no '[XYZ]', which is the unk_token" in str(w.message)
    ]
    assert len(messages) == 1
