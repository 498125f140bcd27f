"""Special tokens around a text and a pair, as a post-processor of tokenizer.json.

Source: transformers, whose classes put them also where a tokenizer.json says nothing of it.
"""

from collections.abc import Mapping
from typing import Any

from inarch.text.family import TokenizerFamily


def family_template(
    family: TokenizerFamily,
    spec: Mapping[str, Any],
    special_tokens: Mapping[str, str],
    ids: Mapping[str, int],
) -> dict[str, Any] | None:
    """Return the post-processor of a family; None where it has none, or no tokens for it.

    Args:
        family: whose `template` and `ends` it is.
        spec: the content of a tokenizer.json.
        special_tokens: name to token.
        ids: token to id, with the added tokens.
    """
    first, last = (special_tokens.get(name, "") for name in family.ends)
    if family.template == "none" or first not in ids or last not in ids:
        return None
    level = spec.get("pre_tokenizer") or {}
    if family.template == "roberta" and level.get("type") == "ByteLevel":
        return roberta_processing(first, last, ids, bool(level.get("add_prefix_space", False)))
    return template(first, last, ids, doubled=family.template == "roberta")


def roberta_processing(
    first: str, last: str, ids: Mapping[str, int], prefix: bool, trim_offsets: bool = True
) -> dict[str, Any]:
    """Return the post-processor of byte-level byte pairs, which trims spaces off the offsets."""
    return {
        "type": "RobertaProcessing",
        "sep": [last, ids[last]],
        "cls": [first, ids[first]],
        "trim_offsets": trim_offsets,
        "add_prefix_space": prefix,
    }


def template(
    first: str | None, last: str | None, ids: Mapping[str, int], doubled: bool = False
) -> dict[str, Any]:
    """Return the post-processor that puts a token before and one after a text.

    Args:
        first, last: the tokens; None for none.
        ids: token to id.
        doubled: whether a pair is `first A last last B last` of one segment, and not `first A last
            B last` of two.
    """
    second = 0 if doubled else 1
    single = [*special(first, 0), sequence("A", 0), *special(last, 0)]
    between = special(last, 0) if doubled else []
    tokens = dict.fromkeys(token for token in (first, last) if token)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *between, sequence("B", second), *special(last, second)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in tokens
        },
    }


def special(token: str | None, segment: int) -> list[dict[str, Any]]:
    """Return the part of a template that is a special token, if there is one."""
    return [{"SpecialToken": {"id": token, "type_id": segment}}] if token else []


def sequence(name: str, segment: int) -> dict[str, Any]:
    """Return the part of a template that is the text `A`, or `B` of a pair."""
    return {"Sequence": {"id": name, "type_id": segment}}
