"""Checks of a tokenizer.json from a stranger, before the Rust library gets it.

The library reports most faults itself. Checked here is what would take its memory or end the
process, and what else is read of the file.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from inarch.errors import CheckpointError
from inarch.json_fields import LIST, OBJECT, TEXT, is_text, is_whole, read_field
from inarch.validation import Validator, shown

NAME = "tokenizer.json"
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# Ids are 32 bits wide in the library.
TOKEN_ID = Validator("a token id", lambda value: is_whole(value) and 0 <= value < 1 << 32)
TOKEN_TEXT = Validator("text, and not empty", lambda value: is_text(value) and value != "")
# How much longer the replacements of a normalizer may make a text, all of them together.
LARGEST_GROWTH = 10_000


def check_tokenizer_json(spec: Mapping[str, Any]) -> None:
    """Check the form of a tokenizer.json.

    Raises:
        CheckpointError: a field is malformed, and is named.
    """
    _check_vocabulary(_read(spec, "model", OBJECT))
    for place, token in enumerate(_read(spec, "added_tokens", LIST, [])):
        where = f"{NAME}, added token {place}"
        if not isinstance(token, dict):
            raise CheckpointError(f"{where} is {shown(token)}; it must be an object, {{...}}")
        read_field(token, "content", TOKEN_TEXT, where=where, error=CheckpointError)
        read_field(token, "id", TOKEN_ID, where=where, error=CheckpointError)
    for part in PARTS:
        steps = list(_steps(_read(spec, part, OBJECT, {})))
        for step in steps:
            if step.get("type") == "Precompiled":
                table = read_field(
                    step, "precompiled_charsmap", TEXT, "", where=NAME, error=CheckpointError
                )
                check_charsmap(_bytes(table), f"precompiled_charsmap in {NAME}")
        _check_growth(steps, part)


def _read(spec: Mapping[str, Any], name: str, validator: Validator, *default: Any) -> Any:
    return read_field(spec, name, validator, *default, where=NAME, error=CheckpointError)


def _check_vocabulary(model: Mapping[str, Any]) -> None:
    vocabulary = model.get("vocab", {})
    if isinstance(vocabulary, dict):
        wrong = next((t for t, i in vocabulary.items() if not TOKEN_ID.fits(i)), None)
        if wrong is not None:
            raise CheckpointError(
                f"{NAME} gives {shown(wrong)} the id {shown(vocabulary[wrong])}; it must be "
                f"{TOKEN_ID.words}"
            )
        return
    entries = vocabulary if isinstance(vocabulary, list) else [vocabulary]
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise CheckpointError(
                f"{NAME} has {shown(entry)} in its vocabulary; it must be a token and its score"
            )


def _steps(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a normalizer, decoder or the like, and each step of a sequence."""
    waiting: list[Any] = [part]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            waiting.extend(value for value in step.values() if isinstance(value, list))
        elif isinstance(step, list):
            waiting.extend(inner for inner in step if isinstance(inner, dict))


def _check_growth(steps: list[Mapping[str, Any]], part: str) -> None:
    growth = 1
    for step in steps:
        added = [step.get("content")] if step.get("type") == "Replace" else []
        for text in added:
            growth *= max(1, len(text)) if isinstance(text, str) else 1
        if growth > LARGEST_GROWTH:
            raise CheckpointError(
                f"the {part} in {NAME} would make a text more than {LARGEST_GROWTH:,} times as "
                "long, by one replacement after the other; no model needs that"
            )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise CheckpointError(f"precompiled_charsmap in {NAME} isn't base64 ({e})") from e


def check_charsmap(data: bytes, name: str) -> None:
    """Check the size that a table of replacements states against its own.

    The library takes memory for as many rules as the first four bytes state.

    Raises:
        CheckpointError: the table, called `name`, is damaged.
    """
    size = int.from_bytes(data[:4], "little")
    if data and (size % 4 or not 4 <= size < len(data) - 4):
        raise CheckpointError(
            f"{name} is damaged: it states that {size} of its {len(data)} bytes are rules. "
            "Fetch the file again."
        )
