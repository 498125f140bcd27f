"""Special tokens around a text and a pair, as a post-processor of tokenizer.json.

Source: transformers, whose classes put them also where a tokenizer.json says nothing of it.
"""

from collections.abc import Mapping
from typing import Any

from inarch.text.family import Template, TokenizerFamily


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
    if first not in ids or last not in ids:
        return None
    prefix = bool((spec.get("pre_tokenizer") or {}).get("add_prefix_space", False))
    return template(family.template, first, last, ids, prefix)


def template(
    kind: Template,
    first: str | None,
    last: str | None,
    ids: Mapping[str, int],
    add_prefix_space: bool = False,
    trim_offsets: bool = True,
) -> dict[str, Any] | None:
    """Return the post-processor that puts a token before and one after a text; None for none.

    Args:
        kind: how, as in `TokenizerFamily`.
        first, last: the tokens; None for none.
        ids: token to id.
        add_prefix_space, trim_offsets: of "roberta": whether a text begins with a space of the
            tokenizer's own, and whether offsets leave out the spaces around a token.
    """
    if kind == "none" or (kind == "roberta" and None in (first, last)):
        return None
    if first and last and kind == "roberta":
        return {
            "type": "RobertaProcessing",
            "sep": [last, ids[last]],
            "cls": [first, ids[first]],
            "trim_offsets": trim_offsets,
            "add_prefix_space": add_prefix_space,
        }
    second = 1 if kind == "bert" else 0
    single = [*special(first, 0), sequence("A", 0), *special(last, 0)]
    between = [] if kind == "bert" else special(last, 0)
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
