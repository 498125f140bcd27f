"""Tokens of CTC models: characters, a blank, and a token between words."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from inarch.errors import CheckpointError, InputError
from inarch.files import read_file
from inarch.json_fields import json_text, object_in
from inarch.paths import resolve_inside
from inarch.text.discovery import check_folder
from inarch.text.files import (
    CONFIG_FILE,
    decode_text,
    files_from_json,
    files_to_json,
    merged_config,
)
from inarch.validation import listed, shown

VOCABULARY = "vocab.json"
FILES = (VOCABULARY, CONFIG_FILE, "special_tokens_map.json", "added_tokens.json")
DEFAULTS = {
    "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
    "word_delimiter_token": "|", "replace_word_delimiter_char": " ",
}  # fmt: skip
# What transformers takes the space before out of, where `clean_up_tokenization_spaces` says so.
CLEANED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


@dataclass(frozen=True)
class Span:
    """A character or a word with the frames that it was read from.

    Attributes:
        text: the character or the word.
        start, end: its first frame, and the frame after its last one.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Decoded:
    """Text of the likeliest tokens of frames.

    Attributes:
        text: all of it.
        characters: each token that is no blank, the delimiters of words among them.
        words: what is between delimiters.
    """

    text: str
    characters: list[Span]
    words: list[Span]


class CTCTokenizer:
    """Text to the tokens of a CTC model, and the tokens of frames to text.

    Source: transformers, models/wav2vec2/tokenization_wav2vec2.py, `Wav2Vec2CTCTokenizer`; Graves
    et al., 2006, "Connectionist Temporal Classification".

    Args:
        vocabulary: the id of each token; of several languages, such a mapping by their names.
        config: the content of tokenizer_config.json: `pad_token`, the blank; `unk_token`,
            `word_delimiter_token`, `replace_word_delimiter_char`, `do_lower_case`, `target_lang`,
            `clean_up_tokenization_spaces`.
        files: the checkpoint's files, which are written back byte for byte; by default made of
            the two arguments above.

    Raises:
        CheckpointError: the vocabulary isn't one, or has no blank.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ):
        self.config = dict(config or {})
        self.vocabulary = _checked(_of_language(vocabulary, self.config.get("target_lang")))
        self.tokens = {**_added(self.config), **{i: t for t, i in self.vocabulary.items()}}
        self.ids = {token: i for i, token in self.tokens.items()}
        names = {name: _content(self.config, name) for name in DEFAULTS}
        self.blank, self.unknown = names["pad_token"], names["unk_token"]
        self.delimiter = names["word_delimiter_token"]
        self.space = names["replace_word_delimiter_char"]
        self.is_lower = self.config.get("do_lower_case") is True
        self.is_cleaned = self.config.get("clean_up_tokenization_spaces") is True
        if self.blank not in self.ids:
            raise CheckpointError(
                f"the vocabulary has no {self.blank!r}, the blank of a CTC model (pad_token); its "
                f"tokens are {shown(sorted(self.ids)[:20])}"
            )
        special = {names[n] for n in ("pad_token", "unk_token", "bos_token", "eos_token")}
        # Longer ones first; a special token that a text spells stays text.
        long = sorted((t for t in self.vocabulary if len(t) > 1 and t not in special), key=len)
        self._pieces = re.compile("|".join([*map(re.escape, long[::-1]), "."]), re.DOTALL)
        made = {
            VOCABULARY: json_text(dict(vocabulary)).encode(),
            CONFIG_FILE: json_text(
                {**DEFAULTS, **self.config, "tokenizer_class": "Wav2Vec2CTCTokenizer"}
            ).encode(),
        }
        self.files = dict(files or made)

    @property
    def blank_id(self) -> int:
        """Id of the blank."""
        return self.ids[self.blank]

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id."""
        return max(self.tokens) + 1

    @classmethod
    def from_folder(cls, folder: str | os.PathLike, language: str | None = None) -> Self:
        """Read the tokenizer of a checkpoint's folder.

        Args:
            language: the one of several whose vocabulary it has, in place of the config's.

        Raises:
            CheckpointFileError: a file is absent or damaged.
            CheckpointError: it is no tokenizer of a CTC model, or not of the language.
        """
        root = check_folder(folder)
        paths = {name: resolve_inside(root, name, plain=True) for name in FILES}
        there = {n: p for n, p in paths.items() if n == VOCABULARY or p.is_file()}
        files = {name: read_file(path) for name, path in there.items()}
        return cls.from_files(files if language is None else _in_language(files, language))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Return the tokenizer of files by name, of which vocab.json is needed."""
        vocabulary = object_in(decode_text(files, VOCABULARY), VOCABULARY, CheckpointError)
        return cls(vocabulary, merged_config(files), files)

    @classmethod
    def from_texts(cls, texts: Iterable[str], **config: Any) -> Self:
        """Return a tokenizer of the characters of some texts, to train a model of one's own.

        Args:
            texts: all that a model is to be trained on.
            config: see `CTCTokenizer`.
        """
        names = {**DEFAULTS, **config}
        text = "".join(texts)
        found = sorted(set(text.upper() if config.get("do_lower_case") else text) - {" "})
        special = [names[n] for n in ("pad_token", "bos_token", "eos_token", "unk_token")]
        tokens = dict.fromkeys([*special, names["word_delimiter_token"], *found])
        return cls({token: i for i, token in enumerate(tokens)}, config)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, the delimiter for each space.

        Raises:
            InputError: it has a character that the vocabulary lacks, without an unknown token.
        """
        text = (text.upper() if self.is_lower else text).replace(" ", self.delimiter)
        found = []
        for piece in self._pieces.findall(text):
            index = self.vocabulary.get(piece, self.vocabulary.get(self.unknown))
            if index is None:
                raise InputError(
                    f"the text has {piece!r}, which the vocabulary hasn't; it has "
                    f"{''.join(t for t in self.vocabulary if len(t) == 1)}"
                )
            found.append(index)
        return found

    def decode(self, ids: Iterable[int]) -> Decoded:
        """Return what the likeliest tokens of frames say: runs of one token are one character."""
        characters, start = [], 0
        for token, run in itertools.groupby(self.tokens.get(int(i), self.unknown) for i in ids):
            end = start + sum(1 for _ in run)
            if token != self.blank:
                characters.append(
                    Span(self.space if token == self.delimiter else token, start, end)
                )
            start = end
        text = "".join(c.text for c in characters).strip()
        text = text.lower() if self.is_lower else text
        return Decoded(self._cleaned(text), characters, _words(characters, self.space))

    def _cleaned(self, text: str) -> str:
        if not self.is_cleaned:
            return text
        for part in CLEANED[:4]:
            text = text.replace(part, part[1:])
        text = text.replace(" ' ", "'")
        for part in CLEANED[4:]:
            text = text.replace(part, part[1:])
        return text

    def get_config(self) -> dict[str, Any]:
        return {"files": files_to_json(self.files)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls.from_files(files_from_json(config["files"]))


def _in_language(files: Mapping[str, bytes], language: str) -> dict[str, bytes]:
    """Return files by name whose tokenizer_config.json has the language of a vocabulary."""
    vocabulary = object_in(decode_text(files, VOCABULARY), VOCABULARY, CheckpointError)
    if not isinstance(vocabulary.get(language), Mapping):
        names = [name for name, value in vocabulary.items() if isinstance(value, Mapping)]
        raise CheckpointError(
            f"{VOCABULARY} has no vocabulary of language {language!r}; it has those of "
            f"{listed(names) if names else 'no languages'}"
        )
    given = decode_text(files, CONFIG_FILE) if CONFIG_FILE in files else "{}"
    config = {**object_in(given, CONFIG_FILE, CheckpointError), "target_lang": language}
    return {**files, CONFIG_FILE: json_text(config).encode()}


def _words(characters: Sequence[Span], space: str) -> list[Span]:
    """Return the runs of characters between delimiters."""
    found = []
    for is_space, run in itertools.groupby(characters, key=lambda c: c.text == space):
        part = [*run]
        if not is_space:
            found.append(Span("".join(c.text for c in part), part[0].start, part[-1].end))
    return found


def _of_language(vocabulary: Mapping[str, Any], language: Any) -> Any:
    """Return the vocabulary of a language; the whole of one that has no languages."""
    if not any(isinstance(value, Mapping) for value in vocabulary.values()):
        return vocabulary
    if language not in vocabulary:
        raise CheckpointError(
            f"{VOCABULARY} has a vocabulary for each of {', '.join(map(str, [*vocabulary][:20]))}, "
            f"and target_lang of tokenizer_config.json is {shown(language)}; set it to one of them"
        )
    return vocabulary[language]


def _checked(vocabulary: Any) -> dict[str, int]:
    """Return a vocabulary whose ids are distinct whole numbers."""
    if not isinstance(vocabulary, Mapping) or not vocabulary:
        raise CheckpointError(f"{VOCABULARY} holds {shown(vocabulary)}; it must have ids of tokens")
    for token, index in vocabulary.items():
        if type(index) is not int or index < 0:
            raise CheckpointError(f"{VOCABULARY} gives {token!r} the id {shown(index)}, no number")
    if len({*vocabulary.values()}) < len(vocabulary):
        raise CheckpointError(f"{VOCABULARY} gives two tokens one id; each needs its own")
    return dict(vocabulary)


def _content(config: Mapping[str, Any], name: str) -> str:
    """Return a special token, which may be given as an object; its default where it isn't given."""
    value = config.get(name, DEFAULTS[name])
    value = value.get("content") if isinstance(value, Mapping) else value
    if not isinstance(value, str):
        raise CheckpointError(
            f"{name} of the tokenizer is {shown(value)}; it must be a token, such as "
            f"{DEFAULTS[name]!r}"
        )
    return value


def _added(config: Mapping[str, Any]) -> dict[int, str]:
    """Return the tokens of `added_tokens_decoder`, by id."""
    added = config.get("added_tokens_decoder") or {}
    return {int(i): t["content"] if isinstance(t, Mapping) else t for i, t in added.items()}
