"""XLNet's tokenizer, whose special tokens come after a text."""

import json

from inarch.text import Tokenizer

PIECES = [
    ("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<cls>", 0, 3), ("<sep>", 0, 3),
    ("<pad>", 0, 3), ("<mask>", 0, 3), ("<eod>", 0, 3), ("<eop>", 0, 4), ("▁the", -1, 1),
    ("▁cat", -2, 1), ("▁", -3, 1), ("e", -4, 1),
]  # fmt: skip


def test_texts_end_in_the_separator_and_the_token_of_classes(tmp_path, sentence_piece):
    (tmp_path / "spiece.model").write_bytes(sentence_piece(PIECES))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "xlnet"}))
    tokenizer = Tokenizer.from_folder(tmp_path)
    one, two = tokenizer.encode("the cat"), tokenizer.encode("the", "cat thé")
    assert one.tokens == ["▁the", "▁cat", "<sep>", "<cls>"]
    assert one.segment_ids == [0, 0, 0, 2]
    # Accents are dropped, and case is kept.
    assert two.tokens == ["▁the", "<sep>", "▁cat", "▁the", "<sep>", "<cls>"]
    assert two.segment_ids == [0, 0, 1, 1, 1, 2]
    assert tokenizer.encode("The").tokens[0] != "▁the"
