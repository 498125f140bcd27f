"""Pairs of a query and a document as token ids, by a chat template where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.errors import InputError, InputTypeError
from inarch.models.arguments import MutableArgument
from inarch.preprocessors.preprocessor import TextPreprocessor, Tokens
from inarch.preprocessors.raw_texts import Text
from inarch.text import Tokenizer
from inarch.validation import shown

# How messages hold their text: as it is, or in a list of parts.
MESSAGE_FORMATS = ("flat", "structured")


def _checked_format(owner: Any, value: Any) -> str | None:
    if value is not None and value not in MESSAGE_FORMATS:
        known = ", ".join(map(repr, MESSAGE_FORMATS))
        raise InputError(f"message_format is {shown(value)}; give one of {known}, or None")
    return value


def _checked_variables(owner: Any, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise InputTypeError(f"template_variables is {shown(value)}; give a mapping")
    return dict(value or {})


class PairPreprocessor(TextPreprocessor):
    """Preprocessor that puts pairs into a chat template, as messages of a query and a document.

    A prompt is the system's message before them. A pair that is too long is cut at the end of its
    document, what the template writes after it stays. Source: sentence-transformers,
    base/modules/transformer.py.

    Args:
        tokenizer, sequence_length, allow_special, lowercase, prompts, default_prompt_name: as of
            `TextPreprocessor`. With messages no special token of a text counts as such.
        message_format: how messages hold texts, `"flat"` or `"structured"` (in a list of parts);
            None for pairs of texts without a chat template.
        template_variables: variables of the chat template.
    """

    message_format = MutableArgument(_checked_format)
    template_variables = MutableArgument(_checked_variables)

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int,
        allow_special: tuple[str, ...] = (),
        lowercase: bool = False,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        message_format: str | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ):
        super().__init__(
            tokenizer, sequence_length, allow_special, lowercase, prompts, default_prompt_name
        )  # fmt: skip
        self.message_format = message_format
        self.template_variables = template_variables

    def encode(self, texts: Sequence[Text], prompt_name: str | None = None) -> list[Any]:
        if self.message_format is None:
            return super().encode(texts, prompt_name)
        prompt = None if prompt_name is None else self.prompt(prompt_name)
        for i, text in enumerate(texts):
            if isinstance(text, str) or len(text) != 2:
                raise InputTypeError(f"text {i} is {shown(text)}; give a pair: (query, document)")
        end = self._end_of_template(prompt) if texts else []
        return [self._encode_pair(text, prompt, end) for text in texts]

    def _encode_pair(self, pair: Any, prompt: str | None, end: list[int]) -> Tokens:
        ids, limit = self._ids(pair, prompt), self.sequence_length
        if len(ids) > limit:
            kept = end[-limit:]
            ids = [*ids[: limit - len(kept)], *kept]
        return Tokens(ids)

    def _ids(self, pair: Any, prompt: str | None) -> list[int]:
        parts = [] if not prompt else [("system", prompt)]
        parts += zip(("query", "document"), pair, strict=True)
        texts = {role: text.lower() if self.lowercase else text for role, text in parts}
        messages = [{"role": role, "content": self._content(text)} for role, text in texts.items()]
        return self.tokenizer.encode_chat(messages, **self.template_variables)

    def _content(self, text: str) -> Any:
        return text if self.message_format == "flat" else [{"type": "text", "text": text}]

    def _end_of_template(self, prompt: str | None) -> list[int]:
        """Return the tokens after a document: those that two pairs have in common at the end."""
        one, other = (self._ids((text, text), prompt) for text in ("0", "1 2 3 4"))
        same, most = 0, min(len(one), len(other))
        while same < most and one[-1 - same] == other[-1 - same]:
            same += 1
        # Where all of one is in common, its texts have no tokens here.
        return [] if same == most else one[len(one) - same :]
