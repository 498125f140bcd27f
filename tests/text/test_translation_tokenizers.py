"""Tokenizers of translation models: tokens of languages, and dictionaries of pieces."""

import json

import pytest

from inarch.errors import CheckpointError, ConfigError
from inarch.models.bart.text import M2M100
from inarch.text import PieceDictionaryTokenizer, Tokenizer
from inarch.text.build import with_tokenizer_json
from inarch.verify.corpus import CORPUS
from inarch.verify.tokenizer import compare_tokenizers

CONTROL, UNKNOWN, NORMAL = 3, 2, 1
LETTERS = sorted({c for t in CORPUS for c in t if c.isprintable() and not c.isspace()} - {"▁"})
PIECES = ["▁", "▁the", "he", "ing", "▁wor", "ld", *LETTERS[:300]]
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]
CODES = [f"__{code}__" for code in M2M100.codes["m2m100"]]


def scored(pieces):
    return [(piece, -2 - 0.01 * i, NORMAL) for i, piece in enumerate(pieces)]


SPECIAL = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)]
PEGASUS_SPECIAL = [("<pad>", 0, CONTROL), ("</s>", 0, CONTROL), ("<unk>", 0, UNKNOWN)]


@pytest.fixture
def make_folder(tmp_path, sentence_piece):
    """`make_folder(kind, **config)`: the files of a kind of tokenizer, with a config of its own."""

    def make(kind, pieces=PIECES, **config):
        models, ids = {"sentencepiece.bpe.model": [*SPECIAL, *scored(pieces)]}, None
        if kind in ("Pegasus", "T5"):
            models = {"spiece.model": [*PEGASUS_SPECIAL, *scored(pieces)]}
        elif kind == "M2M100":
            ids = [*FIRST, *pieces[::-1]]
            config = {"additional_special_tokens": CODES} | config
        elif kind == "Marian":
            models = {
                "source.spm": [*SPECIAL, *scored(pieces)],
                "target.spm": [*SPECIAL, *scored(["▁le", *pieces])],
            }
            ids = ["</s>", "<unk>", "▁le", *pieces[::-1], "<pad>"]
        for name, listed in models.items():
            (tmp_path / name).write_bytes(sentence_piece(listed))
        if ids:
            (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(ids)}))
        config = {"tokenizer_class": f"{kind}Tokenizer", **config}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


KINDS = [
    ("MBart", {}),
    ("MBart", {"src_lang": "ro_RO", "tgt_lang": "en_XX"}),
    ("MBart50", {"src_lang": "de_DE"}),
    ("Pegasus", {}),
    ("M2M100", {}),
    ("M2M100", {"src_lang": "fr", "tgt_lang": "en"}),
]


@pytest.mark.reference
@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_texts_have_the_tokens_of_transformers(kind, config, make_folder):
    pytest.importorskip("transformers", minversion="5")
    assert not any(" | " in text for text in CORPUS)  # as pairs are shown
    assert differences(make_folder(kind, **config)) == []


def differences(folder):
    """Those of single texts: the reference treats pairs otherwise, which nobody translates."""
    found = compare_tokenizers(folder).differences
    return [each for each in found if " | " not in each.text]


@pytest.mark.reference
def test_marians_texts_have_the_tokens_of_transformers(make_folder):
    pytest.importorskip("transformers", minversion="5")
    # There a special token that is spelled in a text is marked as one that wraps it.
    found = {each.what for each in differences(make_folder("Marian"))}
    assert found <= {"special_tokens_mask"}


@pytest.mark.reference
@pytest.mark.parametrize("config", [{}, {"src_lang": "fra_Latn"}, {"legacy_behaviour": True}])
def test_nllbs_tokenizer_json_is_read_for_the_language_of_its_config(config, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    tokens = [*FIRST, *PIECES, "eng_Latn", "fra_Latn", "<mask>"]
    theirs = transformers.NllbTokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[("h", "e"), ("l", "d")],
        additional_special_tokens=["eng_Latn", "fra_Latn"], **config,
    )  # fmt: skip
    theirs.save_pretrained(tmp_path)
    assert compare_tokenizers(tmp_path).differences == ()


PAIRS = [*dict.fromkeys(["he", "▁t", "▁the", "ld", *PIECES[:1], *"theld", *LETTERS])]


@pytest.fixture
def nllb(tmp_path, sentence_piece):
    """`nllb(**config)`: a folder of NLLB's with a model of byte pairs alone."""

    def make(**config):
        listed = [*SPECIAL, *((piece, -i, NORMAL) for i, piece in enumerate(PAIRS))]
        folder = tmp_path / "nllb"
        folder.mkdir()
        model = sentence_piece(listed, trainer=((3, 2),))
        (folder / "sentencepiece.bpe.model").write_bytes(model)
        config = {"tokenizer_class": "NllbTokenizer", **config}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [
        ({}, ["eng_Latn"], ["</s>"]),
        ({"src_lang": "zul_Latn"}, ["zul_Latn"], ["</s>"]),
        ({"legacy_behaviour": True, "src_lang": "ace_Arab"}, [], ["</s>", "ace_Arab"]),
    ],
)
def test_nllbs_pieces_come_after_fairseqs_tokens_and_before_languages_and_a_mask(
    config, before, after, nllb, tmp_path
):
    """The ids of the published model: eng_Latn is the 47th of 202 languages."""
    tokenizer = Tokenizer.from_folder(nllb(**config))
    assert tokenizer.encode("the").tokens == [*before, "▁the", *after]
    count = len(PAIRS) + 4
    ids = [tokenizer.token_to_id(t) for t in (*FIRST, "he", "ace_Arab", "eng_Latn", "zul_Latn")]
    assert ids == [0, 1, 2, 3, 4, count, count + 46, count + 201]
    assert tokenizer.mask_token_id == count + 202 == tokenizer.vocabulary_size - 1
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.from_folder(tmp_path / "saved").encode("the").ids == [
        tokenizer.token_to_id(token) for token in (*before, "▁the", *after)
    ]


def test_an_nllb_needs_a_model_of_byte_pairs(make_folder):
    with pytest.raises(ConfigError, match="a Unigram model; that of NllbTokenizer is a BPE model"):
        Tokenizer.from_folder(make_folder("Nllb"))


@pytest.mark.reference
@pytest.mark.parametrize("config", [{}, {"src_lang": "fra_Latn"}, {"legacy_behaviour": True}])
def test_nllbs_model_has_the_tokens_of_its_tokenizer_json(config, nllb, tmp_path):
    """In transformers 5 the mask is before the languages where there is no tokenizer.json."""
    transformers = pytest.importorskip("transformers", minversion="5")
    ours = Tokenizer.from_folder(nllb(**config))
    vocabulary = {token: i for i, token in enumerate(ours.get_vocabulary())}
    codes = ours.get_vocabulary()[-203:-1]
    spec = json.loads(with_tokenizer_json(ours.files)["tokenizer.json"])
    merges = [tuple(pair) for pair in spec["model"]["merges"]]
    theirs = transformers.NllbTokenizer(
        vocab=vocabulary, merges=merges, additional_special_tokens=codes, **config
    )
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path / "nllb")
    for text in ("the", "  the held ", "", *CORPUS):
        ids = theirs(text)["input_ids"]
        assert ours.encode(text, allow_special="all").ids == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        if not any(token in text for token in (*FIRST, "<mask>")):
            inner = ours.encode(text, add_special_tokens=False).ids
            assert plain(text, add_special_tokens=False)["input_ids"] == inner, text


@pytest.mark.parametrize(
    ("kind", "config", "tokens"),
    [
        ("MBart", {}, ["▁the", "</s>", "en_XX"]),
        ("MBart50", {"src_lang": "ro_RO"}, ["ro_RO", "▁the", "</s>"]),
        ("M2M100", {}, ["__en__", "▁the", "</s>"]),
        ("Marian", {}, ["▁the", "</s>"]),
        ("Pegasus", {}, ["▁the", "</s>"]),
    ],
)
def test_a_text_is_wrapped_in_its_end_and_its_language(kind, config, tokens, make_folder, tmp_path):
    tokenizer = Tokenizer.from_folder(make_folder(kind, **config))
    encoding = tokenizer.encode("the")
    assert encoding.tokens == tokens
    assert tokenizer.decode(encoding.ids) == "the"
    assert [tokenizer.token_to_id(token) for token in tokens] == encoding.ids
    again = Tokenizer.from_config(tokenizer.get_config())
    assert type(again) is type(tokenizer)
    assert again.encode("the").ids == encoding.ids


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        ("T5", ["▁the", "</s>", "▁the", "</s>"]),
        ("Pegasus", ["▁the", "▁the", "</s>"]),
        ("MBart", ["▁the", "▁the", "</s>", "en_XX"]),
        ("Marian", ["▁the", "▁the", "</s>"]),
    ],
)
def test_a_pair_is_wrapped_as_the_class_does_it(kind, tokens, make_folder):
    assert Tokenizer.from_folder(make_folder(kind)).encode("the", "the").tokens == tokens


@pytest.mark.parametrize("kind", ["M2M100", "Marian"])
def test_a_dictionarys_special_tokens_in_a_text_are_text(kind, make_folder):
    # Without the letters, so that all of it is one unknown piece, which the dictionary has.
    tokenizer = Tokenizer.from_folder(make_folder(kind, pieces=["▁", "▁the"]))
    assert isinstance(tokenizer, PieceDictionaryTokenizer)
    for text in ("</s>", "the </s>", "<pad>", "__fr__"):
        inner = tokenizer.encode(text, add_special_tokens=False).ids
        assert {*inner} & tokenizer.special_ids == {tokenizer.unk_token_id}


def test_text_that_the_model_does_not_know_is_looked_up(make_folder):
    folder = make_folder("Marian", pieces=["▁", "▁the"])
    path = folder / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ß": 6}))
    tokens = Tokenizer.from_folder(folder).encode("the ß x", add_special_tokens=False).tokens
    assert tokens == ["▁the", "▁", "ß", "▁", "<unk>"]


def test_marians_translations_have_pieces_of_their_own(make_folder, tmp_path):
    tokenizer = Tokenizer.from_folder(make_folder("Marian"))
    assert tokenizer.encode("le").tokens != ["▁le", "</s>"]
    assert tokenizer.target.encode("le").tokens == ["▁le", "</s>"]
    assert tokenizer.target.get_vocabulary() == tokenizer.get_vocabulary()
    tokenizer.save(tmp_path / "saved")
    assert (tmp_path / "saved/target.spm").read_bytes() == (tmp_path / "target.spm").read_bytes()


def with_target_ids(folder):
    """A folder of Marian's with another dictionary of translations, where padding is last, too."""
    ids = ["</s>", "<unk>", "▁le", *PIECES[::-2], "<pad>"]
    text = json.dumps({token: index for index, token in enumerate(ids)})
    (folder / "target_vocab.json").write_text(text)
    return folder


def test_marians_translations_may_have_a_dictionary_of_their_own(make_folder, tmp_path):
    tokenizer = Tokenizer.from_folder(with_target_ids(make_folder("Marian", separate_vocabs=True)))
    target = tokenizer.output_tokenizer
    assert target.encode("le").ids == [2, 0]
    assert target.decode([2, 0]) == "le"
    assert target.pad_token_id == target.vocabulary_size - 1 < tokenizer.pad_token_id
    assert tokenizer.encode("le").ids != [2, 0]
    tokenizer.save(tmp_path / "saved")
    again = Tokenizer.from_folder(tmp_path / "saved")
    assert again.output_tokenizer.get_vocabulary() == target.get_vocabulary()
    kept = Tokenizer.from_config(tokenizer.get_config())
    assert kept.output_tokenizer.get_vocabulary() == target.get_vocabulary()
    shared = Tokenizer.from_folder(make_folder("Marian"))
    assert shared.output_tokenizer is shared


@pytest.mark.reference
def test_separate_vocabularies_have_the_tokens_of_transformers(make_folder):
    transformers = pytest.importorskip("transformers", minversion="5")
    folder = with_target_ids(make_folder("Marian", separate_vocabs=True))
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder)
    for text in ("le the", "the world", "les mots", "", *CORPUS):
        if any(token in text for token in ("<unk>", "<pad>", "</s>")):
            continue
        assert ours.encode(text).ids == theirs(text)["input_ids"], text
        ids = theirs(text_target=text)["input_ids"]
        assert ours.output_tokenizer.encode(text).ids == ids, text
        assert ours.output_tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True), (
            text
        )


@pytest.mark.parametrize(
    ("kind", "config", "error", "words"),
    [
        ("Marian", {"separate_vocabs": True}, CheckpointError, "target_vocab.json"),
        ("Marian", {"separate_vocabs": "yes"}, ConfigError, "separate_vocabs is 'yes'"),
        ("M2M100", {"language_codes": "mine"}, ConfigError, "m2m100, wmt21"),
        ("M2M100", {"src_lang": "xx"}, CheckpointError, "no '__xx__'"),
        ("M2M100", {"eos_token": "<end>"}, CheckpointError, "no '<end>'.*eos_token"),
        ("MBart", {"src_lang": 3}, ConfigError, "src_lang is 3"),
    ],
)
def test_what_cant_be_used_is_refused_by_name(kind, config, error, words, make_folder):
    with pytest.raises(error, match=words):
        Tokenizer.from_folder(make_folder(kind, **config))


def test_a_folder_that_names_no_class_has_no_tokens_of_languages(make_folder):
    folder = make_folder("MBart")
    (folder / "tokenizer_config.json").unlink()
    assert Tokenizer.from_folder(folder).encode("the").tokens == ["<s>", "▁the", "</s>"]
