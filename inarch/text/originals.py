"""The tokenizers of folders as original authors publish them, told in Hugging Face's files.

Google's BERT has a `vocab.txt`, and nowhere says whether it is for lower-cased text. fairseq has a
`dict.txt` of what another tokenizer gives: GPT-2's byte pairs (`encoder.json`, `vocab.bpe`), or
SentencePiece's pieces (`sentencepiece.bpe.model`). FNet's SentencePiece model has its own name.

The weights of such folders: `models/bert/google.py` and its like. The two halves are apart because
a tokenizer is read with no model at hand, and this room knows of none.
"""

import json
import re
import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.json_fields import object_in
from inarch.text.build import build_tokenizer_json
from inarch.text.byte_level import parse_ids
from inarch.text.files import TOKENIZER_JSON, decode_text, merged_config
from inarch.text.sentence_piece_model import read_model
from inarch.text.sentencepiece_families import check_unigram
from inarch.text.tokenizer_json import fill_defaults

GOOGLE_CONFIG = "bert_config.json"
DICTIONARY, ENCODER, MERGES = "dict.txt", "encoder.json", "vocab.bpe"
PIECES = "sentencepiece.bpe.model"
FNET_PIECES = "c4_bpe_sentencepiece.model"
# Tokens that fairseq puts before those of dict.txt (fairseq/data/dictionary.py), and the one that
# its task of masked language modeling puts after them (fairseq/tasks/masked_lm.py).
FIRST, LAST = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"
OVERWRITE = "#fairseq:overwrite"

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

# The files that are read beside Hugging Face's own.
FILES = (GOOGLE_CONFIG, DICTIONARY, ENCODER, MERGES, FNET_PIECES)


def to_hugging_face_files(folder: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The tokenizer's files with those of an original told in Hugging Face's.

    Args:
        folder: the folder they are from; its name may say what Google's files don't.
        files: what there is of Hugging Face's files and of `FILES`.

    Raises:
        CheckpointError: an original's files are damaged, or don't belong together.
    """
    given = dict(files)
    google = given.pop(GOOGLE_CONFIG, None) is not None
    ours = {name: data for name, data in given.items() if name not in FILES}
    if TOKENIZER_JSON in ours:
        return ours
    if google and "vocab.txt" in ours:
        return _google(folder, ours)
    if FNET_PIECES in given:
        check_unigram(read_model(given[FNET_PIECES], FNET_PIECES), "FNet")
        config = {"tokenizer_class": "FNetTokenizer"}
        made = {"spiece.model": given[FNET_PIECES], "tokenizer_config.json": _json(config)}
        return _in_one_file(made | ours)
    return _in_one_file(_fairseq(given, ours)) if is_complete(given) else ours


def is_complete(files: Container[str]) -> bool:
    """Whether the files that are an original's alone make a tokenizer."""
    encoder = ENCODER in files and MERGES in files
    return FNET_PIECES in files or (DICTIONARY in files and (PIECES in files or encoder))


def missing_files_hint(files: Container[str]) -> str:
    """What to put beside a `dict.txt` so that it is a tokenizer, as the end of an error."""
    if DICTIONARY not in files:
        return ""
    return (
        f"{DICTIONARY} is fairseq's: put {ENCODER} and {MERGES} beside it, GPT-2's byte pair "
        f"encoding that RoBERTa is used with, or the {PIECES} that XLM-R and CamemBERT come with."
    )


def _in_one_file(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a tokenizer.json beside them.

    Of some of the others transformers makes what the original isn't: of FNet's SentencePiece model
    a tokenizer that adds no special tokens.
    """
    spec, config = build_tokenizer_json(files, merged_config(files), {})
    completed, _ = fill_defaults(json.loads(spec), config)
    return files | {TOKENIZER_JSON: _json(completed)}


# --- Google's BERT -----------------------------------------------------------------------------


def _google(folder: Path, ours: dict[str, bytes]) -> dict[str, bytes]:
    name = "tokenizer_config.json"
    config = object_in(decode_text(ours, name), name, ConfigError) if name in ours else {}
    if "do_lower_case" in config:
        return ours
    lower = CASES.get(folder.resolve().name)
    if lower is None:
        lower = looks_lower_case(decode_text(ours, "vocab.txt").split("\n"))
        shown = "none, so text is lower-cased" if lower else "some, so text is left as it is"
        warnings.warn(
            f"{folder} doesn't say whether its text is to be lower-cased. Of words with capital "
            f"letters its vocab.txt has {shown}. To settle it, write "
            f'{{"do_lower_case": true}} or {{"do_lower_case": false}} to {folder / name}',
            stacklevel=2,
        )
    config |= {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"}
    return ours | {name: _json(config)}


def looks_lower_case(vocabulary: Sequence[str]) -> bool:
    """Whether a vocabulary of Google's BERT seems to be made of lower-cased text.

    It then has no capital letter but in tokens in brackets; one that has them couldn't be reached
    otherwise. Google's programs are told on the command line.
    """
    words = (token.strip() for token in vocabulary)
    words = (word for word in words if not re.fullmatch(r"\[.*\]", word))
    return not any(word != word.lower() for word in words)


# --- fairseq -----------------------------------------------------------------------------------


def _fairseq(given: Mapping[str, bytes], ours: dict[str, bytes]) -> dict[str, bytes]:
    tokens, overwriting = parse_dictionary(decode_text(given, DICTIONARY))
    if PIECES in given:
        kind = _kind_of_pieces(given[PIECES], tokens, overwriting)
        return {"tokenizer_config.json": _json({"tokenizer_class": kind})} | ours
    ids = {token: index for index, token in enumerate(FIRST)}
    names = {
        str(index): token
        for token, index in parse_ids(decode_text(given, ENCODER), ENCODER).items()
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
    config = {"tokenizer_class": "RobertaTokenizer", "mask_token": mask}
    made = {"vocab.json": _json(ids), "merges.txt": given[MERGES]}
    return made | {"tokenizer_config.json": _json(config)} | ours


def parse_dictionary(text: str, name: str | Path = DICTIONARY) -> tuple[list[str], bool]:
    """The tokens of a `dict.txt`, and whether one of them takes the place of a special token.

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


def _kind_of_pieces(data: bytes, tokens: list[str], overwriting: bool) -> str:
    """The class of a SentencePiece tokenizer whose ids are those of fairseq's dictionary."""
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
    return "CamembertTokenizer" if overwriting else "XLMRobertaTokenizer"


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")
