"""Laws of windows: nothing is lost, nothing is torn, and the offsets are those of the text."""

import json

import pytest

from inarch.errors import InputError
from inarch.preprocessors.windows import encode_windows, windows
from inarch.tasks import TextPreprocessor
from inarch.text import Tokenizer, WordPieceTokenizer

from ..tasks.conftest import VOCABULARY

# Accents composed and not, CJK, emoji of several characters, right-to-left, controls.
NASTY = [
    "the cat sat on the mat.",
    "caf\u00e9 cafe\u0301 na\u00efve \u0130stanbul \u1e9e",
    "東京都は日本の首都です。 the 猫 sat",
    "a \U0001f468\u200d\U0001f469\u200d\U0001f467 b \u2764\ufe0f c \U0001f1e9\U0001f1ea",
    "\u05e9\u05dc\u05d5\u05dd the \u202ecat\u202c \u0645\u0631\u062d\u0628\u0627",
    "bad\u0000film\u200b was\u00ad not\ttoo\r\nvery  good",
    "",
]
WORDS = WordPieceTokenizer([*VOCABULARY, "é", "東", "京", "猫", "❤"])


def byte_level():
    """A tokenizer whose tokens are bytes, of which several make a character."""
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*special, *letters])}
    rust = Rust(models.BPE(vocabulary, [], unk_token="<unk>"))
    rust.add_special_tokens(special)
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Tokenizer(
        rust.to_str(),
        config={**names, "mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"},
    )


TOKENIZERS = {"words": WORDS, "bytes": byte_level()}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


def of_the_library(tokenizer, texts, length, stride, only=None):
    """Ids and offsets of the windows that the tokenizers library cuts by itself."""
    from tokenizers import Tokenizer as Rust

    rust = Rust.from_str(json.dumps(json.loads(tokenizer._given_spec)))
    only = only or ("only_second" if isinstance(texts[0], tuple) else "only_first")
    rust.enable_truncation(length, stride=stride, strategy=only)
    encodings = rust.encode_batch(texts)
    return [
        (e.ids, e.type_ids, e.offsets) for first in encodings for e in (first, *first.overflowing)
    ]


def rows(found):
    return [(w.ids, w.segment_ids, w.offsets) for w in found]


@pytest.mark.parametrize(("length", "stride"), [(6, 0), (6, 1), (7, 4), (9, 3), (200, 5)])
def test_windows_are_those_of_the_tokenizers_library(tokenizer, length, stride):
    found = windows(tokenizer.encode_batch(NASTY), length, stride)
    assert rows(found) == of_the_library(tokenizer, NASTY, length, stride)


@pytest.mark.parametrize(("length", "stride"), [(12, 0), (13, 3), (200, 5)])
def test_of_a_pair_the_first_text_is_whole_in_every_window(tokenizer, length, stride):
    pairs = [("a cat", text) for text in NASTY]
    found = windows(tokenizer.encode_batch(pairs), length, stride)
    assert rows(found) == of_the_library(tokenizer, pairs, length, stride)
    for window in found:
        spans = [o for o, s in zip(window.offsets, window.sequence_ids, strict=True) if s == 0]
        assert (spans[0][0], spans[-1][1]) == (0, 5)


@pytest.mark.parametrize(("length", "stride"), [(12, 0), (13, 3), (200, 5)])
def test_either_text_of_a_pair_can_be_cut(tokenizer, length, stride):
    pairs = [(text, "a cat") for text in NASTY]
    found = windows(tokenizer.encode_batch(pairs), length, stride, cut=0, first_index=3)
    assert rows(found) == of_the_library(tokenizer, pairs, length, stride, "only_first")
    assert {w.index for w in found} == {*range(3, 3 + len(NASTY))}


@pytest.mark.parametrize("stride", [None, 0, 2])
def test_every_token_of_a_text_is_in_a_window_and_its_neighbours_share_the_stride(
    tokenizer, stride
):
    encodings = tokenizer.encode_batch(NASTY)
    found = windows(encodings, 8, stride)
    for index, encoding in enumerate(encodings):
        of_text = [w for w in found if w.index == index]
        assert all(len(w) <= 8 for w in of_text)
        assert {p for w in of_text for p in w.positions} == set(range(len(encoding)))
        assert [w.is_first for w in of_text] == [i == 0 for i in range(len(of_text))]
        assert [w.is_last for w in of_text][::-1] == [i == 0 for i in range(len(of_text))]
        for window in of_text:
            for name in ("ids", "segment_ids", "sequence_ids", "offsets", "word_ids"):
                whole = getattr(encoding, name)
                assert getattr(window, name) == [whole[p] for p in window.positions]
        for one, two in zip(of_text, of_text[1:], strict=False):
            text = [{p for p in w.positions if encoding.sequence_ids[p] == 0} for w in (one, two)]
            assert len(text[0] & text[1]) == (3 if stride is None else stride)


def test_offsets_are_of_the_text_as_given_where_it_is_lower_cased():
    texts = ["\u0130stanbul the \u0130 CAT", ("THE \u0130\u0130 cat", "\u0130\u0130 THE Dog")]
    found = encode_windows(TextPreprocessor(WORDS, 64, lowercase=True), texts)
    spelled = [
        [
            (text if isinstance(text, str) else text[s])[slice(*o)]
            for o, s in zip(w.offsets, w.sequence_ids, strict=True) if s is not None
        ]
        for w, text in zip(found, texts, strict=True)
    ]  # fmt: skip
    assert spelled[0][-3:] == ["the", "\u0130", "CAT"]
    assert spelled[1][0] == "THE"
    assert spelled[1][-2:] == ["THE", "Dog"]


def test_a_stride_that_leaves_nothing_new_is_refused():
    encodings = WORDS.encode_batch(["a", "a cat sat on the mat"])
    with pytest.raises(InputError, match=r"text 1 is longer than sequence_length=6.* leave 4 .*"):
        windows(encodings, 6, 4)
    assert len(windows(encodings, 6, 3)) == 4
    for stride in (-1, 1.5, True):
        with pytest.raises(InputError, match="stride is"):
            windows(encodings, 6, stride)


def test_special_tokens_and_another_text_that_fill_a_window_are_refused():
    with pytest.raises(InputError, match="the special tokens leave 0 for a window of it"):
        windows(WORDS.encode_batch(["the cat sat"]), 2)
    with pytest.raises(InputError, match="the special tokens and the other text leave 0"):
        windows(WORDS.encode_batch([("the cat sat on", "a mat")]), 7)
