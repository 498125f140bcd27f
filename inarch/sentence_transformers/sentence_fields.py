"""Fields of sentence-transformers' config files: the values that are computed here.

The fields are those that the library's loader reads (base/model.py and the constructors of
`Transformer`, `Pooling` and `Normalize`); it takes no others for a module, and ignores others in
config_sentence_transformers.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError
from inarch.json_fields import COUNT, FLAG, NUMBER
from inarch.preprocessors.pair_preprocessor import MESSAGE_FORMATS
from inarch.validation import Validator, optional, shown

# `similarity_fn_name` of config_sentence_transformers.json.
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

Check = Callable[[Any], bool]


def one_of(*values: Any) -> Check:
    return lambda value: any(value == v and type(value) is type(v) for v in values)


optional_count = optional(COUNT).accepts
_optional_flag = optional(FLAG).accepts
_optional_text = optional(Validator("text", types=(str,))).accepts


def any_value(value: Any) -> bool:
    return True


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def _prompts(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(_optional_text(text) for text in value.values())
    )


def _modes(value: Any) -> bool:
    several = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
    return bool(several) or _optional_text(value)


def _keywords(**known: Check) -> Check:
    """Return a check of the loader's keyword arguments, whose values must change no number."""
    return lambda value: (
        value is None
        or (isinstance(value, dict) and all(known.get(k, _never)(v) for k, v in value.items()))
    )


def _never(value: Any) -> bool:
    return False


def _token_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
# Where files are fetched from and how the same function is computed.
_FETCHING = dict.fromkeys(
    ("trust_remote_code", "revision", "token", "cache_dir", "subfolder", "local_files_only"),
    any_value,
)
_MODEL = _keywords(
    **_FETCHING,
    **dict.fromkeys(
        (
            "attn_implementation", "add_pooling_layer", "device_map", "low_cpu_mem_usage",
            "use_safetensors", "use_cache",
        ),
        any_value,
    ),
)  # fmt: skip
_PROCESSOR = _keywords(
    **_FETCHING, use_fast=any_value, model_max_length=optional_count, padding_side=one_of("right")
)
_CONFIG = _keywords(**_FETCHING, use_cache=any_value)

TRANSFORMER: dict[str, Check] = {
    "max_seq_length": optional_count,
    "do_lower_case": _optional_flag,
    "transformer_task": one_of("feature-extraction"),
    "modality_config": one_of(_TEXT),
    "module_output_name": one_of("token_embeddings"),
    "processing_kwargs": one_of(None, {}),
    # Whether rows are computed without padding, which gives the same vectors.
    "unpad_inputs": _optional_flag,
    "query_length": one_of(None),
    "document_length": one_of(None),
    "query_expansion": one_of(None),
    "tokenizer_name_or_path": one_of(None),
    **dict.fromkeys(("model_kwargs", "model_args"), _MODEL),
    **dict.fromkeys(("processor_kwargs", "tokenizer_args"), _PROCESSOR),
    **dict.fromkeys(("config_kwargs", "config_args"), _CONFIG),
}
# The same of a transformer with a classification head, as CrossEncoder has it.
CROSS_ENCODER_TRANSFORMER: dict[str, Check] = {
    **TRANSFORMER,
    "transformer_task": one_of("sequence-classification"),
    "modality_config": one_of({"text": {"method": "forward", "method_output_name": "logits"}}),
    "module_output_name": one_of("scores"),
}
_BY_FORWARD = {"method": "forward", "method_output_name": "logits"}


def _causal_modalities(value: Any) -> bool:
    """Return whether a transformer reads pairs as texts, or as messages of a known format."""
    if not isinstance(value, dict) or not value.keys() <= {"text", "message"}:
        return False
    text, message = value.get("text", _BY_FORWARD), value.get("message", _BY_FORWARD)
    formats = ("auto", *MESSAGE_FORMATS)
    return text == _BY_FORWARD and any(
        message == {**_BY_FORWARD, **extra}
        for extra in ({}, *({"format": name} for name in formats))
    )


def _template_variables(value: Any) -> bool:
    """Return whether processing arguments are variables of a chat template alone."""
    if not isinstance(value, dict | None) or not (value or {}).keys() <= {"chat_template"}:
        return False
    variables = (value or {}).get("chat_template", {})
    plain = isinstance(variables, dict) and all(
        isinstance(each, str | bool | int | float | None) for each in variables.values()
    )
    return plain and variables.keys().isdisjoint(
        ("chat_template", "max_length", "padding", "restore_suffix", "truncation")
    )


# The same of a causal language model, whose padding is at the left.
CAUSAL_TRANSFORMER: dict[str, Check] = {
    **TRANSFORMER,
    "transformer_task": one_of("text-generation"),
    "modality_config": _causal_modalities,
    "module_output_name": one_of("causal_logits"),
    "processing_kwargs": _template_variables,
    "processor_kwargs": _keywords(
        **_FETCHING, use_fast=any_value, model_max_length=optional_count, padding_side=any_value
    ),
}
LOGIT_SCORE: dict[str, Check] = {
    "true_token_id": _token_id,
    "false_token_id": optional(Validator("a token's id", _token_id)).accepts,
    "module_input_name": one_of("causal_logits"),
}
# The older form of `pooling_mode`, in the order in which the modes are concatenated.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING: dict[str, Check] = {
    # The width is the transformer's, whatever a file has.
    "embedding_dimension": any_value,
    "word_embedding_dimension": any_value,
    "pooling_mode": _modes,
    "include_prompt": one_of(True),
    **dict.fromkeys(POOLING_FLAGS, _optional_flag),
}
NORMALIZE: dict[str, Check] = {
    "module_input_name": one_of("sentence_embedding"),
    "module_output_name": one_of("sentence_embedding", None),
}
DENSE: dict[str, Check] = {
    "in_features": COUNT.accepts,
    "out_features": COUNT.accepts,
    "bias": FLAG.accepts,
    # Which names are known is checked where the layer is made.
    "activation_function": _optional_text,
    "use_residual": FLAG.accepts,
    **NORMALIZE,
}
LAYER_NORM: dict[str, Check] = {"dimension": COUNT.accepts}
WORD_WEIGHTS: dict[str, Check] = {
    "vocab": _texts,
    "word_weights": lambda value: (
        isinstance(value, dict) and all(map(NUMBER.accepts, value.values()))
    ),
    "unknown_word_weight": NUMBER.accepts,
}
SETTINGS: dict[str, Check] = {
    "prompts": _prompts,
    "default_prompt_name": _optional_text,
    "similarity_fn_name": lambda value: value is None or one_of(*SIMILARITIES)(value),
    "truncate_dim": optional_count,
    "model_type": one_of("SentenceTransformer"),
}

CROSS_ENCODER_FIELDS: dict[str, Check] = {
    "prompts": _prompts,
    "default_prompt_name": _optional_text,
    "model_type": one_of("CrossEncoder"),
}


def check_fields(
    path: Path, config: Mapping[str, Any], known: Mapping[str, Check], strict: bool = True
) -> None:
    """Refuse by name a field whose value isn't computed here.

    Args:
        path: the file, as errors call it.
        strict: whether other fields than `known` are refused too.

    Raises:
        ConfigError: naming every such field, with its value.
    """
    refused = [
        f"{name}={shown(value)}"
        for name, value in config.items()
        if not (known[name](value) if name in known else not strict)
    ]
    if refused:
        raise ConfigError(
            f"{path}: {', '.join(refused)} can't be computed here. Remove what the model doesn't "
            "need, or take the transformer alone by Backbone.from_preset"
        )


def keyword_arguments(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the keyword arguments that a file gives under either of two names."""
    return next((config[name] for name in names if config.get(name)), {})
