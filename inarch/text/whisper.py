"""Whisper's tokenizer: text, languages, tasks and times (whisper/tokenizer.py)."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from inarch.errors import CheckpointError
from inarch.json_fields import json_text
from inarch.text import whisper_json
from inarch.text.byte_level import ids_and_merges
from inarch.text.encoding import Encoding
from inarch.text.files import CONFIG_FILE, TOKENIZER_JSON
from inarch.text.languages import LANGUAGES, language_code
from inarch.text.rust_backend import RustErrors, check_ids
from inarch.text.tokenizer import Tokenizer
from inarch.text.tokenizer_json import fill_defaults
from inarch.text.whisper_control import ControlTokens
from inarch.text.whisper_json import is_whisper
from inarch.text.whisper_symbols import non_speech
from inarch.text.whisper_words import UNSPACED, Words, split_on_characters, split_on_spaces


class WhisperTokenizer(ControlTokens, Tokenizer):
    """Whisper's tokenizer (Radford et al., 2022, arXiv:2212.04356), on byte pairs as GPT-2's.

    Ids are those of the original (whisper/tokenizer.py). A control token or a timestamp spelled
    out in a text, such as `<|en|>`, is ordinary text, as in every `Tokenizer`.

    Args:
        vocabulary: token to id, or the path of a vocab.json.
        merges: pairs of tokens as `"a b"`, the first to be merged first, or the path of a
            merges.txt.
        special_tokens: control token to id, such as `{"<|endoftext|>": 50257, ...}`, where the
            vocabulary doesn't hold them. The timestamps follow the last.
        language_tokens: the same of languages, such as `{"<|en|>": 50259, ...}`.

    `from_folder` loads what a model was published with. `save` writes the files of that folder
    byte for byte; in place of OpenAI's `.tiktoken`, tokenizer.json and tokenizer_config.json.

    Raises:
        CheckpointError: ids or merges that don't make a tokenizer, or a control token is missing.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | os.PathLike,
        merges: Sequence[str] | str | os.PathLike,
        special_tokens: Mapping[str, int] | None = None,
        language_tokens: Mapping[str, int] | None = None,
    ):
        ids, pairs = ids_and_merges(vocabulary, merges)
        control = {**(special_tokens or {}), **(language_tokens or {})}
        control |= {
            t: i for t, i in ids.items() if t in whisper_json.control_tokens(len(LANGUAGES))
        }
        spec, config = whisper_json.build_whisper_json(ids, pairs, control)
        files = {
            TOKENIZER_JSON: json.dumps(spec, ensure_ascii=False),
            CONFIG_FILE: json_text(config),
        }
        encoded = {name: value.encode("utf-8") for name, value in files.items()}
        super().__init__(files[TOKENIZER_JSON], config=config, files=encoded)

    @classmethod
    def _is_of(cls, spec: str, config: Mapping[str, Any]) -> bool:
        return is_whisper(spec, config)

    @staticmethod
    def _fill_defaults(
        spec: Mapping[str, Any], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        filled, special_tokens = fill_defaults(spec, config)
        whisper_json.check_tokens(spec, config)
        return whisper_json.add_control_tokens(filled, config), special_tokens

    def _read_vocabulary(self) -> dict[str, int]:
        ids = super()._read_vocabulary()
        for token in self._backend.spec["added_tokens"]:
            if ids[token["content"]] != token["id"]:
                raise CheckpointError(
                    f"{token['content']!r} should have the id {token['id']}, and the ids before "
                    f"it end such that it gets {ids[token['content']]}. The file may be damaged: "
                    "fetch it again."
                )
        return ids

    @cached_property
    def implied_tokens(self) -> frozenset[str]:
        """The timestamps, where the files are of the time before they named them."""
        named = self._given_spec + json.dumps(self.config)
        first = json.dumps(whisper_json.TIMESTAMPS[0])
        return frozenset() if first in named else frozenset(whisper_json.TIMESTAMPS)

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        add_special_tokens: bool = False,
        allow_special: Collection[str] | str = (),
    ) -> Encoding:
        """Encode one text; its `ids` are those of the text alone.

        With `add_special_tokens`, which other tokenizers have by default, it is wrapped as
        transformers wraps the labels of a training. See `Tokenizer.encode`.
        """
        return super().encode(
            text,
            pair,
            max_length=max_length,
            add_special_tokens=add_special_tokens,
            allow_special=allow_special,
        )

    __call__ = encode

    def encode_batch(
        self,
        texts: Sequence[str | tuple[str, str]],
        *,
        max_length: int | None = None,
        add_special_tokens: bool = False,
        allow_special: Collection[str] | str = (),
    ) -> list[Encoding]:
        """Encode many texts, in order. See `encode`."""
        return super().encode_batch(
            texts,
            max_length=max_length,
            add_special_tokens=add_special_tokens,
            allow_special=allow_special,
        )

    def decode(
        self, ids: Iterable[int], skip_special_tokens: bool = True, timestamps: bool = False
    ) -> str:
        """Return the text of a row of ids; bytes that aren't UTF-8 become U+FFFD.

        Args:
            ids: a list or a one-dimensional array.
            skip_special_tokens: leave out control tokens.
            timestamps: write the times, in seconds, as `<|1.08|>`; otherwise they are left out.
        """
        values = check_ids(ids, self._tokens, self.vocabulary_size)
        times, control = self._times, self.special_ids
        kept = [
            value
            for value in values
            if (timestamps if value in times else not (skip_special_tokens and value in control))
        ]
        with RustErrors("the tokenizer failed to decode"):
            return self._backend.get().decode(kept, skip_special_tokens=False)

    def split_to_words(self, ids: Iterable[int], language: str | None = None) -> Words:
        """Return the words of a row of ids, and the ids of each, for timestamps of words.

        Words are parted at spaces and punctuation; Chinese, Japanese, Thai, Lao, Burmese and
        Cantonese at every character. Special tokens are separate words. Put together, the
        ids are those given.
        """
        values = check_ids(ids, self._tokens, self.vocabulary_size)
        decode = partial(self.decode, skip_special_tokens=False, timestamps=True)
        if language is not None and language_code(language) in UNSPACED:
            return split_on_characters(values, decode)
        return split_on_spaces(values, decode, self.special_ids)

    @cached_property
    def suppress_blank(self) -> tuple[int, ...]:
        """Return the ids of a space and of the end, which a transcript shouldn't begin with."""
        return (*self._encode_plain(" "), self.end_of_text)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Return the ids of symbols that aren't spoken, such as `♪` or `[`, in order."""
        return non_speech(self._encode_plain)

    def _encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text without special tokens, by the tokenizer that decodes."""
        return self.encode(text, allow_special="all").ids
