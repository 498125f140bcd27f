"""The content of a tokenizer.json, with all defaults and with special tokens allowed in texts.

The format is that of the Rust `tokenizers` library.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.text.families import GENERIC_CLASSES, find_family, named_class
from inarch.text.family import TokenizerFamily
from inarch.text.json_parts import model_ids
from inarch.text.json_parts import split as split_at
from inarch.text.special_tokens import BERT_TOKENS, SPECIAL_TOKEN_NAMES, added_token, token_text
from inarch.text.tokenizer_json_checks import check_tokenizer_json
from inarch.text.word_piece_json import bert_options
from inarch.user_warnings import warn

# transformers writes int(1e30) for "no limit".
NO_LIMIT = 10**20


def resolve_special_tokens(
    spec: Mapping[str, Any], config: Mapping[str, Any], family: TokenizerFamily | None
) -> dict[str, str]:
    """Return name to token: what the config names, else the family's, where they exist."""
    model = spec["model"]
    ids = model_ids(model) | {token["content"]: 0 for token in spec["added_tokens"]}
    usual = BERT_TOKENS if model.get("type") == "WordPiece" else {}
    usual = family.special_token_texts if family else usual
    special_tokens = {}
    for name in SPECIAL_TOKEN_NAMES:
        default = model.get("unk_token") if name == "unk_token" else None
        if default is None:
            default = usual.get(name)
        token = token_text(config[name], name) if name in config else default
        if token is not None and (name in config or token in ids):
            special_tokens[name] = token
    return special_tokens


def fill_defaults(
    spec: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the content of a tokenizer.json as it is used, and its special tokens by name.

    Padding and truncation left over from training are dropped, and BERT's options in the config
    win over those of the tokenizer.json, as they do in transformers. Where that has no special
    tokens around a text, those of the config's class are put.

    Raises:
        CheckpointError: the tokenizer.json or the added tokens of the config are malformed.
    """
    check_tokenizer_json(spec)
    family = find_family(named_class(config, {}))
    try:
        added = [dict(token) for token in spec.get("added_tokens") or []]
        spec = {**spec, "padding": None, "truncation": None, "added_tokens": added}
        special_tokens = resolve_special_tokens(spec, config, family)
        ids = dict(model_ids(spec["model"]))
        _warn_of_unknown(special_tokens.get("unk_token"), ids, added, config)
        add_missing(added, ids, special_tokens, config)
        ids |= {token["content"]: token["id"] for token in added}
        if family and (spec.get("post_processor") or {}).get("type") in (None, "ByteLevel"):
            made = family.post_processor(spec, special_tokens, ids)
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
    level = spec.get("pre_tokenizer") or {}
    if level.get("type") == "ByteLevel" and family and family.reads_prefix_space:
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
    known = {*(entry["content"] for entry in added), *map(token_text, declared)}
    if token is not None and token not in ids and token not in known:
        warn(
            f"the vocabulary of {len(ids)} tokens has no {token!r}, which is the unk_token: its id "
            "comes after those of the vocabulary. If the model has no such row, add the token, or "
            "name the right one in tokenizer_config.json"
        )


def add_missing(
    added: list[dict[str, Any]],
    ids: Mapping[str, int],
    special_tokens: Mapping[str, str],
    config: Mapping[str, Any],
) -> None:
    """Add the tokens that the config names in transformers' order: by id, by name, the rest."""
    declared = config.get("added_tokens_decoder") or {}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, Mapping) else list(extra)
    control = {*special_tokens.values(), *map(token_text, extra)}
    present = {token["content"]: token["id"] for token in added}
    wanted = [declared[key] for key in sorted(declared, key=int)]
    wanted += [config.get(name, token) for name, token in special_tokens.items()]
    for token in wanted + extra:
        name = token_text(token)
        if name is not None and name not in present:
            fresh = max([len(ids) - 1, *present.values()]) + 1
            present[name] = ids.get(name, fresh)
            added.append(added_token(token, name, present[name], name in control))
    # Of a token that a file has already, one of the `extra` too, its own flag counts.
    named = {*special_tokens.values()}
    for token in added:
        token["special"] = token["content"] in named or bool(token.get("special"))


def with_allowed_special(spec: Mapping[str, Any], allowed: Collection[str], split: bool) -> str:
    """Return the text of a tokenizer.json by which the `allowed` special tokens are found in texts.

    The library passes over tokens marked special where it encodes them as text, so an allowed
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
        before = [spec["pre_tokenizer"]] if spec.get("pre_tokenizer") else []
        splits = [*before, split_at(cuts)]
        variant["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splits}
    return json.dumps(variant)


def model_max_length(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that the model takes; None where the config doesn't limit them."""
    value = config.get("model_max_length")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        raise ConfigError(
            f"model_max_length is {value!r} in tokenizer_config.json; it is a number of tokens."
        )
    return None if value >= NO_LIMIT else int(value)
