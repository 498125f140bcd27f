"""Ids, and texts decoded again, equal those of sentencepiece, on models that it trains here."""

import io
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inarch.text import SentencePieceTokenizer, Tokenizer
from inarch.text.sentence_piece import KEPT_SPACE, REMOVED
from inarch.verify.corpus import CORPUS, spelled_out
from inarch.verify.tokenizer import compare_tokenizers

pytestmark = pytest.mark.reference
sentencepiece = pytest.importorskip(
    "sentencepiece", reason="needs the sentencepiece library: pip install sentencepiece"
)

SENTENCES = [text for text in CORPUS if text.strip() and len(text) < 2000] * 3
SENTENCES += ["the cat sat on the mat", "lower lowest newer wider", "hello world 12 123"] * 20
SPELLED = spelled_out(["<s>", "</s>", "<unk>", "<0x0A>", "[X]", "<sep>", "ſep"])
BYTES = {"byte_fallback": True, "vocab_size": 900}
SETTINGS = {
    "plain": {},
    "bytes": BYTES,
    "nfkc": {"normalization_rule_name": "nfkc"},
    "identity": {"normalization_rule_name": "identity"},
    "folded": {"normalization_rule_name": "nmt_nfkc_cf"},
    "nfkc folded": {"normalization_rule_name": "nfkc_cf"},
    "no prefix": {"add_dummy_prefix": False},
    "suffix": {"treat_whitespace_as_suffix": True},
    "spaces": {"remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
    "runs of spaces": {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True},
    "digits": {"split_digits": True},
    "across words": {"split_by_whitespace": False},
    "symbols": {"user_defined_symbols": ["<sep>", "(", "ſep", "UP"], "control_symbols": ["[X]"]},
    "symbols folded": {
        "user_defined_symbols": ["<SEP>", "UP"],
        "normalization_rule_name": "nmt_nfkc_cf",
    },
    "symbols and bytes": {"user_defined_symbols": ["<sep>", "foo", ")"], **BYTES},
}


def train(**options):
    written = io.BytesIO()
    common = {"vocab_size": 600, "hard_vocab_limit": False, "character_coverage": 0.98}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=written,
        minloglevel=2,
        **{**common, **options},
    )
    return written.getvalue()


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=SETTINGS)
def both(request, kind):
    proto = train(model_type=kind, **SETTINGS[request.param])
    return sentencepiece.SentencePieceProcessor(model_proto=proto), SentencePieceTokenizer(proto)


def check(both, text):
    """Equal ids; for Unigram, other ids only where the two have one score but for rounding."""
    theirs, ours = both
    want, got = theirs.encode(text), ours.encode(text).ids
    if want != got:
        assert ours.model.model_type == 1
        assert sorted(want) == sorted(got), text
    assert ours.decode(want, skip_special_tokens=False) == theirs.decode(want)


def test_ids_are_those_of_the_library_on_hard_texts(both):
    for text in (*CORPUS, *SPELLED):
        check(both, text)
    differing = [x for x in (*CORPUS, *SPELLED) if both[0].encode(x) != both[1].encode(x).ids]
    # Runs of one letter or white space, cut into pieces in several ways of one score.
    assert len(differing) <= 2


LETTERS = (
    "abcdefgtsaeiou .,()\t\n\r▁Ae\u0301\u0302\u0323①ﬁ\u1112\u1161\u11abか\u3099中😀\u200d<sep>UP"
)


@given(
    text=st.text(st.one_of(st.sampled_from(LETTERS), st.characters(exclude_categories=["Cs"]))),
)
@settings(max_examples=150, deadline=None)
def test_ids_are_those_of_the_library_on_any_text(both, text):
    # Two noncharacters are used as marks within a text.
    assume(not {KEPT_SPACE, REMOVED} & set(text))
    check(both, text)


def test_offsets_are_those_of_the_library(kind):
    proto = train(model_type=kind)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=proto)
    text = "ＴＨＥ  cat e\u0301 ①"
    spans = SentencePieceTokenizer(proto).encode(text).offsets
    pieces = theirs.encode(text, return_type="proto").pieces
    for piece, (start, end) in zip(pieces, spans, strict=True):
        # A space that the model put there is of no text to them, and of the first letter to us.
        if surface := piece.surface.strip():
            assert text[start:end].strip() == surface


# --- as transformers reads the folders -----------------------------------------------------------

BERT_IDS = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
BERT_IDS |= {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"], "user_defined_symbols": ["(", ")"]}
DEBERTA_IDS = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]"}
DEBERTA_IDS |= {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
DEBERTA_IDS |= {"control_symbols": ["[X]"], "user_defined_symbols": ["foo", "("]}
T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
FAIRSEQ = "sentencepiece.bpe.model"
MASK = {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}
# As in google/fnet-base.
FNET_IDS = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": 3}
FNET_IDS |= {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
FNET = {
    "do_lower_case": False, "remove_space": True, "keep_accents": True, "unk_token": "<unk>",
    "sep_token": "[SEP]", "pad_token": "<pad>", "cls_token": "[CLS]", "trim_offsets": False,
    "mask_token": {"content": "[MASK]", "lstrip": True, "__type": "AddedToken"},
}  # fmt: skip
# As in xlnet/xlnet-base-cased.
XLNET_IDS = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
XLNET_IDS |= {"control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"]}
XLNET_IDS |= {"user_defined_symbols": ["<eop>", ".", "("]}
FOLDERS = {
    "xlnet": ("XLNetTokenizer", "spiece.model", XLNET_IDS, {}),
    "xlnet lower": (
        "XLNetTokenizer",
        "spiece.model",
        XLNET_IDS,
        {"do_lower_case": True, "keep_accents": True},
    ),
    "deberta": ("DebertaV2Tokenizer", "spm.model", DEBERTA_IDS, {}),
    "deberta lower": (
        "DebertaV2Tokenizer",
        "spm.model",
        DEBERTA_IDS,
        {"do_lower_case": True, "split_by_punct": True},
    ),
    "xlm": ("XLMRobertaTokenizer", FAIRSEQ, {}, {}),
    "xlm mask": ("XLMRobertaTokenizer", FAIRSEQ, {}, {"mask_token": MASK}),
    "camembert": ("CamembertTokenizer", FAIRSEQ, {}, {}),
    "t5": ("T5Tokenizer", "spiece.model", T5_IDS, {}),
    "t5 few": ("T5Tokenizer", "spiece.model", T5_IDS, {"extra_ids": 3}),
    "t5 none": ("T5Tokenizer", "spiece.model", T5_IDS, {"extra_ids": 0}),
    "albert": ("AlbertTokenizer", "spiece.model", BERT_IDS, {}),
    "albert cased": (
        "AlbertTokenizer",
        "spiece.model",
        BERT_IDS,
        {"do_lower_case": False, "keep_accents": True, "remove_space": True},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_as_transformers_reads_it(tmp_path, name):
    pytest.importorskip("transformers", minversion="5")
    tokenizer_class, file, ids, options = FOLDERS[name]
    (tmp_path / file).write_bytes(train(**ids))
    config = {"tokenizer_class": tokenizer_class, **options}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert compare_tokenizers(tmp_path).differences == ()
    is_masked = tokenizer_class != "T5Tokenizer"
    assert (Tokenizer.from_folder(tmp_path).mask_token_id is not None) == is_masked


@pytest.mark.parametrize("both", [True, False])
def test_a_folder_laid_out_as_fnets_is_read_as_transformers_reads_it(tmp_path, both):
    """The two files have the same content; transformers 5 can't read `spiece.model` alone."""
    pytest.importorskip("transformers", minversion="5")
    (tmp_path / "spiece.model").write_bytes(train(**FNET_IDS))
    config = json.dumps({"tokenizer_class": "FNetTokenizer", **FNET})
    (tmp_path / "tokenizer_config.json").write_text(config)
    from_model = Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(from_model.get_config()["spec"])
    if not both:
        (tmp_path / "spiece.model").unlink()
    found = compare_tokenizers(tmp_path)
    assert {difference.what for difference in found.differences} <= {"special_tokens"}
    from_file = Tokenizer.from_folder(tmp_path)
    assert (from_file.pad_token_id, from_file.cls_token_id, from_file.mask_token_id) == (3, 4, 6)
    assert from_file.encode_batch(CORPUS) == from_model.encode_batch(CORPUS)
