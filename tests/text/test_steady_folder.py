"""A tokenizer is read of one save, whole."""

import os

import pytest

from inarch.checkpoints.io import publish
from inarch.checkpoints.io.atomic_write import replacing
from inarch.errors import CheckpointError
from inarch.text import Tokenizer, WordPieceTokenizer, discovery

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders aren't held open there")


def save(path, word, config='{"tokenizer_class": "BertTokenizer", "model_max_length": %d}'):
    with replacing(path) as fresh:
        (fresh / "config.json").write_text('{"model_type": "bert"}')
        (fresh / "vocab.txt").write_text("\n".join([*WORDS, word]) + "\n")
        (fresh / "tokenizer_config.json").write_text(config % len(word))


@pytest.mark.parametrize("broken", [False, True])
def test_a_save_while_a_tokenizer_is_read_is_not_mixed_with_it(broken, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0)
    save(tmp_path / "model", "old")
    read, calls = discovery.read_file, []

    def disturbed(path, *rest):
        calls.append(path.name)
        if path.name == "tokenizer_config.json" and calls.count(path.name) == 1:
            save(tmp_path / "model", "newer")
            return b"{" if broken else read(path, *rest)
        return read(path, *rest)

    monkeypatch.setattr(discovery, "read_file", disturbed)
    tokenizer = Tokenizer.from_folder(tmp_path / "model")
    assert tokenizer.get_vocabulary()[-1] == "newer"
    assert tokenizer.model_max_length == len("newer")
    assert calls.count("vocab.txt") == 2


def test_a_tokenizer_that_is_broken_and_stays_is_read_once(tmp_path, monkeypatch):
    save(tmp_path / "model", "old", config="{%d")
    read, calls = discovery.read_file, []
    monkeypatch.setattr(discovery, "read_file", lambda path: calls.append(path.name) or read(path))
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        Tokenizer.from_folder(tmp_path / "model")
    assert calls.count("vocab.txt") == 1


def test_a_tokenizer_that_is_saved_over_another_is_the_one_that_is_read(tmp_path):
    save(tmp_path / "new", "new")
    (tmp_path / "model" / "notes").mkdir(parents=True)
    WordPieceTokenizer([*WORDS, "old"]).save(tmp_path / "model")
    others = ["added_tokens.json", "README.md", "notes/a.txt"]
    for name in others:
        (tmp_path / "model" / name).write_text("{}")
    Tokenizer.from_folder(tmp_path / "new").save(tmp_path / "model")
    assert Tokenizer.from_folder(tmp_path / "model").get_vocabulary()[-1] == "new"
    left = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "model").as_posix() for path in left} == {
        "vocab.txt", "tokenizer_config.json", "README.md", "notes/a.txt"
    }  # fmt: skip


def test_a_tokenizer_is_saved_to_the_current_directory_which_stays(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    number = here.stat().st_ino
    WordPieceTokenizer([*WORDS, "new"]).save(".")
    WordPieceTokenizer([*WORDS, "newer"]).save(".")
    assert Tokenizer.from_folder(".").get_vocabulary()[-1] == "newer"
    assert here.stat().st_ino == number
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
