"""SentencePiece models: their files, their ids, and what model families make of them."""

import contextlib
import json

import numpy as np
import pytest

from inarch.errors import CheckpointError, CheckpointFileError, ConfigError, InputError
from inarch.text import SentencePieceTokenizer, Tokenizer
from inarch.text.charsmap import CharacterRules, Charsmap, Replaced
from inarch.text.discovery import has_tokenizer
from inarch.text.sentence_piece import sentence_piece_json
from inarch.text.sentence_piece_model import read_model
from inarch.text.sentencepiece_families import ALBERT

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
LETTERS = "abcdehlorstwCLSEPMAK[]<>/.,"
HEAD = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)]
WORDS = ["▁", "▁hello", "▁wor", "ld", "▁cat", "ca", "ts"]
TAIL = [(word, -2 - i / 8, NORMAL) for i, word in enumerate(WORDS)]
TAIL += [(letter, -6 - i / 16, NORMAL) for i, letter in enumerate(LETTERS)]
PIECES = [*HEAD, *TAIL]
BERT = [("<pad>", 0, CONTROL), ("<unk>", 0, UNKNOWN)]
BERT += [(token, 0, CONTROL) for token in ("[CLS]", "[SEP]", "[MASK]")]
DEBERTA = [("[PAD]", 0, CONTROL), ("[CLS]", 0, CONTROL), ("[SEP]", 0, CONTROL)]
DEBERTA += [("[UNK]", 0, UNKNOWN)]
BPE = ((3, 2),)


def tokens(proto, text, **how):
    return named(SentencePieceTokenizer(proto), text, **how)


def named(tokenizer, text, *pair, **how):
    """The tokens of the ids; the library gives unknown text in place of its token."""
    return [tokenizer.id_to_token(index) for index in tokenizer.encode(text, *pair, **how).ids]


def test_the_best_pieces_are_found(sentence_piece):
    proto = sentence_piece(PIECES)
    assert tokens(proto, "hello  world ") == ["▁hello", "▁wor", "ld"]
    encoding = SentencePieceTokenizer(proto).encode("hello  world")
    assert encoding.offsets == [(0, 5), (6, 10), (10, 12)]
    assert encoding.ids == [4, 5, 6]


def test_bpe_merges_the_highest_score_first(sentence_piece):
    pieces = [("ab", -1, NORMAL), ("bc", 0, NORMAL), ("abc", -2, NORMAL)]
    pieces += [(letter, -9, NORMAL) for letter in "▁abc"]
    proto = sentence_piece([*HEAD, *pieces], trainer=BPE)
    assert tokens(proto, "abc") == ["▁", "abc"]
    assert tokens(proto, "abcab") == ["▁", "abc", "ab"]
    assert tokens(proto, "abbc") == ["▁", "ab", "bc"]


def test_control_pieces_never_match_text(sentence_piece):
    for trainer in (((3, 1),), BPE):
        found = SentencePieceTokenizer(sentence_piece(PIECES, trainer=trainer))
        assert found.encode("a<s>c</s>").tokens == [
            "▁",
            "a",
            "<",
            "s",
            ">",
            "c",
            "<",
            "/",
            "s",
            ">",
        ]
        assert found.encode("a<s>", allow_special=("<s>",)).tokens == ["▁", "a", "<s>"]


@pytest.mark.parametrize("trainer", [((3, 1),), BPE])
def test_symbols_of_the_user_match_text(sentence_piece, trainer):
    pieces = [*HEAD, ("<sep>", 0, USER), ("sts", 0, USER), *TAIL]
    found = SentencePieceTokenizer(sentence_piece(pieces, trainer=trainer))
    assert found.encode("<sep>").tokens == ["▁", "<sep>"]
    assert found.encode("r<sep> <s>").tokens == ["▁", "r", "<sep>", "▁", "<", "s", ">"]
    assert "sts" in found.encode("catstsa").tokens


def test_what_has_no_piece_is_one_unknown_token_or_bytes(sentence_piece):
    assert tokens(sentence_piece(PIECES), "a日本") == ["▁", "a", "<unk>"]
    pieces = [*PIECES, *((f"<0x{byte:02X}>", 0, BYTE) for byte in range(256))]
    for kind in (1, 2):
        proto = sentence_piece(pieces, trainer=((3, kind), (35, 1)))
        assert tokens(proto, "é") == ["▁", "<0xC3>", "<0xA9>"]
        assert "<0x0A>" not in tokens(proto, "<0x0A>")
        found = SentencePieceTokenizer(proto)
        assert found.decode(found.encode("日本 cat").ids) == "日本 cat"


@pytest.mark.parametrize(
    ("trainer", "normalizer", "expected"),
    [
        ((), ((3, 0),), ["ca", "ts", "▁", "a"]),
        ((), ((4, 0),), ["▁", "▁", "ca", "ts", "▁", "▁", "a", "▁"]),
        (((24, 1),), (), ["ca", "ts", "▁", "a", "▁"]),
        (((24, 1),), ((3, 0),), ["ca", "ts", "▁", "a"]),
    ],
)
def test_settings_of_white_space(sentence_piece, trainer, normalizer, expected):
    proto = sentence_piece(PIECES, trainer=((3, 1), *trainer), normalizer=normalizer)
    assert tokens(proto, " cats  a ") == expected


def test_white_space_may_stay_a_space(sentence_piece):
    pieces = [(text.replace("▁", " "), score, kind) for text, score, kind in PIECES]
    proto = sentence_piece(pieces, normalizer=((5, 0),))
    assert tokens(proto, "hello cats") == [" hello", " ", "ca", "ts"]


@pytest.mark.parametrize("text", ["", " ", "  \n"])
def test_an_empty_text_has_no_tokens(sentence_piece, text):
    assert tokens(sentence_piece(PIECES), text.replace("\n", "")) == []


def test_unknown_text_is_decoded_as_the_model_declares(sentence_piece):
    found = SentencePieceTokenizer(sentence_piece(PIECES, trainer=((3, 1), (44, "?!"))))
    assert found.decode(found.encode("日 cat").ids, skip_special_tokens=False) == "?! cat"


def charsmap_of(rules):
    """A table with these rules; the trie has one branch per character, found by first fit."""
    tree = {}
    texts = b""
    for key, value in rules.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += value.encode() + b"\0"
    units = np.zeros(1 << 16, "<u4")
    taken, bases = {0}, set()

    def place(node, at):
        base = next(
            b
            for b in range(256, len(units))
            if b not in bases and not any((b ^ label) in taken for label in node)
        )
        bases.add(base)
        units[at] |= (base ^ at) << 10
        if 0 in node:
            units[at] |= 0x100
        taken.update(base ^ label for label in node)
        for label, child in node.items():
            if label == 0:
                units[base] = 0x80000000 | child
            else:
                units[base ^ label] |= label
                place(child, base ^ label)

    place(tree, 0)
    return (4 * len(units)).to_bytes(4, "little") + units.tobytes() + texts


RULES = {"\t": " ", "①": "1", "A": "a", "ﬁ": "fi", "\u200b": ""}
RULES |= {"e\u0301": "\xe9", "e\u0301\u0323": "\u1ec7"}


def test_the_longest_rule_replaces_and_offsets_stay_those_of_the_text(sentence_piece):
    rules = CharacterRules(Charsmap(charsmap_of(RULES)), ["A!"])
    text = "Ae\u0301\u0323\u0301 A!ﬁ\u200b① be\u0301"
    found = Replaced(text, rules.changes(text))
    assert found.text == "a\u1ec7\u0301 A!fi1 b\xe9"
    assert found.original(0, 1) == (0, 1)
    assert found.original(1, 2) == (1, 4)
    assert [found.original(i, i + 1) for i in (5, 6, 7)] == [(7, 8), (8, 9), (8, 9)]
    pieces = [*PIECES, ("fi", -1, NORMAL), ("é", -3, NORMAL)]
    proto = sentence_piece(pieces, normalizer=((2, charsmap_of(RULES)),))
    encoding = SentencePieceTokenizer(proto).encode("ﬁ\tAe\u0301\u0301", "ﬁA")
    assert [token.replace("\u0301", "<unk>") for token in encoding.tokens] == (
        ["▁", "fi", "▁", "a", "é", "<unk>", "▁", "fi", "a"]
    )
    assert encoding.offsets[3:6] == [(2, 3), (3, 5), (5, 6)]
    assert encoding.offsets[-2:] == [(0, 1), (1, 2)]


def test_a_tokenizer_is_saved_and_loaded(tmp_path, sentence_piece):
    proto = sentence_piece(PIECES, normalizer=((2, charsmap_of(RULES)),))
    found = SentencePieceTokenizer(proto, special_tokens={"bos_token": "<s>"})
    found.save(tmp_path)
    again = SentencePieceTokenizer.from_folder(tmp_path)
    config = SentencePieceTokenizer.from_config(json.loads(json.dumps(found.get_config())))
    for each in (again, config):
        assert each.encode("ﬁA hello ①") == found.encode("ﬁA hello ①")
        assert each.bos_token_id == 1
        assert each.special_tokens == {"bos_token": "<s>", "unk_token": "<unk>"}
    with pytest.raises(InputError, match=r"pad_token '\[PAD\]'"):
        SentencePieceTokenizer(proto, special_tokens={"pad_token": "[PAD]"})
    with pytest.raises(CheckpointFileError, match="nowhere"):
        SentencePieceTokenizer(tmp_path / "nowhere.model")


@pytest.mark.parametrize("cut", [1, 7, 60, -1, -5])
def test_a_truncated_file_is_named(tmp_path, sentence_piece, cut):
    (tmp_path / "spm.model").write_bytes(sentence_piece(PIECES)[:cut])
    with pytest.raises(CheckpointError, match=r"spm\.model"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no pieces"),
        (b"\x80\x02}q\x00(X", "spiece.model"),
        (b"\xff" * 40, "has no end"),
        (b"\x0a\xff\xff\xff\xff\x0f", "is truncated"),
        (b'{"model": 1}', "begins no field"),
    ],
)
def test_a_file_that_is_no_model_is_named(tmp_path, data, reason):
    (tmp_path / "spiece.model").write_bytes(data)
    with pytest.raises(CheckpointError, match=reason) as caught:
        Tokenizer.from_folder(tmp_path)
    assert "spiece.model" in str(caught.value)


@pytest.mark.parametrize(
    ("pieces", "trainer", "reason"),
    [
        (PIECES[1:], (), "0 pieces for unknown text"),
        ([*PIECES, ("▁cat", 0, NORMAL)], (), "repeats '▁cat'"),
        ([*PIECES, ("", 0, NORMAL)], (), "is empty"),
        ([*PIECES, ("x", float("nan"), NORMAL)], (), "finite"),
        ([*PIECES, ("x", 0, 9)], (), "type 9"),
        ([*PIECES, (b"\xff", 0, NORMAL)], (), "UTF-8"),
        (PIECES, ((3, 4),), "type character"),
        (PIECES, ((35, 1),), "<0x00>"),
        ([*PIECES, ("x", 0, UNUSED)], BPE, "unused"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(sentence_piece, pieces, trainer, reason):
    with pytest.raises(CheckpointError, match=reason):
        read_model(sentence_piece(pieces, trainer=trainer), "a.model")


def test_any_damage_to_a_model_is_an_error_of_ours(sentence_piece):
    good = sentence_piece(PIECES, normalizer=((2, charsmap_of({"a": "b"})[:400]),))
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(good)
        data[random.integers(len(data))] = random.integers(256)
        with contextlib.suppress(CheckpointError):
            assert len(SentencePieceTokenizer(bytes(data)).encode("hello")) <= 20


# --- what model families make of it --------------------------------------------------------------


def folder_with(path, name, data, model_type=None, **config):
    path.mkdir(exist_ok=True)
    (path / name).write_bytes(data)
    if model_type:
        (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def test_deberta_adds_its_mask_after_the_pieces(tmp_path, sentence_piece):
    proto = sentence_piece([*DEBERTA, *TAIL])
    found = Tokenizer.from_folder(folder_with(tmp_path, "spm.model", proto))
    assert found.mask_token_id == len(DEBERTA) + len(TAIL) == found.vocabulary_size - 1
    encoding = found.encode("hello", "cat")
    assert encoding.tokens == ["[CLS]", "▁hello", "[SEP]", "▁cat", "[SEP]"]
    assert encoding.segment_ids == [0, 0, 0, 1, 1]
    literal = found.encode("a[SEP]c[MASK]", add_special_tokens=False)
    assert not found.special_ids & set(literal.ids)
    assert found.encode("a [MASK]", allow_special="all").ids[-2] == found.mask_token_id


def test_fairseq_shifts_the_ids(tmp_path, sentence_piece):
    proto = sentence_piece(PIECES)
    name = "sentencepiece.bpe.model"
    xlm = Tokenizer.from_folder(folder_with(tmp_path / "x", name, proto))
    assert xlm.get_vocabulary()[:5] == ["<s>", "<pad>", "</s>", "<unk>", "▁"]
    assert xlm.get_vocabulary()[-1] == "<mask>"
    assert xlm.encode("hello", "cat").ids == [0, 5, 2, 2, 8, 2]
    bert = Tokenizer.from_folder(folder_with(tmp_path / "c", name, proto, "camembert"))
    first = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "▁"]
    assert bert.get_vocabulary()[:8] == first
    assert bert.encode("hello").ids == [5, 8, 6]
    assert bert.encode("hello <mask>", allow_special="all").ids == [5, 8, bert.mask_token_id, 6]


def test_one_file_alone_has_the_special_tokens_of_the_kind_of_model(tmp_path, sentence_piece):
    named = folder_with(tmp_path / "a", "spiece.model", sentence_piece([*BERT, *TAIL]), "fnet")
    spec = Tokenizer.from_folder(named)._given_spec.encode()
    alone = Tokenizer.from_folder(folder_with(tmp_path / "b", "tokenizer.json", spec, "fnet"))
    assert alone.special_tokens == ALBERT.special_tokens
    assert (alone.pad_token_id, alone.mask_token) == (0, "[MASK]")
    # What the vocabulary lacks is no special token, and a class for any file has none of its own.
    other = folder_with(tmp_path / "c", "tokenizer.json", spec, "roberta")
    assert Tokenizer.from_folder(other).special_tokens == {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    other = folder_with(tmp_path / "d", "tokenizer.json", spec, "fnet", tokenizer_class="Any")
    assert Tokenizer.from_folder(other).pad_token is None
    configured = folder_with(tmp_path / "e", "tokenizer.json", spec, "fnet", pad_token="hello")
    assert Tokenizer.from_folder(configured).pad_token == "hello"


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("albert", {}, ["▁cat", "e"]),
        ("albert", {"keep_accents": True}, ["▁cat", "<unk>"]),
        ("albert", {"do_lower_case": False}, ["▁", "C", "a", "t", "e"]),
        ("fnet", {}, ["▁", "C", "a", "t", "<unk>"]),
    ],
)
def test_albert_and_fnet_differ_in_case_and_accents(
    tmp_path, sentence_piece, kind, options, expected
):
    folder = folder_with(tmp_path, "spiece.model", sentence_piece([*BERT, *TAIL]), kind, **options)
    found = Tokenizer.from_folder(folder)
    assert named(found, "Caté") == ["[CLS]", *expected, "[SEP]"]
    assert found.pad_token_id == 0


def test_a_tokenizer_class_wins_over_the_model_type(tmp_path, sentence_piece):
    proto = sentence_piece(PIECES)
    name = "sentencepiece.bpe.model"
    folder = folder_with(tmp_path, name, proto, "x", tokenizer_class="CamembertTokenizerFast")
    assert Tokenizer.from_folder(folder).encode("hello").ids == [5, 8, 6]


@pytest.mark.parametrize("config", [{}, {"tokenizer_class": "ReformerTokenizer"}])
def test_another_kind_of_model_is_refused_by_name(tmp_path, sentence_piece, config):
    folder = folder_with(tmp_path, "spiece.model", sentence_piece(PIECES), "reformer", **config)
    with pytest.raises(ConfigError, match="[rR]eformer.*AlbertTokenizer"):
        Tokenizer.from_folder(folder)


def test_a_missing_special_token_and_a_bpe_model_are_named(tmp_path, sentence_piece):
    with pytest.raises(CheckpointError, match=r"spm\.model has no piece '\[CLS\]'"):
        Tokenizer.from_folder(folder_with(tmp_path, "spm.model", sentence_piece(PIECES)))
    proto = sentence_piece(PIECES, trainer=BPE)
    with pytest.raises(CheckpointError, match="BPE model"):
        Tokenizer.from_folder(folder_with(tmp_path, "spm.model", proto))


def test_a_folder_is_known_to_hold_what_can_be_loaded(tmp_path, sentence_piece):
    assert not has_tokenizer(tmp_path)
    folder_with(tmp_path, "spm.model", sentence_piece([*DEBERTA, *TAIL]))
    assert has_tokenizer(tmp_path)
    target = tmp_path / "saved"
    Tokenizer.from_folder(tmp_path).save(target)
    assert [path.name for path in target.iterdir()] == ["spm.model"]
    assert (target / "spm.model").read_bytes() == (tmp_path / "spm.model").read_bytes()


def test_the_description_is_complete(sentence_piece):
    spec = sentence_piece_json(sentence_piece(PIECES, normalizer=((2, charsmap_of({"A": "a"})),)))
    found = Tokenizer(json.dumps(spec))
    assert found.encode("hellA").tokens == ["▁", "h", "e", "l", "l", "a"]
