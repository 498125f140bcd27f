"""Raw text to the inputs of a model with a vector for each token: queries and documents differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from inarch.data import pad
from inarch.errors import InputError, InputTypeError
from inarch.json_fields import FLAG
from inarch.models.arguments import MutableArgument
from inarch.preprocessors.preprocessor import (
    TextPreprocessor,
    checked_optional_count,
    checked_strings,
)
from inarch.preprocessors.raw_texts import Text, texts_of
from inarch.text import Tokenizer
from inarch.validation import COUNT, Validator, one_of, optional, shown

TASKS = ("query", "document")
# `padding_mask` of a token that attends to the text, and that no token attends to.
NOT_ATTENDED = -1

_EXPANSION: Mapping[str, Validator] = {
    "strategy": one_of(("fixed", "min")),
    "length": COUNT,
    "attend": FLAG,
    "token": optional(Validator("a token", types=(str,))),
}


@dataclass(frozen=True)
class MultiVectorEncoding:
    """Tokens of one query or document; every list has one entry per token.

    Attributes:
        ids: token ids.
        segment_ids: 0 for each.
        padding_mask: 1, and -1 for an expansion token that no token attends to.
        is_compared: whether the token's vector takes part in scores.
    """

    ids: list[int]
    segment_ids: list[int]
    padding_mask: list[int]
    is_compared: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def checked_expansion(owner: Any, expansion: Any) -> dict[str, Any] | None:
    """Return the argument `query_expansion`, checked, with its defaults filled in."""
    if expansion is None:
        return None
    if not isinstance(expansion, Mapping):
        raise InputTypeError(
            f"query_expansion is {shown(expansion)}; give a dictionary, such as "
            '{"strategy": "fixed", "length": 32}, or None'
        )
    if unknown := sorted(map(str, expansion.keys() - _EXPANSION.keys())):
        raise InputError(
            f"query_expansion has {', '.join(map(repr, unknown))}; known: {', '.join(_EXPANSION)}"
        )
    filled = {"strategy": None, "length": None, "attend": False, "token": None, **expansion}
    for name, validator in _EXPANSION.items():
        validator.check(f"query_expansion[{name!r}]", filled[name])
    return filled


def _checked_tasks(owner: Any, tasks: Any) -> tuple[str, ...]:
    for task in (tasks := checked_strings("skiplist_tasks", owner, tasks)):
        one_of(TASKS).check("skiplist_tasks", task)
    return tasks


class MultiVectorPreprocessor(TextPreprocessor):
    """Preprocessor of queries and documents, as ColBERT's (Khattab & Zaharia, 2020).

    The prompt named "query" goes before queries, and that named "document" before documents. Where
    one begins with a token of the vocabulary that isn't a word, such as `[Q]` or `[unused0]`, it is
    that token, a marker, whatever the tokenizer makes of its spelling. All arguments are
    attributes, which can be set anew, but for `tokenizer`.

    Args:
        tokenizer: the checkpoint's tokenizer.
        sequence_length: longest sequence in tokens, special ones included, where the two below give
            none; longer text is truncated at its end.
        allow_special, lowercase, prompts, default_prompt_name: as of `TextPreprocessor`.
        query_length, document_length: longest query and document in tokens; None for
            `sequence_length`.
        query_expansion: how queries are filled up with mask tokens, whose vectors are compared too:
            `{"strategy", "length", "attend", "token"}`; None for not. Queries get `length` tokens,
            exactly (strategy `"fixed"`) or at least (`"min"`); other tokens attend to those only
            with `attend`; `token` is another one than the mask.
        skiplist_words: tokens whose vectors aren't compared, such as punctuation.
        skiplist_tasks: where they aren't: `"query"`, `"document"` or both.

    Raises:
        InputError, InputTypeError: an argument of another kind; it is named.
    """

    query_length = MutableArgument(partial(checked_optional_count, "query_length"))
    document_length = MutableArgument(partial(checked_optional_count, "document_length"))
    query_expansion = MutableArgument(checked_expansion)
    skiplist_words = MutableArgument(partial(checked_strings, "skiplist_words"))
    skiplist_tasks = MutableArgument(_checked_tasks)

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int,
        allow_special: tuple[str, ...] = (),
        lowercase: bool = False,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
        query_expansion: Mapping[str, Any] | None = None,
        skiplist_words: Sequence[str] = (),
        skiplist_tasks: Sequence[str] = ("document",),
    ):
        super().__init__(
            tokenizer, sequence_length, allow_special, lowercase, prompts, default_prompt_name
        )
        self.query_length = query_length
        self.document_length = document_length
        self.query_expansion = query_expansion
        self.skiplist_words = skiplist_words
        self.skiplist_tasks = skiplist_tasks

    def encode(  # type: ignore[override]
        self, texts: Sequence[Text], prompt_name: str | None = None, task: str = "document"
    ) -> list[MultiVectorEncoding]:
        """Return the tokens of each query or document, truncated, expanded, unpadded.

        Args:
            texts: the texts.
            prompt_name: of `prompts`, the text to put before each; None for no prompt.
            task: `"query"` or `"document"`.

        Raises:
            InputError: there is no prompt of that name, or no token to expand queries with.
            InputTypeError: `texts` aren't texts, or one is a pair.
        """
        one_of(TASKS).check("task", task)
        texts = texts_of(texts, "texts")
        alone = [text for text in texts if isinstance(text, str)]
        if len(alone) != len(texts):
            raise InputTypeError("texts holds a pair of texts; give queries and documents apart")
        prompt = "" if prompt_name is None else self.prompt(prompt_name)
        marker = self.marker_of(prompt)
        alone = [prompt.removeprefix(marker) + text for text in alone]
        if self.lowercase:
            alone = [text.lower() for text in alone]
        raw = self.tokenizer.encode_batch(
            alone, max_length=self._limit(task) - bool(marker), allow_special=self.allow_special
        )
        first = [self.tokenizer.token_to_id(marker)] if marker else []
        start = self._leading_tokens() if marker else 0
        rows = [e.ids[:start] + first + e.ids[start:] for e in raw]
        skipped = self._skipped() if task in self.skiplist_tasks else []
        return [self._encoded(row, task, skipped) for row in rows]

    def marker_of(self, prompt: str) -> str:
        """Return the token of the vocabulary that a prompt begins with, or an empty string."""
        for token in (prompt, *prompt.split(None, 1)[:1]):
            if token and not token.isalnum() and self.tokenizer.has_token(token):
                return token
        return ""

    def unknown_markers(self) -> dict[str, str]:
        """Return the markers, by role, that the tokenizer's files don't have as one token."""
        markers = {role: self.marker_of(self.prompts.get(role, "")) for role in TASKS}
        return {
            role: marker for role, marker in markers.items() if marker and not self._is_one(marker)
        }

    def _is_one(self, token: str) -> bool:
        encoding = self.tokenizer.encode(token, add_special_tokens=False, allow_special="all")
        return encoding.ids == [self.tokenizer.token_to_id(token)]

    def _leading_tokens(self) -> int:
        """Return how many tokens the tokenizer puts before a text."""
        return self.tokenizer.encode("a").special_tokens_mask.index(0)

    def _limit(self, task: str) -> int:
        """Return the longest sequence of a query or a document, in tokens."""
        if task == "document":
            return self.document_length or self.sequence_length
        expansion = self.query_expansion
        if expansion is None:
            return self.query_length or self.sequence_length
        if expansion["strategy"] == "fixed":
            return expansion["length"]
        return max(self.query_length or self.sequence_length, expansion["length"])

    def _encoded(self, ids: list[int], task: str, skipped: list[int]) -> MultiVectorEncoding:
        mask = [1] * len(ids)
        expansion = self.query_expansion
        if task == "query" and expansion is not None and len(ids) < expansion["length"]:
            more = expansion["length"] - len(ids)
            ids = ids + [self._expansion_id(expansion["token"])] * more
            mask += [1 if expansion["attend"] else NOT_ATTENDED] * more
        return MultiVectorEncoding(ids, [0] * len(ids), mask, ~np.isin(ids, skipped))

    def _skipped(self) -> list[int]:
        """Return the ids of the skiplist's words that are tokens."""
        known = filter(self.tokenizer.has_token, self.skiplist_words)
        return [self.tokenizer.token_to_id(word) for word in known]

    def _expansion_id(self, token: str | None) -> int:
        if token is not None:
            return self.tokenizer.token_to_id(token)
        for found in (self.tokenizer.mask_token_id, self.tokenizer.eos_token_id):
            if found is not None:
                return found
        raise InputError(
            "query_expansion has no 'token', and the tokenizer has no mask token; name a token of "
            "the vocabulary, or set query_expansion to None"
        )

    def pad(
        self, encodings: Sequence[Any], rows: int | None = None, length: int | None = None
    ) -> dict[str, np.ndarray]:
        arrays = super().pad(encodings, rows, length)
        masks = [encoding.padding_mask for encoding in encodings]
        return arrays | {"padding_mask": pad(masks, *arrays["padding_mask"].shape)}

    pad.__doc__ = TextPreprocessor.pad.__doc__
