"""Files of a tokenizer, read and written byte for byte, and the settings in their JSON."""

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import inarch.file_names as file_names
from inarch.checkpoints.io.atomic_write import adding
from inarch.errors import CheckpointError, CheckpointFileError, ConfigError
from inarch.files import read_file
from inarch.json_fields import is_text, object_in, read_field
from inarch.paths import check_file_name, resolve_inside
from inarch.user_warnings import warn
from inarch.validation import Validator, listed

TOKENIZER_JSON = "tokenizer.json"
VOCABULARY_FILE = "vocab.txt"
CODES_FILE = "bpe.codes"
IDS_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
CONFIG_FILE = "tokenizer_config.json"
MODEL_CONFIG_FILE = "config.json"

# Everything a tokenizer may come with: what isn't read here is still handed back on save.
TOKENIZER_FILES = file_names.TOKENIZER_FILES

# A vocabulary line ends at Unicode white space, as the Rust reader of `vocab.txt` has it.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def model_vocabulary_size(folder: str | os.PathLike) -> int | None:
    """Return the size of the vocabulary in a folder's config.json; None where it has none."""
    value = model_config(folder).get("vocab_size")
    return value if type(value) is int else None


def model_config(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a folder's config.json; {} where there is none."""
    path = resolve_inside(Path(folder), MODEL_CONFIG_FILE)
    return object_in(*read_text(path), ConfigError) if path.is_file() else {}


def read_text(path: str | os.PathLike) -> tuple[str, str]:
    """Return the UTF-8 text of the file at `path`, and the file's name."""
    file = Path(path)
    return decode_text({file.name: read_file(file)}, file.name), file.name


def save_folder(folder: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Save a tokenizer's files to a folder, as a whole or not at all.

    The files of another tokenizer that was there are removed, since one of them may be read first.

    Raises:
        CheckpointFileError: the folder can't be written to; what was there stays as it was.
    """
    check_names(files)
    with adding(folder) as fresh:
        write_tokenizer_files(fresh, files)


def write_tokenizer_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a tokenizer's files into a folder that is new and nobody's yet."""
    check_names(files)
    try:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise CheckpointFileError(f"the tokenizer can't be written to {folder}: {error}") from error


def check_names(files: Mapping[str, bytes]) -> None:
    """Refuse a name that isn't bare: a stored config must not write outside its folder."""
    for name in files:
        check_file_name(name, "the name of a tokenizer's file", plain=True)


def decode_text(files: Mapping[str, bytes], name: str) -> str:
    """Return the UTF-8 text of a file; the error for anything else names the file and the byte."""
    try:
        text = files[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{name} isn't UTF-8 text: byte {error.start} is {files[name][error.start]:#04x}. "
            "Save it as UTF-8, or fetch it again."
        ) from error
    if text.startswith("\ufeff"):
        raise CheckpointError(
            f"{name} begins with a byte order mark; save it as UTF-8 without one."
        )
    return text


def _is_token(value: Any) -> bool:
    return value is None or is_text(value.get("content") if isinstance(value, dict) else value)


def _are_tokens(value: Any) -> bool:
    values = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and all(map(_is_token, values))


def _is_decoder(value: Any) -> bool:
    # No vocabulary has an id of more digits.
    return _are_tokens(value) and all(re.fullmatch("[0-9]{1,18}", str(key)) for key in value)


# Fields that hold added tokens, each a text or an object with `content`.
TOKEN_FIELDS = {
    "added_tokens_decoder": Validator("an object from ids to tokens", _is_decoder),
    "additional_special_tokens": Validator("a list of tokens", _are_tokens),
    "extra_special_tokens": Validator("a list of tokens, or an object of them", _are_tokens),
}


def merged_config(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return tokenizer_config.json with the two older files folded in, as transformers folds them.

    `special_tokens_map.json` and `added_tokens.json` count only where the config has no
    `added_tokens_decoder`; then the map's tokens win over the config's.
    """
    config, special, added = (
        object_in(decode_text(files, name), name, ConfigError) if name in files else {}
        for name in (CONFIG_FILE, "special_tokens_map.json", "added_tokens.json")
    )
    for name, content in ((CONFIG_FILE, config), ("special_tokens_map.json", special)):
        for key, kind in TOKEN_FIELDS.items():
            read_field(content, key, kind, None, where=name)
    if "added_tokens_decoder" in config:
        return config
    for token, index in added.items():
        if type(index) is not int:
            raise ConfigError(f"added_tokens.json gives {token!r} the id {index!r}, not a number.")
    decoder = {str(index): {"content": token} for token, index in added.items()}
    return {**config, **special, **({"added_tokens_decoder": decoder} if decoder else {})}


def parse_vocabulary(text: str, name: str = VOCABULARY_FILE, lenient: bool = False) -> list[str]:
    """Return the tokens, one per line, `\\n` or `\\r\\n`; the line number is the id.

    Args:
        lenient: whether repeated tokens, of which the last counts, and blank lines are a warning.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    # A token made of rare white space alone is kept: it never matches, but its row exists.
    tokens = [line.rstrip(WHITE_SPACE) or line.strip("\t\v\f\r ") for line in lines]
    if lenient and any(tokens):
        _warn_of_repeated(tokens, name)
    else:
        check_vocabulary(tokens, lambda index: f"line {index + 1} of {name}")
    return tokens


def _warn_of_repeated(tokens: list[str], name: str) -> None:
    last = {token: index for index, token in enumerate(tokens)}
    odd = [i for i, token in enumerate(tokens) if not token or last[token] != i]
    if odd:
        shown = listed([f"{tokens[i]!r} in line {i + 1}" for i in odd], 6)
        warn(
            f"{name} has blank lines, or tokens that a later line has again: {shown}. A "
            "token's last line counts, as in transformers; the ids of the others are never used"
        )


def check_vocabulary(tokens: list[str], place: Any) -> None:
    """Refuse blank and repeated tokens; `place(index)` is what the error calls a token's place."""
    if not tokens:
        raise CheckpointError("the vocabulary is empty; give one token per line.")
    first: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if not isinstance(token, str) or not token:
            raise CheckpointError(
                f"{place(index)} is {token!r}, not a token. Every id needs one: "
                "remove it, or write a placeholder such as [unused0]."
            )
        if token in first:
            raise CheckpointError(
                f"{place(index)} repeats {token!r} of {place(first[token])}, so two ids would "
                "mean one token. Rename one of them, for instance to [unused0]."
            )
        first[token] = index


def files_to_json(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return files as JSON values: text where they are UTF-8, else `{"base64": ...}`."""
    values: dict[str, Any] = {}
    for name, data in files.items():
        try:
            values[name] = data.decode("utf-8")
        except UnicodeDecodeError:
            values[name] = {"base64": base64.b64encode(data).decode("ascii")}
    return values


def files_from_json(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of `files_to_json`."""
    files: dict[str, bytes] = {}
    for name, value in values.items():
        try:
            files[name] = (
                value.encode("utf-8")
                if isinstance(value, str)
                else base64.b64decode(value["base64"], validate=True)
            )
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(
                f"the tokenizer's config has no readable {name!r}; it should be the file's text."
            ) from error
    return files
