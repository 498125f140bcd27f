"""Families of tokenizers: shared ones, and those that an architecture's folder declares."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from inarch.models import registry
from inarch.text import Tokenizer, word_piece_json
from inarch.text import families as families_module
from inarch.text.families import SHARED, author_tokenizers, families, find_family
from inarch.text.special_tokens import ROBERTA_TOKENS, SPECIAL_TOKEN_NAMES

EVERY = list(families())
DECLARING = [a for a in registry.architectures().values() if a.module("text")]


def test_each_model_type_has_one_family():
    types = Counter(model_type for family in EVERY for model_type in family.model_types)
    assert {*types.values()} == {1}


def test_families_of_one_class_are_of_different_models_and_read_the_same_files():
    for name, count in Counter(family.tokenizer_class for family in EVERY).items():
        alike = [family for family in EVERY if family.tokenizer_class == name]
        assert {(type(family), family.files, family.template) for family in alike} == {
            (type(alike[0]), alike[0].files, alike[0].template)
        }
        assert count == 1 or all(family.model_types for family in alike)


@pytest.mark.parametrize("family", EVERY, ids=lambda family: family.tokenizer_class)
def test_a_family_is_found_by_its_class_and_by_its_model_types(family):
    """Of families of one class, the first is that of models that none of them names."""
    first = next(each for each in EVERY if each.tokenizer_class == family.tokenizer_class)
    assert find_family(family.tokenizer_class, "of another") is first
    assert family is first or family.model_types
    for model_type in family.model_types:
        assert find_family(None, model_type) is family
        assert find_family(family.tokenizer_class, model_type) is family
    assert family.special_token_texts.keys() <= {*SPECIAL_TOKEN_NAMES}


@pytest.mark.parametrize("architecture", DECLARING, ids=lambda architecture: architecture.name)
def test_a_folder_declares_tokenizers_of_its_own_models(architecture):
    declared = getattr(architecture.module("text"), "TOKENIZERS", ())
    assert {t for family in declared for t in family.model_types} <= {*architecture.model_types}
    assert all(family in EVERY and family not in SHARED for family in declared)
    formats = getattr(architecture.module("text"), "AUTHOR_TOKENIZERS", ())
    assert declared or formats
    assert all(each in [*author_tokenizers()] for each in formats)


def test_a_class_that_takes_any_tokenizer_json_and_an_unknown_one_have_no_family():
    assert find_family("PreTrainedTokenizerFast", "bert") is None
    assert find_family("NoTokenizer", "bert") is None
    assert find_family(None, "no-model") is None
    assert find_family(None, None) is None


def imported(folder, first=""):
    """Names of architectures' modules that a tokenizer's folder has imported, in a new process."""
    code = f"""
import sys
{first}
from inarch.text import Tokenizer
Tokenizer.from_config(Tokenizer.from_folder({str(folder)!r}).get_config())
print(*sorted(name for name in sys.modules if name.startswith("inarch.models")))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def test_a_shared_family_imports_no_architecture(bert_folder):
    folder = bert_folder(tokenizer_class="BertTokenizer")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert imported(folder) == []


def test_what_an_architecture_declares_is_found_without_the_architecture(bert_folder):
    folder = bert_folder()
    (folder / "config.json").write_text(json.dumps({"model_type": "electra"}))
    alone = imported(folder)
    assert "inarch.models.electra.text" in alone
    assert {name.rpartition(".")[2] for name in alone} == {"text"}


def test_what_is_imported_already_is_looked_at_first(bert_folder):
    folder = bert_folder()
    (folder / "config.json").write_text(json.dumps({"model_type": "electra"}))
    first = "import os; os.environ['KERAS_BACKEND'] = 'jax'; import inarch.models.electra.text"
    own = ["inarch.models", "inarch.models.electra", "inarch.models.electra.text"]
    assert imported(folder, first) == own


# --- a family as a port declares it ------------------------------------------------------------

WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "the", "cat", "<mask>"]


@pytest.fixture
def own_family(monkeypatch):
    """MPNet's: BERT's way to split words, with RoBERTa's special tokens and template."""
    tokens = {**ROBERTA_TOKENS, "unk_token": "[UNK]"}
    made = word_piece_json.WordPieceFamily(
        tokenizer_class="OwnTokenizer",
        model_types=("own",),
        special_tokens=tokens,
        template="roberta",
    )
    monkeypatch.setattr(families_module, "SHARED", (*SHARED, made))
    return made


@pytest.mark.parametrize("stated", [{"tokenizer_class": "OwnTokenizerFast"}, {"model_type": "own"}])
@pytest.mark.parametrize("files", ["vocab.txt", "tokenizer.json"])
def test_a_family_fills_in_its_special_tokens_and_its_template(
    own_family, bert_folder, stated, files
):
    folder = bert_folder(vocabulary=WORDS)
    (folder / "config.json").write_text(json.dumps(stated))
    if files == "tokenizer.json":
        spec = json.loads(Tokenizer.from_folder(folder)._given_spec)
        (folder / "vocab.txt").unlink()
        (folder / files).write_text(json.dumps(spec | {"post_processor": None}))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.special_tokens == own_family.special_token_texts
    pair = tokenizer.encode("The cat", "dog")
    assert pair.tokens == ["<s>", "the", "cat", "</s>", "</s>", "[UNK]", "</s>"]
    assert set(pair.segment_ids) == {0}
    again = Tokenizer.from_config(tokenizer.get_config())
    assert again.encode("The cat", "dog") == pair


def test_flags_of_a_familys_token_are_kept_and_its_offset_is_the_tokens_own(
    own_family, bert_folder
):
    folder = bert_folder(vocabulary=WORDS, tokenizer_class="OwnTokenizer")
    tokenizer = Tokenizer.from_folder(folder)
    found = tokenizer.encode("cat <mask>", allow_special=("<mask>",))
    assert (
        found.tokens[2] == " <mask>"
    )  # It takes the space before it, which its offset leaves out.
    assert found.ids[2] == tokenizer.mask_token_id
    assert found.offsets[2] == (4, 10)


def test_of_a_token_that_the_vocabulary_lacks_none_is_made(own_family, bert_folder):
    tokenizer = Tokenizer.from_folder(
        bert_folder(vocabulary=WORDS[:-1], tokenizer_class="OwnTokenizer")
    )
    assert tokenizer.mask_token is None
    assert tokenizer.vocabulary_size == len(WORDS) - 1
