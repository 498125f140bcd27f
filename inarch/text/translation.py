"""Tokens of languages around the texts of translation models."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.text.json_parts import Part, sequence, special, template_processing
from inarch.text.special_tokens import token_text


@dataclass(frozen=True)
class LanguageTokens:
    """Tokens of languages of a family of tokenizers: how they are written, and where they go.

    Args:
        default: language of a text where nothing names another.
        is_first: whether the token comes before the text; else after its end token.
        mark: the token, with `{}` for the language.
        codes: regular expression of a language.
        legacy: name of the setting that puts it after the end token all the same.
        of_target: whether it is before a source, and names the language to translate it into; the
            model then may have none of them, where it translates into one language.
    """

    default: str
    is_first: bool = True
    mark: str = "{}"
    codes: str = "[a-z]+"
    legacy: str = ""
    of_target: bool = False

    def token(self, language: str) -> str:
        """Return the token of a language."""
        return self.mark.format(language)

    def known(self, vocabulary: Iterable[str]) -> tuple[str, ...]:
        """Return the languages that a vocabulary has tokens of, sorted."""
        before, _, after = self.mark.partition("{}")
        token = re.compile(f"{re.escape(before)}({self.codes}){re.escape(after)}")
        return tuple(sorted(found[1] for word in vocabulary if (found := token.fullmatch(word))))

    def language(self, config: Mapping[str, Any]) -> str:
        """Return the language of a text by a tokenizer_config.json.

        Raises:
            ConfigError: it isn't text.
        """
        found = config.get("src_lang") or self.default
        if not isinstance(found, str):
            raise ConfigError(f"src_lang is {found!r} in tokenizer_config.json; it is a language.")
        return found

    def around(self, language: str, end: str, config: Mapping[str, Any]) -> tuple[list[str], ...]:
        """Return the tokens before and after a text.

        Args:
            language: of the text.
            end: the end token.
            config: the tokenizer_config.json.
        """
        if self.of_target:
            return [], [end]
        token = self.token(language)
        is_first = self.is_first and not (self.legacy and config.get(self.legacy))
        return ([token], [end]) if is_first else ([], [end, token])


def wrapped_in(
    languages: LanguageTokens | None, config: Mapping[str, Any], ids: Mapping[str, int]
) -> Part:
    """Return the post-processor that puts the end token and that of the language around a text.

    Of a pair both texts are between them, `A B end`.

    Args:
        languages: of the family; None for the end token alone.
        config: the tokenizer_config.json, with all defaults.
        ids: token to id.

    Raises:
        CheckpointError: the vocabulary has no such token.
    """
    end = token_text(config.get("eos_token"), "eos_token") or ""
    before, after = (
        languages.around(languages.language(config), end, config) if languages else ([], [end])
    )
    for token in (*before, *after):
        if token not in ids:
            raise CheckpointError(
                f"the vocabulary of {len(ids)} tokens has no {token!r}, which texts are wrapped "
                "in. Name the right eos_token and src_lang in tokenizer_config.json."
            )
    first = [part for token in before for part in special(token, 0)]
    last = [part for token in after for part in special(token, 0)]
    single = [*first, sequence("A", 0), *last]
    return template_processing(single, [*first, sequence("A", 0), sequence("B", 0), *last], ids)
