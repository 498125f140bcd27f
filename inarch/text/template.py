"""Special tokens around a text, as the class of a tokenizer puts them.

Source: transformers, whose classes put them also where a tokenizer.json says nothing of it.
"""

from collections.abc import Mapping
from typing import Any

from inarch.text.special_tokens import GPT2, ROBERTA, default_special_tokens


def class_template(
    spec: Mapping[str, Any],
    config: Mapping[str, Any],
    special_tokens: Mapping[str, str],
    ids: Mapping[str, int],
) -> dict[str, Any] | None:
    """The post-processor of the class that a config names; None where it has none.

    Args:
        spec: the content of a tokenizer.json.
        config: the tokenizer_config.json, with the class.
        special_tokens: role to token.
        ids: token to id, with the added tokens.
    """
    kind = default_special_tokens(config)
    names = [special_tokens.get(role, "") for role in ("cls_token", "sep_token")]
    first, last = ((name, ids[name]) if name in ids else None for name in names)
    if not kind or kind is GPT2 or first is None or last is None:
        return None
    if kind is not ROBERTA:
        return _template(first, last, pair_separator=False)
    level = spec.get("pre_tokenizer") or {}
    if level.get("type") != "ByteLevel":
        return _template(first, last, pair_separator=True)
    return {
        "type": "RobertaProcessing",
        "sep": list(last),
        "cls": list(first),
        "trim_offsets": True,
        "add_prefix_space": bool(level.get("add_prefix_space", False)),
    }


def _template(
    first: tuple[Any, int], last: tuple[Any, int], pair_separator: bool
) -> dict[str, Any]:
    """`first A last B last` of two segments, or `first A last last B last` of one."""
    second = 0 if pair_separator else 1

    def special(token: tuple[Any, int], segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token[0], "type_id": segment}}

    single = [special(first, 0), {"Sequence": {"id": "A", "type_id": 0}}, special(last, 0)]
    between = [special(last, 0)] if pair_separator else []
    text = {"Sequence": {"id": "B", "type_id": second}}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *between, text, special(last, second)],
        "special_tokens": {
            token: {"id": token, "ids": [index], "tokens": [token]}
            for token, index in dict([first, last]).items()
        },
    }
