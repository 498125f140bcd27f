"""The laws of every tokenizer, on one made of a small vocabulary."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import InputError, InputTypeError
from inarch.text import Tokenizer, WordPieceTokenizer
from inarch.text.encoding import Encoding
from inarch.text.long_pairs import TruncatedPair

LETTERS = "abcxyzABCéüñ0123 []().,!?-'\"\t中文字अक😀\u0301\u200b\u05d0"
texts = st.text(st.one_of(st.sampled_from(LETTERS), st.characters(exclude_categories=["Cs"])))
entries = st.one_of(texts, st.tuples(texts, texts))
quick = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def uncased(vocabulary):
    return WordPieceTokenizer(vocabulary)


@pytest.fixture(scope="module")
def cased(vocabulary):
    return WordPieceTokenizer(vocabulary, lowercase=False)


def visible(text):
    """Return what BERT keeps of a text: no control or format characters, no white space."""
    kept = (c for c in text if unicodedata.category(c)[0] != "C" and c != "\ufffd")
    return "".join("".join(kept).split())


def test_a_text_is_wrapped_in_the_special_tokens(uncased):
    encoding = uncased.encode("The cat sat, unbelievable!")
    assert encoding.tokens == (
        ["[CLS]", "the", "cat", "sat", ",", "un", "##believ", "##able", "!", "[SEP]"]
    )
    assert encoding.ids == [uncased.token_to_id(token) for token in encoding.tokens]
    assert encoding.special_tokens_mask == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert encoding.word_ids == [None, 0, 1, 2, 3, 4, 4, 4, 5, None]
    assert encoding.offsets[5:8] == [(13, 15), (15, 21), (21, 25)]
    assert len(encoding) == 10


def test_a_pair_has_two_segments(uncased):
    encoding = uncased("the cat", "sat")
    assert encoding.tokens == ["[CLS]", "the", "cat", "[SEP]", "sat", "[SEP]"]
    assert encoding.segment_ids == [0, 0, 0, 0, 1, 1]
    assert encoding.sequence_ids == [None, 0, 0, None, 1, None]


def test_special_tokens_can_be_left_out(uncased):
    assert uncased.encode("the cat", add_special_tokens=False).tokens == ["the", "cat"]


def test_an_empty_text_is_the_special_tokens_alone(uncased):
    assert uncased.encode("").tokens == ["[CLS]", "[SEP]"]
    assert uncased.encode("", "").tokens == ["[CLS]", "[SEP]", "[SEP]"]
    assert uncased.encode_batch([]) == []


def test_a_special_token_in_a_text_is_ordinary_text(uncased):
    encoding = uncased.encode("the [SEP] cat [MASK]", "[CLS]")
    assert encoding.tokens[2:5] == ["[", "sep", "]"]
    inner = [
        token
        for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        if not special
    ]
    assert not uncased.special_ids.intersection(inner) - {uncased.unk_token_id}


def test_only_the_allowed_special_tokens_count(uncased):
    encoding = uncased.encode("the [SEP] [MASK] cat", allow_special=("[MASK]",))
    assert encoding.tokens[2:6] == ["[", "sep", "]", "[MASK]"]
    everything = uncased.encode("the [SEP] [MASK] cat", allow_special="all")
    assert everything.tokens == ["[CLS]", "the", "[SEP]", "[MASK]", "cat", "[SEP]"]


def test_a_token_allowed_for_one_call_is_not_allowed_for_the_next(uncased):
    assert "[MASK]" in uncased.encode("[MASK]", allow_special=("[MASK]",)).tokens
    assert "[MASK]" not in uncased.encode("[MASK]").tokens


@pytest.mark.parametrize("wrong", ["[MASK]", ("[NONE]",), ("the",)])
def test_an_unknown_special_token_is_refused(uncased, wrong):
    with pytest.raises(InputError, match="allow_special"):
        uncased.encode("the cat", allow_special=wrong)


@quick
@given(text=texts)
def test_offsets_slice_back_to_the_source_of_a_token(cased, text):
    encoding = cased.encode(text)
    for token, (start, end), special in zip(
        encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True
    ):
        if not special and token != "[UNK]":
            assert visible(text[start:end]) == token.removeprefix("##")


@quick
@given(text=texts)
def test_tokens_cover_a_text_from_left_to_right(uncased, text):
    encoding = uncased.encode(text, add_special_tokens=False)
    ends = [0] + [end for _, end in encoding.offsets]
    assert all(start >= before for before, (start, _) in zip(ends, encoding.offsets, strict=False))
    assert ends[-1] <= len(text)


@quick
@given(entry=entries, max_length=st.integers(3, 12))
def test_truncation_keeps_to_max_length_and_keeps_the_special_tokens(uncased, entry, max_length):
    pair = entry if isinstance(entry, tuple) else (entry, None)
    whole = uncased.encode(*pair)
    cut = uncased.encode(*pair, max_length=max_length)
    assert len(cut) == min(len(whole), max_length)
    assert sum(cut.special_tokens_mask) == sum(whole.special_tokens_mask)
    assert cut.tokens[0] == "[CLS]"
    assert cut.tokens[-1] == "[SEP]"


def test_the_longer_text_of_a_pair_is_cut_first(uncased):
    encoding = uncased.encode("the cat", "a b c d e f g h", max_length=8)
    assert encoding.tokens == ["[CLS]", "the", "cat", "[SEP]", "a", "b", "c", "[SEP]"]


@quick
@given(
    lengths=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    max_length=st.integers(3, 20),
    side=st.sampled_from(["left", "right"]),
)
def test_long_pairs_are_truncated_as_the_library_does_it(uncased, lengths, max_length, side):
    words = ["the", "cat", "sat", "on", "unbelievable", "mat"]
    pair = tuple(" ".join(words[:n]) for n in lengths)
    spec = uncased.files["tokenizer.json"].decode()
    backend = Tokenizer(spec, config={"truncation_side": side})._backend
    library = Encoding(backend.get((), max_length).encode(*pair))
    ours = Encoding(TruncatedPair(backend.get(()).encode(*pair), max_length, side))
    assert ours == library
    assert ours.special_tokens_mask == library.special_tokens_mask


def test_a_pair_of_two_long_texts_keeps_none_of_what_is_cut_off(uncased):
    long = "the cat " * 20_000  # of which the library would keep billions of combinations
    entries = ["a cat", (long, long), ("the", "cat"), (long, "a")]
    found = uncased.encode_batch(entries, max_length=8)
    assert [x.tokens for x in found] == [
        ["[CLS]", "a", "cat", "[SEP]"],
        ["[CLS]", "the", "cat", "[SEP]", "the", "cat", "the", "[SEP]"],
        ["[CLS]", "the", "[SEP]", "cat", "[SEP]"],
        ["[CLS]", "the", "cat", "the", "cat", "[SEP]", "a", "[SEP]"],
    ]


def test_a_truncated_call_leaves_the_next_one_whole(uncased):
    assert len(uncased.encode("a b c d e f", max_length=4)) == 4
    assert len(uncased.encode("a b c d e f")) == 8


@pytest.mark.parametrize("max_length", [0, -1, 1.5, True, "8"])
def test_a_max_length_that_is_no_length_is_refused(uncased, max_length):
    with pytest.raises(InputError, match="max_length"):
        uncased.encode("the", max_length=max_length)


@pytest.mark.parametrize("max_length", [10**30, int(1e30), 2**64, 2**32])
def test_a_max_length_that_no_text_has_is_no_limit(uncased, max_length):
    assert uncased.encode("the cat", max_length=max_length) == uncased.encode("the cat")
    (one,) = uncased.encode_batch([("the", "cat")], max_length=max_length)
    assert one == uncased.encode("the", "cat")


def test_a_max_length_without_room_for_the_special_tokens_is_refused(uncased):
    assert uncased.encode("the cat", max_length=2).tokens == ["[CLS]", "[SEP]"]
    with pytest.raises(InputError, match="3 special tokens of a pair"):
        uncased.encode_batch(["the", ("the", "cat")], max_length=2)
    assert len(uncased.encode("the cat", max_length=1, add_special_tokens=False)) == 1


@quick
@given(batch=st.lists(entries, max_size=8), max_length=st.sampled_from([None, 3, 7]))
def test_a_batch_equals_its_texts_one_by_one_in_order(uncased, batch, max_length):
    together = uncased.encode_batch(batch, max_length=max_length)
    alone = [
        uncased.encode(*((x,) if isinstance(x, str) else x), max_length=max_length) for x in batch
    ]
    assert together == alone


def test_threads_with_different_settings_do_not_disturb_each_other(uncased):
    text = "the [SEP] [MASK] cat sat, unbelievable " * 3
    cases = [
        {"max_length": length, "allow_special": allowed}
        for length in (None, 3, 5, 8, 13)
        for allowed in ((), ("[MASK]",), "all")
    ]
    expected = [uncased.encode(text, **case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda case: uncased.encode(text, **case), cases * 10))
    assert results == expected * 10


@pytest.mark.parametrize("wrong", [None, 5, b"the", 1.5, ["the"]])
def test_what_is_not_a_string_is_refused_with_its_type(uncased, wrong):
    with pytest.raises(InputTypeError, match=f"text is of type {type(wrong).__name__}"):
        uncased.encode(wrong)


def test_a_wrong_text_in_a_batch_is_named_by_its_index(uncased):
    with pytest.raises(InputTypeError, match=r"texts\[2\] is of type int"):
        uncased.encode_batch(["a", "b", 3])
    with pytest.raises(InputTypeError, match=r"texts\[1\]\[1\] is of type NoneType"):
        uncased.encode_batch(["a", ("b", None)])
    with pytest.raises(InputError, match=r"texts\[0\] has 3 parts"):
        uncased.encode_batch([("a", "b", "c")])
    with pytest.raises(InputTypeError, match="give a list"):
        uncased.encode_batch("the cat")


def test_a_lone_surrogate_is_refused_with_its_place(uncased):
    with pytest.raises(InputError, match=r"texts\[1\].*U\+D83D, at character 3.*replace"):
        uncased.encode_batch(["fine 😀", "ab \ud83d"])


@pytest.mark.parametrize("text", ["a\x00b", "😀" * 50, "\u202eabc", "\ufeff", "\u200d\u200b", "é"])
def test_odd_characters_are_fine(uncased, text):
    assert uncased.encode(text).tokens[-1] == "[SEP]"


@pytest.mark.parametrize("unit", ["a", "the cat ", "😀中é\u0301", "\x00", "[SEP]"])
def test_a_very_long_text_is_encoded_fast(uncased, unit):
    text = (unit * 100_000)[:100_000]
    start = time.perf_counter()
    assert len(uncased.encode(text, max_length=64)) <= 64
    assert time.perf_counter() - start < 5


def test_decode_gives_the_text_without_special_tokens(uncased):
    ids = uncased.encode("The cat sat, unbelievable!").ids
    assert uncased.decode(ids) == "the cat sat, unbelievable!"
    assert uncased.decode(ids, skip_special_tokens=False).startswith("[CLS] the")
    assert uncased.decode_batch(np.array([ids, ids], "int32"))[1] == uncased.decode(np.array(ids))
    assert uncased.decode([]) == ""


def test_ids_outside_the_vocabulary_are_refused(uncased):
    for wrong in (-1, uncased.vocabulary_size):
        with pytest.raises(InputError, match=rf"ids\[1\] is {wrong}"):
            uncased.decode([0, wrong])
    with pytest.raises(InputTypeError, match=r"ids\[0\] is of type list"):
        uncased.decode([[1, 2]])
    with pytest.raises(InputTypeError, match=r"ids\[0\] is of type float"):
        uncased.decode([1.0])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda t: t.encode("the", allow_special=None), "allow_special is None"),
        (lambda t: t.encode("the", allow_special=3), "allow_special is 3"),
        (lambda t: t.encode_batch(None), "texts is None"),
        (lambda t: t.encode_batch(3), "texts is 3"),
        (lambda t: t.encode_batch({"the": 1}), r"texts is \{'the': 1\}"),
        (lambda t: t.decode(None), "value None"),
        (lambda t: t.decode(3), "value 3"),
        (lambda t: t.decode_batch(None), "rows is None"),
        (lambda t: t.token_to_id(["the"]), r"token is \['the'\]"),
        (lambda t: t.token_to_id(None), "token is None"),
        (lambda t: t.save(None), "folder is None"),
        (lambda t: Tokenizer.from_folder(3), "folder is 3"),
        (lambda t: WordPieceTokenizer(None), "vocabulary is None"),
        (lambda t: WordPieceTokenizer(3), "vocabulary is 3"),
    ],
)
def test_an_argument_of_another_kind_is_refused_with_its_value(uncased, call, named):
    with pytest.raises(InputTypeError, match=named):
        call(uncased)
    with pytest.raises(InputError, match=r"allow_special has \['the'\]"):
        uncased.encode("the", allow_special=[["the"]])


def test_the_vocabulary_is_listed_by_id(uncased, vocabulary):
    assert uncased.get_vocabulary() == vocabulary
    assert uncased.vocabulary_size == len(vocabulary)
    assert [uncased.token_to_id(token) for token in vocabulary] == list(range(len(vocabulary)))
    assert uncased.id_to_token(4) == "[SEP]"
    assert uncased.ids_to_tokens(np.array([4, 0])) == ["[SEP]", "[PAD]"]
    with pytest.raises(InputError, match=r"ids\[1\] is -1"):
        uncased.ids_to_tokens([4, -1])
    with pytest.raises(InputError, match="zebra"):
        uncased.token_to_id("zebra")


def test_special_tokens_are_known_by_role(uncased):
    assert (uncased.cls_token, uncased.cls_token_id) == ("[CLS]", 3)
    assert (uncased.pad_token, uncased.pad_token_id) == ("[PAD]", 0)
    assert (uncased.bos_token, uncased.bos_token_id) == (None, None)
    assert uncased.special_tokens["mask_token"] == "[MASK]"
    assert uncased.special_ids == {0, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "copied",
    [
        lambda t: pickle.loads(pickle.dumps(t)),
        copy.deepcopy,
        lambda t: type(t).from_config(json.loads(json.dumps(t.get_config()))),
        lambda t: Tokenizer.from_config(t.get_config()),
    ],
    ids=["pickle", "deepcopy", "json config", "config of the base class"],
)
def test_a_copy_encodes_the_same(uncased, copied):
    uncased.encode("the", max_length=3)
    other = copied(uncased)
    text = "The cat [MASK] unbelievable 中文"
    for settings_ in ({}, {"max_length": 5}, {"allow_special": ("[MASK]",)}):
        assert other.encode(text, **settings_) == uncased.encode(text, **settings_)
    assert other.files == uncased.files
    assert other.special_tokens == uncased.special_tokens


def test_an_encoding_travels_to_another_process(uncased):
    encoding = uncased.encode("the cat")
    assert pickle.loads(pickle.dumps(encoding)) == encoding


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_after_a_batch_is_silent_and_works(vocabulary):
    program = f"""
import os
from inarch.text import WordPieceTokenizer
tokenizer = WordPieceTokenizer({vocabulary!r})
expected = tokenizer.encode_batch(["the cat"] * 100)
child = os.fork()
same = tokenizer.encode_batch(["the cat"] * 100) == expected
if child == 0:
    os._exit(0 if same else 3)
assert same and os.waitpid(child, 0)[1] == 0
assert "TOKENIZERS_PARALLELISM" not in os.environ
"""
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_room_imports_no_heavy_library():
    program = (
        "import sys, inarch.text\n"
        "print([m for m in ('tokenizers', 'keras', 'numpy', 'transformers') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == "[]", done.stderr
