"""Tokenizers of BERT as Google publishes it: `vocab.txt` with a `bert_config.json`.

Neither has whether the vocabulary is for lower-cased text.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inarch.errors import ConfigError
from inarch.json_fields import object_in
from inarch.text.build import json_bytes
from inarch.text.family import AuthorTokenizer
from inarch.text.files import CONFIG_FILE, VOCABULARY_FILE, decode_text
from inarch.text.word_piece_json import BERT
from inarch.user_warnings import warn

# google-research/bert, tokenization.py, `validate_case_matches_checkpoint`: by a folder's name.
CASES = {
    "uncased_L-24_H-1024_A-16": True,
    "uncased_L-12_H-768_A-12": True,
    "multilingual_L-12_H-768_A-12": True,
    "chinese_L-12_H-768_A-12": True,
    "cased_L-12_H-768_A-12": False,
    "cased_L-24_H-1024_A-16": False,
    "multi_cased_L-12_H-768_A-12": False,
}


def _convert(
    folder: Path, files: Mapping[str, bytes], vocabulary_size: int | None
) -> dict[str, bytes]:
    """Add a tokenizer_config.json that states whether text is lower-cased."""
    name = CONFIG_FILE
    config = object_in(decode_text(files, name), name, ConfigError) if name in files else {}
    if "do_lower_case" in config:
        return dict(files)
    lower = CASES.get(folder.resolve().name)
    if lower is None:
        lower = looks_lower_case(decode_text(files, VOCABULARY_FILE).split("\n"))
        shown = "none, so text is lower-cased" if lower else "some, so text is left as it is"
        warn(
            f"{folder} doesn't say whether its text is to be lower-cased. Of words with capital "
            f"letters its vocab.txt has {shown}. To settle it, write "
            f'{{"do_lower_case": true}} or {{"do_lower_case": false}} to {folder / name}'
        )
    config |= {"do_lower_case": lower, "tokenizer_class": BERT.tokenizer_class}
    return {**files, name: json_bytes(config)}


def looks_lower_case(vocabulary: Sequence[str]) -> bool:
    """Return whether a vocabulary of Google's BERT seems to be made of lower-cased text.

    It then has no capital letter but in tokens in brackets; one that has them couldn't be reached
    otherwise. Google's programs get an option.
    """
    words = (token.strip() for token in vocabulary)
    words = (word for word in words if not re.fullmatch(r"\[.*\]", word))
    return not any(word != word.lower() for word in words)


AUTHOR_TOKENIZERS = (
    AuthorTokenizer(file_sets=(("bert_config.json", VOCABULARY_FILE),), convert=_convert),
)
