"""Tokenizers of author folders: the right case, fairseq's ids, and no wrong ones."""

import json

import pytest

from inarch.errors import CheckpointError, CheckpointFileError
from inarch.text import Tokenizer
from inarch.text.discovery import has_tokenizer

from .writers import field

CONTROL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
LOWER = [*CONTROL, "the", "cat", "##s", "é", "中", "a", "t", "##t"]
CASED = [*CONTROL, "The", "the", "Cat", "cat", "##s", "A", "t"]


def google(folder, vocabulary, **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bert_config.json").write_text("{}")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("name", "vocabulary", "lower"),
    [
        ("mine", LOWER, True),
        ("mine", CASED, False),
        ("uncased_L-12_H-768_A-12", LOWER, True),
        ("multi_cased_L-12_H-768_A-12", LOWER, False),  # Google's programs go by the name
        ("chinese_L-12_H-768_A-12", CASED, True),
        ("biobert_v1.1_pubmed", CASED, False),
    ],
)
def test_the_case_is_that_of_the_published_name_or_of_the_vocabulary(
    name, vocabulary, lower, tmp_path
):
    tokenizer = Tokenizer.from_folder(google(tmp_path / name, vocabulary))
    assert tokenizer.config["do_lower_case"] is lower
    word = "The" if vocabulary is CASED and not lower else "the"
    found = tokenizer.encode("The", add_special_tokens=False).tokens
    assert found == [word if lower or vocabulary is CASED else "[UNK]"]


@pytest.mark.parametrize(("vocabulary", "shown"), [(LOWER, "has none"), (CASED, "has some")])
def test_a_guess_of_the_case_is_a_warning_with_the_way_out(vocabulary, shown, tmp_path):
    folder = google(tmp_path / "mine", vocabulary)
    with pytest.warns(UserWarning, match=rf"mine doesn't say.*{shown}.*do_lower_case.*to .*mine"):
        Tokenizer.from_folder(folder)


@pytest.mark.filterwarnings("error")
def test_where_the_case_is_known_there_is_no_warning(tmp_path):
    Tokenizer.from_folder(google(tmp_path / "cased_L-12_H-768_A-12", CASED))
    Tokenizer.from_folder(google(tmp_path / "a", LOWER, tokenizer_config={"do_lower_case": True}))


def test_the_case_that_a_config_declares_is_kept(tmp_path):
    declared = {"do_lower_case": False, "model_max_length": 9}
    folder = google(tmp_path / "a", LOWER, tokenizer_config=declared)
    assert declared.items() <= Tokenizer.from_folder(folder).config.items()
    configured = google(tmp_path / "b", CASED, tokenizer_config={"model_max_length": 9})
    config = Tokenizer.from_folder(configured).config
    assert (config["do_lower_case"], config["model_max_length"]) == (False, 9)


def test_hugging_faces_folder_is_read_as_before(tmp_path):
    folder = google(tmp_path / "a", CASED, config={"model_type": "bert"})
    assert "do_lower_case" not in Tokenizer.from_folder(folder).config


def test_the_case_is_saved_with_the_tokenizer(tmp_path):
    tokenizer = Tokenizer.from_folder(google(tmp_path / "a", CASED))
    tokenizer.save(tmp_path / "b")
    assert (
        Tokenizer.from_folder(tmp_path / "b").encode("The Cats").ids
        == tokenizer.encode("The Cats").ids
    )


# --- fairseq -----------------------------------------------------------------------------------

TOKENS = [*"abcdef", "Ġ", "ab", "abc", "Ġa", "Ġab", "<|endoftext|>"]
ENCODER = {token: i for i, token in enumerate(TOKENS)}
MERGES = "#version: 0.2\nĠ a\nĠa b\na b\nab c\n"
# GPT-2's ids by how often they were seen, and what fills the table up.
ORDER = ["7", "0", "10", "1", "2", "3", "4", "5", "6", "8", "9", "11", "madeupword0000"]


def fairseq(folder, order=ORDER, encoder=ENCODER, merges=MERGES, pieces=None):
    folder.mkdir()
    lines = "".join(f"{token} {900 - i}\n" for i, token in enumerate(order))
    (folder / "dict.txt").write_text(lines, "utf-8")
    if encoder is not None:
        (folder / "encoder.json").write_text(json.dumps(encoder))
        (folder / "vocab.bpe").write_text(merges, "utf-8")
    if pieces is not None:
        (folder / "sentencepiece.bpe.model").write_bytes(pieces)
    return folder


def test_ids_are_fairseqs_and_not_gpt_2s(tmp_path):
    folder = fairseq(tmp_path / "a")
    assert has_tokenizer(folder)
    tokenizer = Tokenizer.from_folder(folder)
    encoding = tokenizer.encode("abc abd", "ab")
    assert encoding.tokens == ["<s>", "abc", "Ġab", "d", "</s>", "</s>", "ab", "</s>"]
    ids = [4 + ORDER.index(str(ENCODER[token])) for token in ("abc", "Ġab", "d")]
    assert encoding.ids == [0, *ids, 2, 2, 4, 2]
    assert tokenizer.get_vocabulary()[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.mask_token_id == 4 + len(ORDER)
    assert tokenizer.vocabulary_size == 5 + len(ORDER)
    assert tokenizer.token_to_id("madeupword0000") == 4 + ORDER.index("madeupword0000")
    tokenizer.save(tmp_path / "b")
    assert Tokenizer.from_folder(tmp_path / "b").encode("abc abd", "ab").ids == encoding.ids


def test_a_mask_takes_the_space_before_it(tmp_path):
    tokenizer = Tokenizer.from_folder(fairseq(tmp_path / "a"))
    ids = tokenizer.encode("ab <mask> ab", allow_special=("<mask>",)).ids
    assert ids == [0, tokenizer.token_to_id("ab"), 17, tokenizer.token_to_id("Ġab"), 2]


def test_without_gpt_2s_files_the_error_names_the_files_and_the_folder(tmp_path):
    folder = fairseq(tmp_path / "a", encoder=None)
    assert not has_tokenizer(folder)
    with pytest.raises(CheckpointFileError, match=r"put encoder\.json and vocab\.bpe next to it"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (ORDER[1:], "lacks 1 of the 13 tokens of encoder.json"),
        ([*ORDER, "7"], "has '7' twice"),
        ([*ORDER, "</s>"], "'</s>' of fairseq's own"),
    ],
)
def test_a_dictionary_of_another_encoder_is_refused(order, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_folder(fairseq(tmp_path / "a", order))


@pytest.mark.parametrize("line", ["7", "7 x", "7 1 2 x", " 5", ""])
def test_a_line_that_is_no_token_and_count_is_refused_by_its_number(line, tmp_path):
    folder = fairseq(tmp_path / "a")
    (folder / "dict.txt").write_text(f"7 1\n{line}\n0 2\n")
    with pytest.raises(CheckpointError, match=r"line 2 of dict\.txt"):
        Tokenizer.from_folder(folder)


def pieces(*tokens, kind=1):
    """A SentencePiece model of a few words; `kind` 2 is BPE."""
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
    made = b"".join(
        field(1, field(1, t.encode()) + b"\x15" + bytes(4) + field(3, kinds.get(t, 1)))
        for t in ("<unk>", "<s>", "</s>", *tokens)
    )
    return made + field(2, field(3, kind)) + field(3, field(3, 1))


WORDS = ["▁", "a", "b", "▁ab"]


def xlm_r(folder):
    return fairseq(folder, WORDS, encoder=None, pieces=pieces(*WORDS))


def camembert(folder):
    again = [f"{token} 1 #fairseq:overwrite" for token in ("<unk>", "<s>", "</s>")]
    lines = [*again, *(f"{word} 1" for word in WORDS)]
    (xlm_r(folder) / "dict.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def fnet(folder):
    folder.mkdir(exist_ok=True)
    tokens = ("[CLS]", "[SEP]", "[MASK]", "<pad>", *WORDS)
    (folder / "c4_bpe_sentencepiece.model").write_bytes(pieces(*tokens))
    return folder


AUTHOR_FOLDERS = {"roberta": fairseq, "xlm-roberta": xlm_r, "camembert": camembert, "fnet": fnet}


def test_xlm_rs_ids_are_fairseqs(tmp_path):
    folder = xlm_r(tmp_path / "a")
    assert has_tokenizer(folder)
    tokenizer = Tokenizer.from_folder(folder)
    vocabulary = tokenizer.get_vocabulary()
    assert vocabulary == ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "<mask>"]


def test_camemberts_ids_are_fairseqs(tmp_path):
    tokenizer = Tokenizer.from_folder(camembert(tmp_path / "a"))
    assert tokenizer.config["tokenizer_class"] == "CamembertTokenizer"
    assert [tokenizer.token_to_id(word) for word in WORDS] == [7, 8, 9, 10]
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (5, 6)
    assert tokenizer.mask_token_id == 4 + 3 + len(WORDS)


def test_pieces_in_another_order_than_the_dictionarys_are_refused(tmp_path):
    order = [*WORDS[:2], WORDS[3], WORDS[2]]
    folder = fairseq(tmp_path / "a", order, encoder=None, pieces=pieces(*WORDS))
    with pytest.raises(CheckpointError, match="part at line 3 of 4"):
        Tokenizer.from_folder(folder)


def test_fnets_model_is_found_under_its_own_name(tmp_path):
    assert has_tokenizer(fnet(tmp_path))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.config["tokenizer_class"] == "FNetTokenizer"
    assert tokenizer.encode("ab").tokens == ["[CLS]", "▁ab", "[SEP]"]


def test_a_model_of_another_type_is_refused_under_the_name_that_its_file_has(tmp_path):
    path = tmp_path / "c4_bpe_sentencepiece.model"
    path.write_bytes(pieces("[CLS]", "[SEP]", "[MASK]", "<pad>", *WORDS, kind=2))
    message = r": c4_bpe_sentencepiece\.model is a BPE model.*Put a tokenizer\.json next to it"
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_folder(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r": c4_bpe_sentencepiece\.model"):
        Tokenizer.from_folder(tmp_path)


# --- what is saved -------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "fnet"])
def test_what_is_saved_reads_the_same_to_transformers(kind, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers: make test-all")
    folder = AUTHOR_FOLDERS[kind](tmp_path / "original")
    Tokenizer.from_folder(folder).save(tmp_path / "saved")
    ours = Tokenizer.from_folder(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text(json.dumps({"model_type": kind}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert ours.special_tokens == dict(theirs.special_tokens_map)
    for text in ("ab abd", "ab " + ours.mask_token + " ab", ours.cls_token, ""):
        assert ours.encode(text, allow_special="all").ids == theirs(text).input_ids
