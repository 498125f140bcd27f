"""FNet's tokenizer: ALBERT's, which keeps case and accents; and Google's file of it.

Source: transformers, models/fnet/tokenization_fnet.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from inarch.text.build import json_bytes, with_tokenizer_json
from inarch.text.family import AuthorTokenizer
from inarch.text.files import CONFIG_FILE
from inarch.text.sentence_piece_model import read_model
from inarch.text.sentencepiece_families import ALBERT, check_unigram
from inarch.text.special_tokens import SPACED

PIECES = "c4_bpe_sentencepiece.model"

FNET = replace(
    ALBERT,
    tokenizer_class="FNetTokenizer",
    model_types=("fnet",),
    special_tokens={**ALBERT.special_tokens, "mask_token": {"content": "[MASK]", **SPACED}},
    settings={"do_lower_case": False, "keep_accents": True},
)
TOKENIZERS = (FNET,)


def _convert(
    folder: Path, files: Mapping[str, bytes], vocabulary_size: int | None
) -> dict[str, bytes]:
    """Add Hugging Face's files to the SentencePiece model, which Google calls otherwise."""
    check_unigram(read_model(files[PIECES], PIECES), FNET.tokenizer_class)
    config = json_bytes({"tokenizer_class": FNET.tokenizer_class})
    return with_tokenizer_json({FNET.files[0]: files[PIECES], CONFIG_FILE: config, **files})


AUTHOR_TOKENIZERS = (AuthorTokenizer(file_sets=((PIECES,),), convert=_convert),)
