"""The JSON files of Whisper checkpoints next to config.json: generation and preprocessor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inarch.audio import HOP, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_SAMPLES
from inarch.json_fields import INDEX, TEXT, is_number, is_size, is_whole, json_text, read_field
from inarch.text import WhisperTokenizer
from inarch.validation import Validator

GENERATION = "generation_config.json"
PREPROCESSOR = "preprocessor_config.json"
CONFIG = "config.json"
# Fields of config.json that count without a generation_config.json.
IN_CONFIG = ("forced_decoder_ids", "suppress_tokens", "begin_suppress_tokens")


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(fits, value))


def _is_forced(pair: Any) -> bool:
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2
    return is_pair and is_whole(pair[0]) and (pair[1] is None or is_whole(pair[1]))


_TOKEN_IDS = Validator("a list of token ids", lambda value: _is_list(value, is_whole))
# Fields of generation_config.json that transcription reads.
GENERATION_FIELDS = {
    "language": TEXT,
    "task": TEXT,
    "forced_decoder_ids": Validator(
        "a list of [position, token id]", lambda value: _is_list(value, _is_forced)
    ),
    "suppress_tokens": _TOKEN_IDS,
    "begin_suppress_tokens": _TOKEN_IDS,
    "max_initial_timestamp_index": INDEX,
    "alignment_heads": Validator(
        "a list of [layer, head]",
        lambda value: _is_list(value, lambda pair: _is_list(pair, is_size) and len(pair) == 2),
    ),
    "repetition_penalty": Validator(
        "a number above 0", lambda value: is_number(value) and value > 0
    ),
    "no_repeat_ngram_size": INDEX,
}


def generation_config(tokenizer: WhisperTokenizer | None, max_length: int) -> dict[str, Any]:
    """Return the default content of generation_config.json.

    Args:
        tokenizer: the model's, where it is known.
        max_length: positions of the decoder.
    """
    if tokenizer is None:
        return {"max_length": max_length}
    config: dict[str, Any] = {
        "bos_token_id": tokenizer.end_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "pad_token_id": tokenizer.end_of_text,
        "decoder_start_token_id": tokenizer.start_of_transcript,
        "prev_sot_token_id": tokenizer.start_of_prev,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "is_multilingual": tokenizer.is_multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": max_length,
        "return_timestamps": False,
        "suppress_tokens": list(tokenizer.non_speech_tokens),
        "begin_suppress_tokens": list(tokenizer.suppress_blank),
    }
    if tokenizer.is_multilingual:
        config["lang_to_id"] = {f"<|{code}|>": i for code, i in tokenizer.languages.items()}
        config["task_to_id"] = {
            "transcribe": tokenizer.transcribe,
            "translate": tokenizer.translate,
        }
    return config


def preprocessor_config(num_mels: int) -> dict[str, Any]:
    """Return the content of preprocessor_config.json."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": num_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP,
        "n_fft": 400,
        "chunk_length": WINDOW_SAMPLES // SAMPLE_RATE,
        "n_samples": WINDOW_SAMPLES,
        "nb_max_frames": WINDOW_FRAMES,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def config_files(
    tokenizer: WhisperTokenizer | None,
    sizes: Mapping[str, Any],
    generation: Mapping[str, Any],
    files: Mapping[str, str],
) -> dict[str, str]:
    """Return the two JSON files of a saved task by name; files that it was loaded from are kept.

    Args:
        tokenizer: the model's, where it is known.
        sizes: the backbone's arguments.
        generation: the content of generation_config.json.
        files: JSON files of the checkpoint; its generation_config.json is kept if unchanged.
    """
    settings = generation_config(tokenizer, sizes["max_decoder_sequence_length"])
    made = {
        GENERATION: {**settings, **generation},
        PREPROCESSOR: preprocessor_config(sizes["num_mels"]),
    }
    texts = {name: json_text(value) for name, value in made.items()}
    kept = {name: files[name] for name in made if name in files}
    if GENERATION in kept and json.loads(kept[GENERATION]) != generation:
        del kept[GENERATION]
    return texts | kept


def declared_generation(generation: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of generation_config.json, else its fields in config.json.

    Args:
        generation: the content of generation_config.json, empty where there is no such file.
        config: the content of config.json.

    Raises:
        ConfigError: such a field of config.json isn't of its kind.
    """
    if generation:
        return dict(generation)
    values = {
        name: read_field(config, name, GENERATION_FIELDS[name], None, where=CONFIG)
        for name in IN_CONFIG
    }
    return {name: value for name, value in values.items() if value is not None}


def declared_value(generation: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return the value of a field, None where it is null, and `default` where it is absent.

    Raises:
        ConfigError: it isn't of its kind.
    """
    if name not in generation:
        return default
    return read_field(generation, name, GENERATION_FIELDS[name], None, where=GENERATION)


def declared_prompt(
    generation: Mapping[str, Any], tokenizer: WhisperTokenizer
) -> tuple[str | None, str]:
    """Return the language of a checkpoint, None to detect it, and its task.

    As in transformers, `forced_decoder_ids` count where neither `language` nor `task` is there.

    Raises:
        ConfigError: a value isn't of its kind.
    """
    language, task = declared_value(generation, "language"), declared_value(generation, "task")
    if language is None and task is None:
        forced = declared_value(generation, "forced_decoder_ids") or ()
        language, task = _forced_prompt(forced, tokenizer)
    if not tokenizer.is_multilingual:
        # Some English-only checkpoints name a task, the only one they have.
        return None, task or "transcribe"
    if language is not None:
        language = language.removeprefix("<|").removesuffix("|>")
    return language, task or "transcribe"


def _forced_prompt(
    forced: Sequence[Sequence[Any]], tokenizer: WhisperTokenizer
) -> tuple[str | None, str | None]:
    """Return language and task of forced tokens, `[[1, 50259], [2, 50359], [3, 50363]]`."""
    token_ids = {token_id for _, token_id in forced}
    codes = [code for code, token_id in tokenizer.languages.items() if token_id in token_ids]
    tasks = {tokenizer.transcribe: "transcribe", tokenizer.translate: "translate"}
    named = [task for token_id, task in tasks.items() if token_id in token_ids]
    if not tokenizer.is_multilingual:
        return None, None
    return next(iter(codes), None), next(iter(named), None)
