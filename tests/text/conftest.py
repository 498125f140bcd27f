"""A small vocabulary: words, pieces, and every letter the tests write."""

import json

import pytest

LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZéèüñ0123456789[](){}.,!?-_'\"<>=/中文字अक"
WORDS = ["the", "cat", "sat", "hello", "world", "sep", "mask", "un", "##believ", "##able"]
VOCABULARY = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
]


@pytest.fixture(scope="session")
def vocabulary():
    return list(VOCABULARY)


@pytest.fixture
def bert_folder(tmp_path):
    """Makes a folder with a vocab.txt and the given other files."""

    def make(vocabulary=VOCABULARY, end="\n", name="bert", **config):
        folder = tmp_path / name
        folder.mkdir()
        text = "".join(token + end for token in vocabulary)
        (folder / "vocab.txt").write_bytes(text.encode())
        if config:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make
