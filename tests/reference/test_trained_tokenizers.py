"""Tokenizers trained here, as transformers loads them."""

import pytest

from inarch.text import Tokenizer
from inarch.verify.corpus import CORPUS

from .conftest import transformers

pytestmark = pytest.mark.reference

TEXTS = ["The film was good!", "a very bad film", "schöne Größe, naïve Café", "映画 🙂"] * 3


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_trained_tokenizer_has_the_same_ids_there(kind, tmp_path):
    ours = Tokenizer.train(TEXTS, kind, 320)
    ours.save(tmp_path)

    def ids(texts):  # as there, where a special token in a text counts as one
        return [e.ids for e in ours.encode_batch(texts, allow_special="all")]

    texts = [*TEXTS[:4], *CORPUS]
    for cls in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = cls.from_pretrained(tmp_path)
        assert ids(texts) == theirs(texts)["input_ids"]
        pairs = [("a film", text) for text in texts]
        encoded = theirs([a for a, _ in pairs], [b for _, b in pairs])["input_ids"]
        assert ids(pairs) == encoded
        for name, token in ours.special_tokens.items():
            assert getattr(theirs, name) == token
            assert getattr(theirs, f"{name}_id") == getattr(ours, f"{name}_id")
        theirs.save_pretrained(tmp_path / "back")
        again = Tokenizer.from_folder(tmp_path / "back")
        assert again.encode_batch(texts) == ours.encode_batch(texts)
