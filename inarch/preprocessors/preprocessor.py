"""Raw text to a model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from inarch.data import bucket, pad
from inarch.errors import InputError, InputTypeError
from inarch.json_fields import OBJECT, read_field
from inarch.models.arguments import MutableArgument, ReadOnlyArguments, checked_values
from inarch.models.stored_config import check_arguments
from inarch.preprocessors.raw_texts import Text, is_raw, put_before, texts_of
from inarch.text import Encoding, Tokenizer
from inarch.validation import check_count, check_flag, shown


class TokenRow(Protocol):
    """Row of tokens that is padded, such as an `Encoding` or a window of one."""

    @property
    def ids(self) -> Any: ...

    @property
    def segment_ids(self) -> Any: ...


@dataclass(frozen=True)
class Tokens:
    """Row of tokens of a single text."""

    ids: Sequence[int]

    @property
    def segment_ids(self) -> list[int]:
        """Zeros: a single text has one segment."""
        return [0] * len(self.ids)


def checked_length(owner: Any, length: Any) -> int:
    """Return the argument `sequence_length`, checked: a whole number from 1 up."""
    check_count("sequence_length", length)
    return int(length)


def checked_optional_count(name: str, owner: Any, count: Any) -> int | None:
    """Return the argument `name`, checked: None, or a whole number from 1 up."""
    if count is not None:
        check_count(name, count)
    return count


def checked_flag(name: str, owner: Any, flag: Any) -> bool:
    """Return the argument `name`, checked: True or False."""
    check_flag(name, flag)
    return flag


def checked_strings(
    name: str, owner: Any, values: Any, whole: str = "a list of strings", each: str = "strings"
) -> tuple[str, ...]:
    """Return the argument `name`, checked: a list of strings, called `whole` and `each`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputTypeError(f"{name} is {shown(values)}; give {whole}")
    for value in (values := tuple(values)):
        if not isinstance(value, str):
            raise InputTypeError(f"{name} holds {shown(value)}; give {each}")
    return values


_checked_special = partial(
    checked_strings, "allow_special", whole="a list of special tokens",
    each="special tokens by name",
)  # fmt: skip


def _checked_prompts(owner: Any, prompts: Any) -> dict[str, str]:
    prompts = {} if prompts is None else prompts
    if not isinstance(prompts, Mapping):
        raise InputTypeError(f"prompts is {shown(prompts)}; give a text for each name, by name")
    for name, text in prompts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputTypeError(
                f"prompts has {shown(text)} for {shown(name)}; give a text for each name"
            )
    default = vars(owner).get("default_prompt_name")
    if default is not None and default not in prompts:
        raise InputError(
            f"prompts has no {default!r}, which is default_prompt_name; set default_prompt_name to "
            "None first, or keep that prompt"
        )
    return dict(prompts)


def _checked_prompt_name(owner: Any, name: Any) -> str | None:
    if name is not None and name not in list(owner.prompts):
        known = ", ".join(map(repr, owner.prompts)) or "none"
        raise InputError(
            f"default_prompt_name is {shown(name)}, and there is no such prompt; known: {known}. "
            "Set prompts first"
        )
    return name


class TextPreprocessor(ReadOnlyArguments):
    """Preprocessor that tokenizes, truncates and pads; never to a fixed length.

    All arguments are attributes, which can be set anew, but for `tokenizer`.

    Args:
        tokenizer: the checkpoint's tokenizer.
        sequence_length: longest sequence in tokens, special ones included; longer text is
            truncated at its end.
        allow_special: special tokens that count as such where the text has them; all others
            are ordinary text.
        lowercase: whether text is lower-cased before the tokenizer sees it.
        prompts: named texts to put before an input.
        default_prompt_name: the prompt that tasks of whole texts (vectors, classes, scores) put
            before texts where none is named: to predict, to evaluate and to train on. (The trainer
            of sentence-transformers takes prompts of its own in place of it; set None for none.)
    """

    example_noun: ClassVar[str] = "texts"
    batch_size: ClassVar[int] = 32

    sequence_length = MutableArgument(checked_length)
    allow_special = MutableArgument(_checked_special)
    lowercase = MutableArgument(partial(checked_flag, "lowercase"))
    prompts = MutableArgument(_checked_prompts)
    default_prompt_name = MutableArgument(_checked_prompt_name)

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int,
        allow_special: tuple[str, ...] = (),
        lowercase: bool = False,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ):
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.allow_special = allow_special
        self.lowercase = lowercase
        self.prompts = prompts
        self.default_prompt_name = default_prompt_name

    def examples(self, x: Any, of_batch: bool = False) -> list[Text] | None:
        """Return `x` as a list of texts or pairs; None where it holds no text.

        Args:
            of_batch: whether `x` is of one batch, which may be a tensor, and is no data set.
        """
        return texts_of(x) if is_raw(x) or (of_batch and hasattr(x, "numpy")) else None

    def encode(self, texts: Sequence[Text], prompt_name: str | None = None) -> list[Encoding]:
        """Return the token ids of each text or pair of texts, truncated, unpadded.

        Args:
            prompt_name: of `prompts`, the text to put before each, of a pair before the first;
                None for no prompt.

        Raises:
            InputTypeError: `texts` aren't texts; see `texts_of`.
            InputError: there is no prompt of that name.
        """
        texts = texts_of(texts, "texts")
        if prompt_name is not None:
            texts = put_before(self.prompt(prompt_name), texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str) and len(text) != 2:
                raise InputError(
                    f"text {i} is a group of {len(text)} texts, and a model reads one or a pair at "
                    "a time; give each by itself"
                )
        if self.lowercase:
            texts = [
                t.lower() if isinstance(t, str) else (t[0].lower(), t[1].lower()) for t in texts
            ]
        return self.tokenizer.encode_batch(
            texts, max_length=self.sequence_length, allow_special=self.allow_special
        )

    def prompt(self, name: str) -> str:
        """Return the text of a prompt; InputError where there is none of that name."""
        if name not in list(self.prompts):
            known = ", ".join(map(repr, self.prompts)) or "none"
            raise InputError(f"there is no prompt {name!r}; known: {known}")
        return self.prompts[name]

    def pad(
        self, encodings: Sequence[TokenRow], rows: int | None = None, length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Pad to `token_ids`, `segment_ids` and `padding_mask`, int32 `[rows, length]`.

        Raises:
            InputError: there are more encodings than `rows`, or one is longer than `length`.
        """
        rows = len(encodings) if rows is None else rows
        length = max((len(e.ids) for e in encodings), default=1) if length is None else length
        filler = self.tokenizer.pad_token_id or 0
        return {
            "token_ids": pad([e.ids for e in encodings], rows, length, filler),
            "segment_ids": pad([e.segment_ids for e in encodings], rows, length),
            "padding_mask": pad([[1] * len(e.ids) for e in encodings], rows, length),
        }

    def __call__(self, texts: Sequence[Text]) -> dict[str, np.ndarray]:
        """Return the inputs for `texts`, padded to the length bucket of the longest."""
        encodings = self.encode(texts_of(texts))
        longest = max((len(e.ids) for e in encodings), default=1)
        return self.pad(encodings, length=bucket(longest, self.sequence_length))

    def get_config(self) -> dict[str, Any]:
        values = checked_values(self)
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
        return {"tokenizer": self.tokenizer.get_config(), **plain}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextPreprocessor:
        where = f"the config of a {cls.__name__}"
        tokenizer = Tokenizer.from_config(read_field(config, "tokenizer", OBJECT, where=where))
        check_arguments(cls, config, where)
        return cls(**{**config, "tokenizer": tokenizer})
