"""Tokenizers of RoBERTa, XLM-RoBERTa, CamemBERT, PhoBERT and BERTweet, and fairseq's files of them.

RoBERTa's family is one of many models'. The others' sources: transformers,
models/*/tokenization_*.py.

fairseq has a `dict.txt` of what another tokenizer gives: GPT-2's byte pairs (`encoder.json`,
`vocab.bpe`), or SentencePiece's pieces (`sentencepiece.bpe.model`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointError
from inarch.text.build import json_bytes, with_tokenizer_json
from inarch.text.byte_level import ROBERTA, flag, parse_ids
from inarch.text.family import AuthorTokenizer, TokenizerFamily
from inarch.text.fast_bpe import FastBpeFamily
from inarch.text.files import CONFIG_FILE, IDS_FILE, MERGES_FILE, decode_text
from inarch.text.sentence_piece import precompiled
from inarch.text.sentence_piece_model import SentencePieceModel, read_model
from inarch.text.sentencepiece_families import (
    SentencePieceFamily,
    UnigramLayout,
    scored_pieces,
    special_names,
)
from inarch.text.special_tokens import ROBERTA_TOKENS

DICTIONARY, ENCODER, MERGES = "dict.txt", "encoder.json", "vocab.bpe"
PIECES = "sentencepiece.bpe.model"
# Tokens that fairseq puts before those of dict.txt (fairseq/data/dictionary.py), and the one that
# its task of masked language modeling puts after them (fairseq/tasks/masked_lm.py).
FIRST, LAST = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"
OVERWRITE = "#fairseq:overwrite"


def _xlm_roberta(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    """Return fairseq's four special tokens, the pieces after the model's three, and a mask."""
    names = special_names(config)
    first = [names[name] for name in ("bos_token", "pad_token", "eos_token", "unk_token")]
    vocabulary = [[token, 0.0] for token in first] + scored_pieces(model)[3:]
    return _layout(model, config, [*vocabulary, [names["mask_token"], 0.0]])


def _camembert(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    """Return fairseq's special tokens, of which three aren't used; the pieces; and a mask."""
    names = special_names(config)
    first = ["<s>NOTUSED", names["pad_token"], "</s>NOTUSED", names["unk_token"]]
    vocabulary = [[token, 0.0] for token in first] + [["<unk>NOTUSED", -100.0]]
    vocabulary += scored_pieces(model)[1:]
    return _layout(model, config, [*vocabulary, [names["mask_token"], 0.0]])


def _layout(
    model: SentencePieceModel, config: Mapping[str, Any], vocabulary: list[list]
) -> UnigramLayout:
    table = model.precompiled_charsmap
    return UnigramLayout(
        vocabulary=vocabulary,
        unk_id=3,
        normalizer=precompiled(table) if table else None,
        pre_tokenizers=[{"type": "WhitespaceSplit"}],
        prepend_scheme="always" if flag(config, "add_prefix_space", True) else "never",
    )


XLM_ROBERTA = SentencePieceFamily(
    tokenizer_class="XLMRobertaTokenizer",
    model_types=("xlm-roberta",),
    files=(PIECES,),
    special_tokens={**ROBERTA_TOKENS, "mask_token": "<mask>"},
    template="xlm-roberta",
    ends=("bos_token", "eos_token"),
    layout=_xlm_roberta,
)
CAMEMBERT = replace(
    XLM_ROBERTA,
    tokenizer_class="CamembertTokenizer",
    model_types=("camembert",),
    special_tokens=ROBERTA_TOKENS,
    layout=_camembert,
)
TOKENIZERS = (
    XLM_ROBERTA,
    CAMEMBERT,
    FastBpeFamily(tokenizer_class="PhobertTokenizer"),
    FastBpeFamily(tokenizer_class="BertweetTokenizer"),
)


def _convert(
    folder: Path, files: Mapping[str, bytes], vocabulary_size: int | None
) -> dict[str, bytes]:
    """Add Hugging Face's files to fairseq's: GPT-2's byte pairs with the ids of its dictionary."""
    tokens, overwriting = parse_dictionary(decode_text(files, DICTIONARY))
    if PIECES in files:
        family = _family_of(files[PIECES], tokens, overwriting)
        named = json_bytes({"tokenizer_class": family.tokenizer_class})
        return with_tokenizer_json({CONFIG_FILE: named, **files})
    ids = {token: index for index, token in enumerate(FIRST)}
    names = {
        str(index): token
        for token, index in parse_ids(decode_text(files, ENCODER), ENCODER).items()
    }
    for number in tokens:
        token = names.pop(number, number)
        if token in ids:
            raise CheckpointError(
                f"{DICTIONARY} has the token {token!r} of fairseq's own; the file may be of "
                "another kind of model."
            )
        ids[token] = len(ids)
    if names:
        some = ", ".join(sorted(names)[:3])
        raise CheckpointError(
            f"{DICTIONARY} lacks {len(names)} of the {len(names) + len(tokens)} tokens of "
            f"{ENCODER}, such as those with the ids {some}, which fairseq would read as <unk>. The "
            "two files may be of different models."
        )
    ids.setdefault(LAST, len(ids))
    # fairseq's hub interface strips the space before a mask.
    mask = {"__type": "AddedToken", "content": LAST, "lstrip": True, "rstrip": False}
    mask |= {"normalized": False, "single_word": False, "special": True}
    config: dict[str, Any] = {"tokenizer_class": ROBERTA.tokenizer_class, "mask_token": mask}
    made = {IDS_FILE: json_bytes(ids), MERGES_FILE: files[MERGES], CONFIG_FILE: json_bytes(config)}
    return with_tokenizer_json({**made, **files})


def parse_dictionary(text: str, name: str | Path = DICTIONARY) -> tuple[list[str], bool]:
    """Return the tokens of a `dict.txt`, and whether one replaces a special token.

    Each line is a token and how often it was seen, with a space between.

    Args:
        name: what an error calls the file.

    Raises:
        CheckpointError: a line isn't, or has a token that there is already.
    """
    lines = text.split("\n")
    tokens: list[str] = []
    seen: set[str] = set()
    overwriting = False
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        line, _, last = line.rstrip().rpartition(" ")
        replaces = last == OVERWRITE
        if replaces:
            overwriting = True
            line, _, last = line.rpartition(" ")
        if not line or not re.fullmatch(r"\d+", last):
            raise CheckpointError(
                f"line {number} of {name} isn't a token and a count with a space between; "
                "the file may be damaged: fetch it again."
            )
        if line in seen or (line in FIRST and not replaces):
            kind = "of fairseq's own" if line in FIRST else "twice"
            raise CheckpointError(
                f"{name} has {line!r} {kind}, again in line {number}; two ids would mean one "
                "token. The file may be damaged: fetch it again."
            )
        seen.add(line)
        tokens.append(line)
    return tokens, overwriting


def _family_of(data: bytes, tokens: list[str], overwriting: bool) -> TokenizerFamily:
    """Return the family of a SentencePiece model whose ids are those of fairseq's dictionary."""
    pieces = [piece.text for piece in read_model(data, PIECES).pieces]
    # transformers' ids for XLM-R are SentencePiece's with <pad> put in, for CamemBERT those with
    # four tokens before them.
    expected = pieces if overwriting else pieces[3:]
    if tokens != expected:
        both = zip(tokens, expected, strict=False)
        line = next((i for i, (a, b) in enumerate(both) if a != b), min(len(tokens), len(expected)))
        raise CheckpointError(
            f"{DICTIONARY} and {PIECES} don't have the same tokens in the same order: they part "
            f"at line {line + 1} of {len(tokens)}. Ids would be wrong; the two may be of different "
            "models."
        )
    return CAMEMBERT if overwriting else XLM_ROBERTA


def _missing_files_hint(folder: Path, vocabulary_size: int | None) -> str:
    """Return what to put next to a `dict.txt` to have a tokenizer, as the end of an error."""
    if not (folder / DICTIONARY).is_file():
        return ""
    return (
        f"{DICTIONARY} is fairseq's: put {ENCODER} and {MERGES} next to it, GPT-2's byte pair "
        f"encoding that RoBERTa is used with, or the {PIECES} that XLM-R and CamemBERT come with."
    )


AUTHOR_TOKENIZERS = (
    AuthorTokenizer(
        file_sets=((DICTIONARY, PIECES), (DICTIONARY, ENCODER, MERGES)),
        convert=_convert,
        missing_files_hint=_missing_files_hint,
    ),
)
