"""Parts of a tokenizer.json, in the form of the Rust `tokenizers` library."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Part = dict[str, Any]
Template = Literal["bert", "roberta", "xlm-roberta", "end", "translation", "none"]


def tokenizer_json(
    model: Part,
    *,
    normalizer: Part | None = None,
    pre_tokenizer: Part | None = None,
    post_processor: Part | None = None,
    decoder: Part | None = None,
    added_tokens: Sequence[Part] = (),
) -> Part:
    """Return the content of a tokenizer.json."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added_tokens),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
    }


def bpe_model(
    vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]], **settings: Any
) -> Part:
    """Return a byte pair encoding's model (Sennrich et al., 2015, arXiv:1508.07909).

    Args:
        vocabulary: token to id.
        merges: pairs of tokens, the first to be merged first.
        settings: fields of the model that aren't as usual.
    """
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **settings,
        "vocab": dict(vocabulary),
        "merges": [list(pair) for pair in merges],
    }


def model_ids(model: Mapping[str, Any]) -> dict[str, int]:
    """Return token to id, without the added tokens. Unigram stores a list of (token, score)."""
    vocabulary = model.get("vocab", {})
    if isinstance(vocabulary, dict):
        return vocabulary
    return {entry[0]: index for index, entry in enumerate(vocabulary)}


def token_ids(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return token to id of a tokenizer.json, the added tokens included."""
    added = {token["content"]: token["id"] for token in spec.get("added_tokens") or ()}
    return model_ids(spec["model"]) | added


def template(
    kind: Template,
    first: str | None,
    last: str | None,
    ids: Mapping[str, int],
    add_prefix_space: bool = False,
    trim_offsets: bool = True,
) -> Part | None:
    """Return the post-processor that puts a token before and one after a text; None for none.

    Args:
        kind: "bert" is `first A last B last` of two segments; "xlm-roberta" is `first A last last
            B last` of one; "roberta" the same, with spaces left out of the offsets; "end" is
            `A last B last` of one; "none" none. A family makes that of "translation" itself.
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
    begin = [] if kind == "end" else special(first, 0)
    single = [*begin, sequence("A", 0), *special(last, 0)]
    between = [] if kind in ("bert", "end") else special(last, 0)
    pair = [*single, *between, sequence("B", second), *special(last, second)]
    return template_processing(single, pair, ids)


def template_processing(single: list[Part], pair: list[Part], ids: Mapping[str, int]) -> Part:
    """Return the post-processor of templates for a text and a pair."""
    tokens = dict.fromkeys(p["SpecialToken"]["id"] for p in pair if "SpecialToken" in p)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in tokens},
    }


def special(token: str | None, segment: int) -> list[Part]:
    """Return the part of a template that is a special token, if there is one."""
    return [{"SpecialToken": {"id": token, "type_id": segment}}] if token else []


def sequence(name: str, segment: int) -> Part:
    """Return the part of a template that is the text `A`, or `B` of a pair."""
    return {"Sequence": {"id": name, "type_id": segment}}


def replace(pattern: str, content: str, kind: str = "Regex") -> Part:
    """Return a normalizer or decoder that replaces a pattern."""
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def split(
    pattern: str, behavior: str = "Isolated", kind: str = "Regex", invert: bool = False
) -> Part:
    """Return a pre-tokenizer that splits at a pattern; inverted, at all else."""
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}
