"""A tokenizer's description (the JSON of tokenizer.json): built, completed, and made variants of.

The format is that of the Rust `tokenizers` library.
"""

import json
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.text.special_tokens import (
    BERT,
    SPECIAL_TOKEN_NAMES,
    default_special_tokens,
    resolve_tokenizer_class,
)
from inarch.text.template import class_template
from inarch.text.tokenizer_json_checks import check_tokenizer_json

# transformers writes int(1e30) for "no limit".
NO_LIMIT = 10**20
# A tokenizer class that takes tokenizer.json as it is; the others read the config's BERT options.
GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
PREFIX_CLASSES = ("RobertaTokenizer", "GPT2Tokenizer")
BERT_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def word_piece_json(
    vocabulary: Sequence[str],
    config: Mapping[str, Any],
    suffix_indicator: str = "##",
) -> dict[str, Any]:
    """BERT's tokenizer (Devlin et al., 2018, arXiv:1810.04805) over `vocabulary`.

    `config` is a tokenizer_config.json; what it leaves out is as in BERT's uncased models.
    """
    ids = {token: index for index, token in enumerate(vocabulary)}
    names = {role: token_text(config.get(role, name), role) for role, name in BERT.items()}
    if names["unk_token"] is None:
        raise ConfigError("unk_token is None; WordPiece needs a token for unknown words.")
    _add_unknown(ids, names)
    cls, sep = names["cls_token"], names["sep_token"]
    single = [special(cls, 0), {"Sequence": {"id": "A", "type_id": 0}}, special(sep, 0)]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, special(sep, 1)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
            **bert_options(config),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece for piece in single if piece],
            "pair": [piece for piece in single + second if piece],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in (cls, sep)
                if token
            },
        }
        if all(token is None or token in ids for token in (cls, sep))
        else None,  # which `fill_defaults` makes when they have ids
        "decoder": {"type": "WordPiece", "prefix": suffix_indicator, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": names["unk_token"],
            "continuing_subword_prefix": suffix_indicator,
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def _add_unknown(ids: dict[str, int], names: Mapping[str, str | None]) -> None:
    """Give the unknown token an id where the vocabulary has none, and say what it lacks."""
    special_tokens = ("unk_token", "cls_token", "sep_token")
    lacking = {
        role: token for role in special_tokens if (token := names[role]) and token not in ids
    }
    if not lacking:
        return
    warnings.warn(
        f"the vocabulary of {len(ids)} tokens has no "
        + ", ".join(f"{token!r}, which is the {role}" for role, token in lacking.items())
        + ": its id comes after those of the vocabulary. If the model has no such row, add the "
        "token, or name the right one in tokenizer_config.json",
        stacklevel=2,
    )
    if "unk_token" in lacking:
        ids[lacking["unk_token"]] = max(ids.values()) + 1


def special(token: str | None, segment: int) -> dict[str, Any] | None:
    """A template's piece for a special token."""
    return {"SpecialToken": {"id": token, "type_id": segment}} if token else None


def token_text(value: Any, name: str) -> str | None:
    """A token given as text or as an object with `content`; None where there is none."""
    if isinstance(value, Mapping):
        value = value.get("content", value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}; it should be text or an object with 'content'.")
    return value


def bert_options(config: Mapping[str, Any]) -> dict[str, bool | None]:
    """The normalizer fields that a tokenizer_config.json of BERT's kind sets."""
    options = {field: config[key] for key, field in BERT_OPTIONS.items() if key in config}
    for key, field in BERT_OPTIONS.items():
        value = options.get(field, True)
        if not isinstance(value, bool) and not (value is None and field == "strip_accents"):
            raise ConfigError(f"{key} is {value!r} in tokenizer_config.json; it is true or false.")
    return options


def resolve_special_tokens(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """Which token plays which role: what the config names, else its kind's, where they exist."""
    model = spec["model"]
    ids = model_ids(model) | {token["content"]: 0 for token in spec["added_tokens"]}
    usual = default_special_tokens(config) or (BERT if model.get("type") == "WordPiece" else {})
    special_tokens = {}
    for role in SPECIAL_TOKEN_NAMES:
        default = model.get("unk_token") if role == "unk_token" else None
        if default is None:
            default = usual.get(role)
        token = token_text(config[role], role) if role in config else default
        if token is not None and (role in config or token in ids):
            special_tokens[role] = token
    return special_tokens


def model_ids(model: Mapping[str, Any]) -> dict[str, int]:
    """Token to id, without the added tokens. Unigram stores a list of (token, score)."""
    vocabulary = model.get("vocab", {})
    if isinstance(vocabulary, dict):
        return vocabulary
    return {entry[0]: index for index, entry in enumerate(vocabulary)}


def fill_defaults(
    spec: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The description as it is used, and which token plays which role.

    Padding and truncation left over from training are dropped, and BERT's options in the config
    win over the description's, as they do in transformers. So do the special tokens that the
    config's class puts around a text, where the description has none.
    """
    check_tokenizer_json(spec)
    try:
        added = [dict(token) for token in spec.get("added_tokens") or []]
        spec = {**spec, "padding": None, "truncation": None, "added_tokens": added}
        special_tokens = resolve_special_tokens(spec, config)
        ids = dict(model_ids(spec["model"]))
        _warn_of_unknown(special_tokens.get("unk_token"), ids, added, config)
        add_missing(added, ids, special_tokens, config)
        ids |= {token["content"]: token["id"] for token in added}
        if (spec.get("post_processor") or {}).get("type") in (None, "ByteLevel"):
            made = class_template(spec, config, special_tokens, ids)
            spec["post_processor"] = made or spec.get("post_processor")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            "tokenizer.json (or the added tokens in tokenizer_config.json) isn't of the tokenizers "
            f"library's form: {type(error).__name__} {error}. Save it again with that library."
        ) from error
    normalizer = spec.get("normalizer") or {}
    generic = config.get("tokenizer_class") in GENERIC_CLASSES
    if normalizer.get("type") == "BertNormalizer" and not generic:
        spec["normalizer"] = {**normalizer, **bert_options(config)}
    # The classes that take the config's word on it, whatever the description says.
    level = spec.get("pre_tokenizer") or {}
    if level.get("type") == "ByteLevel" and resolve_tokenizer_class(config, {}) in PREFIX_CLASSES:
        prefix = config.get("add_prefix_space") or False
        spec["pre_tokenizer"] = {**level, "add_prefix_space": prefix}
    return spec, special_tokens


def _warn_of_unknown(
    token: str | None,
    ids: Mapping[str, int],
    added: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
) -> None:
    """Warn where the token for unknown words has no id in any file, and so is given one."""
    declared = (config.get("added_tokens_decoder") or {}).values()
    known = {*(entry["content"] for entry in added), *map(added_token_text, declared)}
    if token is not None and token not in ids and token not in known:
        warnings.warn(
            f"the vocabulary of {len(ids)} tokens has no {token!r}, which is the unk_token: its id "
            "comes after those of the vocabulary. If the model has no such row, add the token, or "
            "name the right one in tokenizer_config.json",
            stacklevel=2,
        )


def add_missing(
    added: list[dict[str, Any]],
    ids: Mapping[str, int],
    special_tokens: Mapping[str, str],
    config: Mapping[str, Any],
) -> None:
    """Add the tokens that the config names in transformers' order: by id, by role, the rest."""
    declared = config.get("added_tokens_decoder") or {}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, Mapping) else list(extra)
    control = {*special_tokens.values(), *map(added_token_text, extra)}
    present = {token["content"]: token["id"] for token in added}
    wanted = [declared[key] for key in sorted(declared, key=int)]
    wanted += [config.get(role, token) for role, token in special_tokens.items()]
    for token in wanted + extra:
        name = added_token_text(token)
        if name is not None and name not in present:
            fresh = max([len(ids) - 1, *present.values()]) + 1
            present[name] = ids.get(name, fresh)
            added.append(added_token(token, name, present[name], name in control))
    for token in added:
        token["special"] = token["content"] in control or bool(token.get("special"))


def added_token_text(value: Any) -> str | None:
    """The text of a token that fills no role."""
    return token_text(value, "an added token")


def added_token(token: Any, name: str, index: int, control: bool) -> dict[str, Any]:
    """An entry of `added_tokens`; flags that the config gives are kept."""
    flags = token if isinstance(token, Mapping) else {}
    is_special = control or bool(flags.get("special"))
    return {
        "id": index,
        "content": name,
        "single_word": bool(flags.get("single_word", False)),
        "lstrip": bool(flags.get("lstrip", False)),
        "rstrip": bool(flags.get("rstrip", False)),
        "normalized": bool(flags.get("normalized", not is_special)),
        "special": is_special,
    }


def with_allowed_special(spec: Mapping[str, Any], allowed: Collection[str], split: bool) -> str:
    """The description as JSON, in which the `allowed` control tokens are found in a text.

    The library passes over tokens marked special when told to encode them as text, so an allowed
    one is marked as ordinary here. With `split`, the literal text of a blocked one is also cut
    after its first character, for models whose own vocabulary would match it (Unigram does).
    """
    tokens = [
        {**token, "special": token["special"] and token["content"] not in allowed}
        for token in spec["added_tokens"]
    ]
    variant = {**spec, "added_tokens": tokens}
    blocked = [t["content"] for t in tokens if t["special"] and len(t["content"]) > 1]
    if split and blocked:
        cuts = "|".join(f"(?<={re.escape(t[0])})(?={re.escape(t[1:])})" for t in sorted(blocked))
        cut = {
            "type": "Split",
            "pattern": {"Regex": cuts},
            "behavior": "Isolated",
            "invert": False,
        }
        before = [spec["pre_tokenizer"]] if spec.get("pre_tokenizer") else []
        variant["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*before, cut]}
    return json.dumps(variant)


def model_max_length(config: Mapping[str, Any]) -> int | None:
    """The most tokens the model takes; None where the config has none, or the mark for none."""
    value = config.get("model_max_length")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        raise ConfigError(
            f"model_max_length is {value!r} in tokenizer_config.json; it is a number of tokens."
        )
    return None if value >= NO_LIMIT else int(value)
