"""Families of tokenizers: what a class of transformers makes of files that leave something out."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.text.files import TOKENIZER_JSON
from inarch.text.json_parts import Part, Template, template, token_ids
from inarch.text.special_tokens import token_text
from inarch.text.translation import LanguageTokens, wrapped_in


@dataclass(frozen=True, kw_only=True)
class TokenizerFamily:
    """Tokenizers that one class of transformers makes, and how it makes them of vocabulary files.

    Args:
        tokenizer_class: name of the class in tokenizer_config.json, without "Fast".
        model_types: those of config.json that mean this class where none is named.
        special_tokens: name to token (`{"cls_token": "[CLS]"}`) where the files lack it; a token is
            text, or an object with `content` and flags.
        files: names of the files that make the vocabulary, where there is no tokenizer.json.
        settings: other fields of tokenizer_config.json, where it leaves them out.
        template: how a text and a pair are wrapped where a tokenizer.json has none; see
            `inarch.text.json_parts.template`. "translation" is that of
            `inarch.text.translation.wrapped_in`.
        ends: names of the special tokens that are `first` and `last`.
        reads_tokenizer_json: whether a tokenizer.json is read in place of the vocabulary files.
        reads_prefix_space: whether `add_prefix_space` of tokenizer_config.json is what counts, and
            not that of a tokenizer.json.
        languages: the tokens of languages around the texts of a translation model; None for none.
    """

    tokenizer_class: str
    model_types: tuple[str, ...] = ()
    special_tokens: Mapping[str, Any]
    files: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    template: Template = "bert"
    ends: tuple[str, str] = ("cls_token", "sep_token")
    reads_tokenizer_json: bool = True
    reads_prefix_space: bool = False
    languages: LanguageTokens | None = None

    @property
    def file_sets(self) -> tuple[tuple[str, ...], ...]:
        """Files that make a tokenizer, the best first."""
        return ((TOKENIZER_JSON,), self.files) if self.reads_tokenizer_json else (self.files,)

    @property
    def special_token_texts(self) -> dict[str, str]:
        """Special tokens by name, without flags."""
        texts = {name: token_text(token, name) for name, token in self.special_tokens.items()}
        return {name: text for name, text in texts.items() if text}

    def with_defaults(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tokenizer_config.json with what it leaves out; flags of a mask stay with it."""
        merged = {**self.special_tokens, **self.settings, **config}
        mask, given = self.special_tokens.get("mask_token"), merged.get("mask_token")
        if isinstance(mask, Mapping) and isinstance(given, str):
            merged["mask_token"] = {**mask, "content": given}
        return merged

    def post_processor(
        self, spec: Mapping[str, Any], special_tokens: Mapping[str, str], ids: Mapping[str, int]
    ) -> Part | None:
        """Return the template of a tokenizer.json that has none; None where a token is missing.

        Args:
            spec: the content of the tokenizer.json.
            special_tokens: name to token.
            ids: token to id, with the added tokens.
        """
        if self.template == "translation":
            return wrapped_in(self.languages, special_tokens, ids)
        first, last = (special_tokens.get(name, "") for name in self.ends)
        if first not in ids or last not in ids:
            return None
        prefix = bool((spec.get("pre_tokenizer") or {}).get("add_prefix_space", False))
        return template(self.template, first, last, ids, prefix)

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make a tokenizer.json of vocabulary files.

        Args:
            files: the tokenizer's files by name.
            names: those that hold the vocabulary.
            config: the tokenizer_config.json.

        Returns:
            The content of the tokenizer.json, and the config with what it leaves out.

        Raises:
            CheckpointError: a file is damaged, or lacks a special token.
            ConfigError: a setting that isn't computed here.
        """
        raise NotImplementedError

    def rebuild(
        self, spec: Mapping[str, Any], config: Mapping[str, Any], model_type: object
    ) -> Mapping[str, Any]:
        """Return a tokenizer.json as the class makes it of a folder's.

        By default it is left as it is, but for the token of the language that the config names.

        Args:
            spec: the content of the tokenizer.json.
            config: the tokenizer_config.json.
            model_type: of the config.json; None where there is none.
        """
        if self.languages is None:
            return spec
        wrapping = wrapped_in(self.languages, self.with_defaults(config), token_ids(spec))
        return {**spec, "post_processor": wrapping}


@dataclass(frozen=True, kw_only=True)
class AuthorTokenizer:
    """Tokenizer files as the authors of a model publish them, outside Hugging Face's format.

    Args:
        file_sets: files that make a tokenizer; any one set does.
        convert: adds Hugging Face's files to those of a folder, by name; given the folder, its
            tokenizer files and the size of the model's vocabulary, None where it is unknown.
        missing_files_hint: gives what a folder lacks, as the end of an error; "" where none of its
            files is of this format. Given the folder and the size of the vocabulary.
        with_config: whether such files are read where there is no other tokenizer, with a
            config.json or without; else where there is no config.json.
    """

    file_sets: tuple[tuple[str, ...], ...]
    convert: Callable[[Path, Mapping[str, bytes], int | None], dict[str, bytes]]
    missing_files_hint: Callable[[Path, int | None], str] = lambda folder, vocabulary_size: ""
    with_config: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are looked for."""
        return tuple(dict.fromkeys(name for files in self.file_sets for name in files))

    def is_complete(self, names: Container[str]) -> bool:
        """Return whether some files, by their names, make a tokenizer."""
        return any(all(name in names for name in files) for files in self.file_sets)
