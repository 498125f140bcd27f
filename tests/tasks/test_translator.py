"""Laws of `Translator`: tokens of languages around sources and before translations."""

import json

import keras
import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.models.bart.backbone import BartBackbone
from inarch.models.variables import named_variables, set_value
from inarch.tasks import TextPreprocessor, Translator, workflows
from inarch.text import Tokenizer
from tests.text.conftest import field

pytestmark = pytest.mark.turns(3)

CONTROL, UNKNOWN, NORMAL = 3, 2, 1
PIECES = ["▁the", "▁cat", "▁sat", "▁", *"acehst"]
OTHERS = ["▁le", "▁chat", "▁", *"acehlt"]
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]


def model(pieces):
    """The bytes of a SentencePiece model of Unigram pieces."""
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    listed = [*special, *((piece, NORMAL) for piece in pieces)]
    parts = (
        field(1, text) + field(2, -float(i)) + field(3, kind)
        for i, (text, kind) in enumerate(listed)
    )
    settings = field(2, field(3, 1)) + field(3, field(1, "identity"))
    return b"".join(field(1, part) for part in parts) + settings


def files(kind):
    """The tokenizer's files of a kind of translation model."""
    if kind == "m2m":
        ids = {token: i for i, token in enumerate([*FIRST, *PIECES])}
        config = {"tokenizer_class": "M2M100Tokenizer", "language_codes": "wmt21"}
        return {"sentencepiece.bpe.model": model(PIECES)}, ids, config
    if kind == "mbart":
        return (
            {"sentencepiece.bpe.model": model(PIECES)},
            None,
            {
                "tokenizer_class": "MBartTokenizer",
                "tgt_lang": "ro_RO",
            },
        )
    codes = [">>fr<<", ">>oci<<"] if kind == "marian to several" else []
    words = ["</s>", "<unk>", *codes, *dict.fromkeys([*PIECES, *OTHERS]), "<pad>"]
    ids = {token: i for i, token in enumerate(words)}
    both = {"source.spm": model(PIECES), "target.spm": model(OTHERS)}
    return both, ids, {"tokenizer_class": "MarianTokenizer"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """`tokenizers(kind)`: the tokenizer of a kind of translation model."""
    made = {}

    def tokenizer(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("tokenizer")
            found, ids, config = files(kind)
            for name, data in found.items():
                (folder / name).write_bytes(data)
            if ids:
                (folder / "vocab.json").write_text(json.dumps(ids))
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            made[kind] = Tokenizer.from_folder(folder)
        return made[kind]

    return tokenizer


@pytest.fixture(scope="module")
def tasks(tokenizers):
    """`tasks(kind)`: a translator with random weights, not to be changed."""
    made = {}

    def task(kind, **arguments):
        if arguments or kind not in made:
            keras.utils.set_random_seed(0)
            tokenizer = tokenizers(kind)
            backbone = BartBackbone(
                tokenizer.vocabulary_size, 1, 1, 2, 2, 8, 12, 12, dropout=0.0,
                max_sequence_length=24, padding_id=tokenizer.pad_token_id,
            )  # fmt: skip
            start = {"decoder_start_token_id": tokenizer.eos_token_id}
            made[kind] = Translator(
                backbone, TextPreprocessor(tokenizer, 24), generation=start, **arguments
            )
            random = np.random.default_rng(0)
            for name, variable in named_variables(made[kind]).items():
                value = random.normal(size=tuple(variable.shape))
                set_value(variable, 1 + 0.3 * value if name.endswith("gamma") else value)
        return made.pop(kind) if arguments else made[kind]

    return task


def generated_from(task, monkeypatch, *given, **options):
    """The rows and the options that a translation is generated from."""
    seen = {}

    def generate(texts, rows, seed, batch_size, options):
        seen.update(rows=rows, options=options)
        return [""] * len(texts)

    monkeypatch.setattr(task, "generate_texts", generate)
    task.translate(*given, **options)
    tokens = [[task.preprocessor.tokenizer.id_to_token(i) for i in row] for row in seen["rows"]]
    return tokens, seen["options"]


def test_languages_are_those_that_the_tokenizer_has_tokens_of(tasks):
    assert tasks("m2m").languages == ("cs", "de", "en", "ha", "is", "ja", "ru", "zh")
    assert {"en_XX", "ro_RO"} < {*tasks("mbart").languages}
    assert tasks("marian").languages == ()
    assert tasks("marian to several").languages == ("fr", "oci")


def test_a_source_has_the_token_of_its_language_and_a_translation_begins_with_its_own(
    tasks, monkeypatch
):
    task = tasks("m2m")
    code = task.preprocessor.tokenizer.token_to_id
    rows, options = generated_from(task, monkeypatch, ["the cat", "sat"], "de", "zh")
    assert rows == [["__de__", "▁the", "▁cat", "</s>"], ["__de__", "▁sat", "</s>"]]
    assert options == {"forced_bos_token_id": code("__zh__")}
    rows, _ = generated_from(task, monkeypatch, "the", target_language="de")
    assert rows == [["__en__", "▁the", "</s>"]]
    task = tasks("mbart")
    code = task.preprocessor.tokenizer.token_to_id
    rows, options = generated_from(task, monkeypatch, "the", "ro_RO", "en_XX", num_beams=3)
    assert rows == [["▁the", "</s>", "ro_RO"]]
    assert options == {"forced_bos_token_id": code("en_XX"), "num_beams": 3}
    rows, options = generated_from(task, monkeypatch, "the")
    assert (rows, options["forced_bos_token_id"]) == ([["▁the", "</s>", "en_XX"]], code("ro_RO"))


def test_marian_reads_the_language_before_the_source(tasks, monkeypatch):
    rows, options = generated_from(
        tasks("marian to several"), monkeypatch, "the cat", target_language="fr"
    )
    assert rows == [[">>fr<<", "▁the", "▁cat", "</s>"]]
    assert options == {}
    rows, _ = generated_from(tasks("marian"), monkeypatch, "the cat")
    assert rows == [["▁the", "▁cat", "</s>"]]


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("m2m", {"target_language": "xx"}, "no language 'xx'.*cs, de, en"),
        ("m2m", {"source_language": "xx", "target_language": "de"}, "no language 'xx'"),
        ("m2m", {}, "several languages.*cs, de, en"),
        ("marian to several", {}, "several languages.*fr, oci"),
        ("marian", {"target_language": "fr"}, "from one language into another"),
        ("marian", {"source_language": "en"}, "source_language is 'en'.*Leave it out"),
    ],
)
def test_a_language_that_is_unknown_or_missing_is_an_error_that_lists_them(
    tasks, kind, given, words
):
    with pytest.raises(InputError, match=words):
        tasks(kind).translate("the cat", **given)
    with pytest.raises(InputTypeError, match="a language is 3"):
        tasks(kind).translate("the cat", target_language=3)


def test_pairs_are_encoded_in_their_languages(tasks):
    task = tasks("m2m", source_language="de", target_language="zh")
    tokenizer = task.preprocessor.tokenizer
    (row,) = task.encode([("the cat", "sat")])
    assert tokenizer.id_to_token(row.source[0]) == "__de__"
    assert [tokenizer.id_to_token(i) for i in (*row.ids[:2], row.labels[0], row.labels[-1])] == [
        "</s>", "__zh__", "__zh__", "</s>",
    ]  # fmt: skip


def test_marians_translations_have_a_model_of_their_own(tasks):
    task = tasks("marian")
    tokenizer = task.preprocessor.tokenizer
    (row,) = task.encode([("the cat", "le chat")])
    assert [tokenizer.id_to_token(i) for i in row.source] == ["▁the", "▁cat", "</s>"]
    assert [tokenizer.id_to_token(i) for i in row.labels] == ["▁le", "▁chat", "</s>"]
    assert tokenizer.decode(row.labels) == "le chat"


@pytest.mark.parametrize("kind", ["m2m", "marian"])
def test_a_translation_does_not_depend_on_the_others_and_comes_back(kind, tasks, tmp_path):
    task = tasks(kind)
    given = {"target_language": "de"} if kind == "m2m" else {}
    texts = ["the cat sat", "cat", "the cat sat the cat"]
    together = task.translate(texts, **given, max_new_tokens=5, num_beams=2)
    assert [task.translate(t, **given, max_new_tokens=5, num_beams=2) for t in texts] == together
    options = {**given, "max_new_tokens": 5}
    assert [*task.stream(texts, **options, num_beams=2)] == together
    assert "".join(task.stream(texts[0], **options)) == task.translate(texts[0], **options)
    task.save_to_preset(tmp_path)
    again = workflows.load(tmp_path)
    assert type(again) is Translator
    assert again.translate(texts, **given, max_new_tokens=5, num_beams=2) == together


def test_languages_are_kept_in_the_folder_and_it_learns(tasks, tmp_path):
    task = tasks("m2m", source_language="de", target_language="zh")
    task.compile(keras.optimizers.Adam(0.01))
    history = task.fit(["the cat", "sat"], ["sat", "the cat"], epochs=3, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[0]
    task.save_to_preset(tmp_path)
    again = Translator.from_preset(tmp_path)
    assert (again.source_language, again.target_language) == ("de", "zh")
