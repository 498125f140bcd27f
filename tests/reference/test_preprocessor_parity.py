"""The arrays that our preprocessor feeds a model are those of transformers' padded batch."""

import numpy as np
import pytest

from inarch.tasks import TextPreprocessor
from inarch.text import Tokenizer, WordPieceTokenizer
from inarch.verify.corpus import CORPUS, PAIRS

from .conftest import transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LETTERS = sorted({c for text in CORPUS for c in text if c.isprintable() and not c.isspace()})
WORDS = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "hello", "world", "naive", "un", "##able"]
VOCABULARY = list(dict.fromkeys([*WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]))
BATCHES = {"texts": list(CORPUS), "pairs": list(PAIRS), "one text": ["Hello"], "empty": ["", ""]}
NAMES = {
    "token_ids": "input_ids",
    "padding_mask": "attention_mask",
    "segment_ids": "token_type_ids",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer whose padding isn't id 0."""
    path = tmp_path_factory.mktemp("tokenizer")
    WordPieceTokenizer(VOCABULARY).save(path)
    return path


def theirs(folder, batch, length, **options):
    pairs = not isinstance(batch[0], str)
    columns = [list(column) for column in zip(*batch)] if pairs else [batch]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    out = tokenizer(
        *columns, truncation=True, max_length=length, return_tensors="np",
        return_token_type_ids=True, **options,
    )  # fmt: skip
    return {ours: out[name] for ours, name in NAMES.items()}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == np.int32
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.mark.parametrize("length", [3, 16, 61, 256])
@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_padded_to_its_longest_is_that_of_transformers(kind, length, folder):
    tokenizer = Tokenizer.from_folder(folder)
    batch = BATCHES[kind]
    plain = TextPreprocessor(tokenizer, length)
    wanted = theirs(folder, batch, length, padding="longest", split_special_tokens=True)
    same(plain.pad(plain.encode(batch)), wanted)
    every = TextPreprocessor(tokenizer, length, tuple(tokenizer.special_tokens.values()))
    same(every.pad(every.encode(batch)), theirs(folder, batch, length, padding="longest"))


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_padded_to_a_bucket_is_that_of_transformers_at_that_length(kind, folder):
    batch = BATCHES[kind]
    ours = TextPreprocessor(Tokenizer.from_folder(folder), 61)(batch)
    width = ours["token_ids"].shape[1]
    assert width <= 61
    wanted = theirs(folder, batch, 61, padding="longest", split_special_tokens=True)
    longest = wanted["token_ids"].shape[1]
    for name, array in ours.items():
        np.testing.assert_array_equal(array[:, :longest], wanted[name], err_msg=name)
        filler = VOCABULARY.index("[PAD]") if name == "token_ids" else 0
        assert (array[:, longest:] == filler).all()
