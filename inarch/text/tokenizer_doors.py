"""Constructors of tokenizers: of a checkpoint's files, by a preset's name, or trained on texts."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from inarch.checkpoints.io import hub
from inarch.checkpoints.io.steady import retry_when_changed, unchanged
from inarch.errors import CheckpointError
from inarch.text.build import build_tokenizer_json
from inarch.text.discovery import check_folder, read_folder
from inarch.text.files import model_config
from inarch.text.training import train_tokenizer


class TokenizerDoors:
    """Base class of `Tokenizer`, with its constructors."""

    @classmethod
    @retry_when_changed
    def from_folder(
        cls,
        folder: str | os.PathLike,
        files: Iterable[str] | None = None,
        vocabulary_size: int | None = None,
    ) -> Self:
        """Load from tokenizer.json, else vocab.txt, vocab.json and merges.txt, or SentencePiece.

        A folder of Whisper's gives a WhisperTokenizer, from OpenAI's `.tiktoken` files too.

        Args:
            folder: the folder of a checkpoint.
            files: further files to carry along to `save`.
            vocabulary_size: tokens of the model, where there is only a `.tiktoken` file and no
                config.json with their number: 51864 where it is English-only, 51865, or 51866.

        Raises:
            CheckpointFileError: there is no tokenizer in the folder.
            CheckpointError: there is one, and it can't be used; for a WhisperTokenizer, it isn't
                Whisper's.
        """
        try:
            with unchanged(check_folder(folder)):
                found = read_folder(folder, files or (), vocabulary_size)
                return cls._assembled(*build_tokenizer_json(found, model_config(folder)), found)
        except CheckpointError as error:
            raise type(error)(f"{folder}: {error}") from error

    @classmethod
    def from_preset(cls, preset: str | os.PathLike) -> Self:
        """Load the tokenizer of a preset; of one on the hub no weights are fetched.

        Args:
            preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).

        Raises:
            PresetError: no such folder, name or hub id.
            CheckpointFileError: the hub can't be reached, or the preset has no tokenizer.
            CheckpointError: there is one, and it can't be used.
        """
        # The names are data of the architectures, which are above this package.
        from inarch.models.registry import presets

        return cls.from_folder(hub.resolve(preset, presets(), weights=False))

    @staticmethod
    def train(
        texts: Iterable[str | list[str]],
        kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece",
        vocabulary_size: int = 30_000,
        *,
        special_tokens: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """Train a tokenizer on texts, which are read once, one after the other.

        Equal texts give an equal tokenizer, but for "unigram", whose trainer adds up in an order
        that changes from run to run.

        Args:
            texts: an iterable of strings, or of lists of them, such as `inarch.data.TextLines`.
            kind: "wordpiece" as BERT has it, "bpe" on bytes as RoBERTa and GPT-2 have it, or
                "unigram" as SentencePiece has it.
            vocabulary_size: most tokens, special ones included; texts with few words give fewer.
            special_tokens: role to token, such as `{"unk_token": "[UNK]"}`, in place of BERT's for
                "wordpiece" and RoBERTa's for the others. With `cls_token` and `sep_token` texts are
                wrapped in them.
            options: `lowercase`, `strip_accents`, `split_on_cjk` and `suffix_indicator` of a
                WordPieceTokenizer, `add_prefix_space` of a BytePairTokenizer, or `lowercase` for
                "unigram".

        Returns:
            A WordPieceTokenizer, a BytePairTokenizer, or a Tokenizer for "unigram".

        Raises:
            InputTypeError: `texts`, or an entry of it, isn't text.
            InputError: an option can't be used, `vocabulary_size` has no room for the characters,
                or there is no text.
        """
        return train_tokenizer(texts, kind, vocabulary_size, special_tokens, options)

    @classmethod
    def _assembled(cls, spec: str, config: Mapping[str, Any], files: Mapping[str, bytes]) -> Self:
        """Return an instance of a tokenizer.json, its config and its files."""
        raise NotImplementedError
