"""A small vocabulary: words, pieces, and every letter the tests write."""

import json
import struct

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
    """Return a function that makes a folder with a vocab.txt and the given other files."""

    def make(vocabulary=VOCABULARY, end="\n", name="bert", **config):
        folder = tmp_path / name
        folder.mkdir()
        text = "".join(token + end for token in vocabulary)
        (folder / "vocab.txt").write_bytes(text.encode())
        if config:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


def field(number, value):
    """A field of a protocol buffers message: a number, 32 bits with a fraction, or text."""

    def varint(value):
        return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)

    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


@pytest.fixture(scope="session")
def wire_field():
    return field


@pytest.fixture(scope="session")
def sentence_piece():
    """Return a maker of SentencePiece models' bytes of `(text, score, type)` and settings."""

    def make(pieces, trainer=((3, 1),), normalizer=((1, "identity"),)):
        message = b""
        for text, score, kind in pieces:
            part = field(1, text) + field(2, float(score)) + field(3, kind)
            message += field(1, part)
        for number, settings in ((2, trainer), (3, normalizer)):
            message += field(number, b"".join(field(n, value) for n, value in settings))
        return message

    return make
