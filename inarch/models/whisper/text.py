"""OpenAI's vocabularies of Whisper: the bytes of each token, by the order they were learned in.

A line of a `.tiktoken` file is a token in base64 and its rank, which is its id. Merges aren't
written, since they follow from the ranks, nor are control tokens, which come after them in a
separate order (whisper/tokenizer.py).
"""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from inarch.errors import CheckpointError, ConfigError
from inarch.json_fields import json_text
from inarch.text.byte_level import BYTE_TO_UNICODE
from inarch.text.family import AuthorTokenizer
from inarch.text.files import (
    CONFIG_FILE,
    MODEL_CONFIG_FILE,
    TOKENIZER_JSON,
    decode_text,
    model_vocabulary_size,
)
from inarch.text.languages import LANGUAGES
from inarch.text.whisper_json import TIMESTAMPS, build_whisper_json, control_tokens

ENGLISH, MULTILINGUAL = "gpt2.tiktoken", "multilingual.tiktoken"
FILES = (ENGLISH, MULTILINGUAL)
# CTranslate2's lists of tokens, which don't have the merges.
TOKEN_LISTS = ("vocabulary.json", "vocabulary.txt")
# Bytes of a token; of those of Whisper the longest has 128.
LONGEST = 1_000
ENGLISH_SIZE, ENGLISH_LANGUAGES = 51864, 99


def _convert(
    folder: Path, files: Mapping[str, bytes], vocabulary_size: int | None
) -> dict[str, bytes]:
    """Add a tokenizer.json and a tokenizer_config.json to one of OpenAI's vocabularies.

    Args:
        folder: the checkpoint's, whose config.json may have the size of the vocabulary.
        files: the tokenizer's files by name, with at least one of `FILES`.
        vocabulary_size: how many tokens the model has, which determines how many languages.

    Raises:
        CheckpointError: the file is damaged.
        ConfigError: the number of languages isn't given, or can't be.
    """
    vocabulary_size = vocabulary_size or model_vocabulary_size(folder)
    name = _chosen(files, vocabulary_size)
    ranks = parse_ranks(decode_text(files, name), name)
    languages = _languages(name, len(ranks), vocabulary_size)
    ids = {_letters(token): rank for token, rank in ranks.items()}
    merges = [[_letters(part) for part in pair] for pair in merges_of(ranks, name)]
    names = control_tokens(languages)
    control = {token: len(ranks) + index for index, token in enumerate(names)}
    spec, config = build_whisper_json(ids, merges, control)
    return {
        TOKENIZER_JSON: json.dumps(spec, ensure_ascii=False).encode("utf-8"),
        CONFIG_FILE: json_text(config).encode(),
        **files,
    }


def _missing_files_hint(folder: Path, vocabulary_size: int | None) -> str:
    """Return what to put next to CTranslate2's or OpenAI's files, as the end of an error.

    Args:
        folder: the checkpoint's.
        vocabulary_size: how many tokens the model has, where that is known.
    """
    listed = next((name for name in TOKEN_LISTS if (folder / name).is_file()), None)
    if listed is not None:
        return (
            f"{listed} is CTranslate2's: it lists tokens and not how text becomes them. Put the "
            f"{TOKENIZER_JSON} next to it that the model was converted with."
        )
    if (folder / MODEL_CONFIG_FILE).is_file() or not any(folder.glob("*.pt")):
        return ""
    if vocabulary_size is None:
        wanted = f"{ENGLISH}, if the model is English-only, or else {MULTILINGUAL},"
    else:
        wanted = _of_size(vocabulary_size)
    return (
        f"A .pt file of OpenAI's Whisper has no vocabulary in it: put {wanted} next to it, which "
        "is in whisper/assets of the package openai-whisper."
    )


def _chosen(files: Mapping[str, bytes], size: int | None) -> str:
    there = [name for name in FILES if name in files]
    if len(there) == 1:
        return there[0]
    if size is None:
        raise _undetermined("whether the model is English-only, and of how many languages")
    return _of_size(size)


def _of_size(size: int) -> str:
    return ENGLISH if size == ENGLISH_SIZE else MULTILINGUAL


def _languages(name: str, ranks: int, size: int | None) -> int:
    if size is None and name == ENGLISH:
        return ENGLISH_LANGUAGES
    if size is None:
        raise _undetermined(f"how many languages there are: {name} is used with 99 and with 100")
    others = ranks + len(control_tokens(0)) + len(TIMESTAMPS)
    if not 1 <= size - others <= len(LANGUAGES):
        raise ConfigError(
            f"a model of {size} tokens would have {size - others} languages: {name} has {ranks} "
            f"ranks, and {others - ranks} are for control and time. Give the vocabulary that the "
            "model was trained with."
        )
    return size - others


def _undetermined(what: str) -> ConfigError:
    return ConfigError(
        f"the folder doesn't show {what}. Give it a config.json with the model's vocab_size, or "
        "pass it: WhisperTokenizer.from_folder(folder, vocabulary_size=51865), or 51866 for "
        "large-v3 and turbo."
    )


def parse_ranks(text: str, name: str) -> dict[bytes, int]:
    """Return token to rank; ranks run from 0, each once. CheckpointError naming the line."""
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        token, rank = _parse(line, f"line {number} of {name}")
        if token in ranks or rank in lines:
            what = f"the token {token!r}" if token in ranks else f"the rank {rank}"
            before = lines[ranks.get(token, rank)]
            raise CheckpointError(
                f"line {number} of {name} repeats {what} of line {before}. The file may be "
                "damaged: fetch it again."
            )
        ranks[token], lines[rank] = rank, number
    hole = next((rank for rank in range(len(lines)) if rank not in lines), None)
    if hole is not None or not lines:
        raise CheckpointError(
            f"{name} has {len(lines)} ranks and none is {hole or 0}; they should run from 0 "
            "without a hole. The file may be truncated: fetch it again."
        )
    return ranks


def _parse(line: str, place: str) -> tuple[bytes, int]:
    fields = line.split()
    if len(fields) != 2 or not (re.fullmatch(r"[0-9]{1,9}", fields[1])):
        raise CheckpointError(
            f"{place} is {line[:80]!r}, not a token in base64 and its rank. The file may be "
            "damaged: fetch it again."
        )
    try:
        # The multilingual vocabulary has an empty token, written as padding without letters.
        token = b"" if fields[0] == "=" else base64.b64decode(fields[0], validate=True)
    except ValueError as error:  # binascii.Error, or text that isn't ASCII
        raise CheckpointError(
            f"{place} has {fields[0][:80]!r}, which isn't base64 ({error}). The file may be "
            "damaged: fetch it again."
        ) from error
    if len(token) > LONGEST:
        raise CheckpointError(
            f"{place} has a token of {len(token):,} bytes, of at most {LONGEST:,}. The file may be "
            "damaged: fetch it again."
        )
    return token, int(fields[1])


def merges_of(ranks: Mapping[bytes, int], name: str) -> list[tuple[bytes, bytes]]:
    """Return the pairs that tokens were merged of, in order.

    A token's pair is what the tokens before it make of its bytes.

    Raises:
        CheckpointError: they don't make two parts of them.
    """
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) < 2:
            continue
        parts = _parts(token, ranks)
        if len(parts) != 2 or not all(part in ranks for part in parts):
            raise CheckpointError(
                f"{token!r} has the rank {ranks[token]} in {name}, and no two tokens of lower rank "
                "make it. The file may be damaged: fetch it again."
            )
        merges.append((parts[0], parts[1]))
    return merges


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Return the bytes of a token merged by the ranks before its own, down to two parts."""
    own = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(parts[i] + parts[i + 1], own) for i in range(len(parts) - 1)]
        best = min(pairs)
        if best >= own:
            break
        place = pairs.index(best)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def _letters(token: bytes) -> str:
    return "".join(BYTE_TO_UNICODE[byte] for byte in token)


AUTHOR_TOKENIZERS = (
    AuthorTokenizer(
        file_sets=tuple((name,) for name in FILES),
        convert=_convert,
        missing_files_hint=_missing_files_hint,
        with_config=True,
    ),
)
