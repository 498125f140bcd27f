"""Whisper's tokenizer as a tokenizer.json, and its control tokens.

Text is GPT-2's byte-level byte pair encoding. Control tokens follow it: the end, the start, a
language each, tasks, and a time each 20 ms (whisper/tokenizer.py).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.errors import CheckpointError
from inarch.text.byte_level import BYTE_TO_UNICODE, WHISPER, byte_pair_json, flag
from inarch.text.families import GENERIC_CLASSES
from inarch.text.json_parts import (
    model_ids,
    sequence,
    special,
    template_processing,
    token_ids,
)
from inarch.text.languages import LANGUAGES, language_code
from inarch.text.special_tokens import added_token, token_text

END, START = "<|endoftext|>", "<|startoftranscript|>"
TRANSLATE, TRANSCRIBE = "<|translate|>", "<|transcribe|>"
START_OF_LM, START_OF_PREV = "<|startoflm|>", "<|startofprev|>"
# The first is the newer name of the second.
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
NO_TIMESTAMPS = "<|notimestamps|>"
TASKS = {"transcribe": TRANSCRIBE, "translate": TRANSLATE}
# 0.00 to 30.00 seconds.
TIMESTAMPS = tuple(f"<|{i * 0.02:.2f}|>" for i in range(1501))


def language_token(code: str) -> str:
    """Return the control token of a language."""
    return f"<|{code}|>"


def control_tokens(num_languages: int) -> list[str]:
    """Return the tokens from the end to the one before the timestamps, in OpenAI's order."""
    languages = [language_token(code) for code in list(LANGUAGES)[:num_languages]]
    tasks = [TRANSLATE, TRANSCRIBE, START_OF_LM, START_OF_PREV]
    return [END, START, *languages, *tasks, NO_SPEECH[0], NO_TIMESTAMPS]


def is_whisper(spec: str, config: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer.json and a tokenizer_config.json are Whisper's.

    Where the config names no class, as in CTranslate2's folders, the tokens decide.
    """
    named = str(config.get("tokenizer_class") or "")
    if named and named not in GENERIC_CLASSES:
        return named.removesuffix("Fast") == WHISPER.tokenizer_class
    text = spec + json.dumps(config.get("added_tokens_decoder"))
    return all(json.dumps(token) in text for token in (START, NO_TIMESTAMPS))


def build_whisper_json(
    ids: Mapping[str, int], merges: Sequence[Sequence[str]], control: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of a tokenizer.json and of a tokenizer_config.json.

    Args:
        ids: token to id.
        merges: pairs of tokens, the first to be merged first.
        control: control token to id, without the timestamps, which follow the last.
    """
    names = sorted(control, key=control.__getitem__)
    first = max(control.values(), default=-1) + 1
    times = {token: first + i for i, token in enumerate(TIMESTAMPS)}
    spec = byte_pair_json(ids, merges, {})
    # transformers takes the token after the last special one for the first timestamp.
    spec["added_tokens"] = [
        *(added_token({"normalized": False}, name, control[name], True) for name in names),
        *(added_token({"normalized": False}, name, index, False) for name, index in times.items()),
    ]
    special_tokens = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END)
    config = {
        "tokenizer_class": WHISPER.tokenizer_class,
        **special_tokens,
        "additional_special_tokens": names,
    }
    return spec, config


def check_tokens(spec: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check that every control token is there, and every byte.

    Raises:
        CheckpointError: one isn't, and is named.
    """
    declared = map(token_text, (config.get("added_tokens_decoder") or {}).values())
    ids = {*model_ids(spec["model"]), *(t["content"] for t in spec.get("added_tokens") or ())}
    ids.update(token for token in declared if token)
    wanted = [END, START, *TASKS.values(), START_OF_LM, START_OF_PREV, NO_TIMESTAMPS]
    missing = [token for token in wanted if token not in ids]
    if not any(token in ids for token in NO_SPEECH):
        missing.append(NO_SPEECH[0])
    if missing:
        raise CheckpointError(
            f"the tokenizer has no {', '.join(missing)} among its {len(ids)} tokens, so it isn't "
            "Whisper's. Give the folder the tokenizer.json that the model was published with."
        )
    lost = [byte for byte, letter in enumerate(BYTE_TO_UNICODE) if letter not in ids]
    if lost:
        raise CheckpointError(
            f"the tokenizer has no token for {len(lost)} of the 256 bytes, such as {lost[0]:#04x}, "
            "which would be lost from a text. Its vocabulary may be damaged: fetch it again."
        )


def add_control_tokens(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer.json in which all control tokens are found and none can be forged.

    Older files have no timestamps, which the model has all the same.

    Args:
        spec: as `inarch.text.tokenizer_json.fill_defaults` gives it.
        config: the tokenizer_config.json; its language, task and timestamps go into the template,
            as in transformers.

    Raises:
        CheckpointError: another token has the id of a timestamp.
    """
    added = {token["content"]: dict(token) for token in spec["added_tokens"]}
    ids = token_ids(spec)
    languages = map(language_token, LANGUAGES)
    names = [END, START, *languages, *TASKS.values(), START_OF_LM, START_OF_PREV, *NO_SPEECH]
    control = {name: ids[name] for name in (*names, NO_TIMESTAMPS) if name in ids}
    control |= _timestamps(ids)
    for name, index in control.items():
        flags = added.get(name, {"normalized": False})
        added[name] = added_token(flags, name, index, True)
    return {
        **spec,
        "added_tokens": sorted(added.values(), key=lambda token: token["id"]),
        "post_processor": _template(ids, config),
    }


def _timestamps(ids: Mapping[str, int]) -> dict[str, int]:
    """Return timestamp to id; ids are consecutive."""
    first = ids.get(TIMESTAMPS[0], ids[NO_TIMESTAMPS] + 1)
    times = {token: first + i for i, token in enumerate(TIMESTAMPS)}
    tokens = {index: token for token, index in ids.items()}
    for token, index in times.items():
        there, given = tokens.get(index, token), ids.get(token, index)
        if there != token or given != index:
            raise CheckpointError(
                f"the timestamp {token} should have the id {index}; "
                + (f"{there!r} has it." if there != token else f"it has {given}.")
                + " Give the folder the tokenizer.json that the model was published with."
            )
    return times


def _template(ids: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what transformers puts around a text, by the fields of the config."""
    prefix = [START]
    if config.get("language") is not None:
        prefix.append(language_token(language_code(config["language"])))
    task = config.get("task")
    if task is not None:
        prefix.append(TASKS.get(task, str(task)))
    if not flag(config, "predict_timestamps", False):
        prefix.append(NO_TIMESTAMPS)
    for token in prefix:
        if token not in ids:
            raise CheckpointError(
                f"tokenizer_config.json has language={config.get('language')!r} and "
                f"task={task!r}, and the tokenizer has no {token}. Correct the config."
            )
    start = [part for token in prefix for part in special(token, 0)]
    single = [*start, sequence("A", 0), *special(END, 0)]
    pair = [*start, sequence("A", 0), sequence("B", 1), *special(END, 1)]
    return template_processing(single, pair, ids)
