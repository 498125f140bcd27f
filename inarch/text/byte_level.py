"""Byte-level byte pair encoding as a tokenizer.json, and its families.

The encoding is that of GPT-2 (Radford et al., 2019, "Language Models are Unsupervised Multitask
Learners") and RoBERTa.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.json_fields import object_in
from inarch.text.family import TokenizerFamily
from inarch.text.files import IDS_FILE, MERGES_FILE, decode_text, read_text
from inarch.text.json_parts import (
    Part,
    Template,
    bpe_model,
    sequence,
    special,
    template,
    template_processing,
    token_ids,
    tokenizer_json,
)
from inarch.text.special_tokens import GPT2_TOKENS, ROBERTA_TOKENS, token_text


@dataclass(frozen=True, kw_only=True)
class ByteLevelFamily(TokenizerFamily):
    """Tokenizers whose `vocab.json` and `merges.txt` are byte-level byte pair encoding."""

    files: tuple[str, ...] = (IDS_FILE, MERGES_FILE)
    reads_prefix_space: bool = True

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        ids, merges = (decode_text(files, name) for name in names)
        config = self.with_defaults(config)
        pairs = parse_merges(merges)
        wrapped: Template = "bert" if self.template == "bert" else "roberta"
        spec = byte_pair_json(parse_ids(ids), pairs, config, wrapped)
        return dict(self._between_ends(spec, config)), config

    def rebuild(
        self, spec: Mapping[str, Any], config: Mapping[str, Any], model_type: object
    ) -> Mapping[str, Any]:
        return self._between_ends(spec, self.with_defaults(config))

    def _between_ends(
        self, spec: Mapping[str, Any], config: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return a tokenizer.json that puts texts between the tokens that the config names.

        They are `bos_token` if `add_bos_token` is true, as of OPT, and `eos_token` likewise.
        """
        if self.template != "none":
            return spec
        ends = make_template(config, token_ids(spec))
        return spec if ends is None else {**spec, "post_processor": ends}


def _letters() -> tuple[str, ...]:
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return tuple(chr(byte if byte in shown else next(others)) for byte in range(256))


# How a vocabulary writes each byte: as its own letter where it shows, else as one from U+0100 on.
BYTE_TO_UNICODE = _letters()


def parse_merges(text: str, name: str = "merges.txt") -> list[list[str]]:
    """Return the pairs of merges.txt, the first to be merged first; `#version...` is a comment."""
    merges = []
    for number, line in enumerate(text.splitlines() if "\r" in text else text.split("\n"), 1):
        if line.startswith("#version") or not line:
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise CheckpointError(
                f"line {number} of {name} is {line!r}, not two tokens with a space between them. "
                "The file may be damaged: fetch it again."
            )
        merges.append(pair)
    return merges


def parse_ids(text: str, name: str = "vocab.json") -> dict[str, int]:
    """Return token to id."""
    ids = object_in(text, name, CheckpointError)
    taken: dict[int, str] = {}
    for token, index in ids.items():
        if type(index) is not int or index < 0:
            raise CheckpointError(f"{name} gives {token!r} the id {index!r}, not a number from 0.")
        if index in taken:
            raise CheckpointError(
                f"{name} gives {taken[index]!r} and {token!r} the same id, {index}."
            )
        taken[index] = token
    if not ids:
        raise CheckpointError(f"{name} is empty; it maps tokens to ids.")
    return ids


def ids_and_merges(
    vocabulary: Mapping[str, int] | str | os.PathLike, merges: Sequence[str] | str | os.PathLike
) -> tuple[dict[str, int], list[list[str]]]:
    """Return both, from memory or from files of the form of vocab.json and merges.txt."""
    return (
        dict(vocabulary) if isinstance(vocabulary, Mapping) else parse_ids(*read_text(vocabulary)),
        parse_merges(*read_text(merges))
        if isinstance(merges, str | os.PathLike)
        else parse_merges("\n".join(merges), "merges"),
    )


def byte_pair_json(
    ids: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    config: Mapping[str, Any],
    wrapped: Template = "roberta",
) -> dict[str, Any]:
    """Return the content of a tokenizer.json.

    Args:
        ids: token to id.
        merges: pairs of tokens, the first to be merged first.
        config: a tokenizer_config.json. Where it names a `cls_token` and a `sep_token`, texts are
            wrapped in them; elsewhere nothing is added.
        wrapped: how, see `inarch.text.json_parts.template`.
    """
    for place, pair in enumerate(merges):
        for token in (*pair, "".join(pair)):
            if token not in ids:
                raise CheckpointError(
                    f"merge {place + 1} is {' '.join(pair)!r}, and the vocabulary of {len(ids)} "
                    f"tokens has no {token!r}; its two files may be of different models."
                )
    cls, sep = (token_text(config.get(role), role) for role in ("cls_token", "sep_token"))
    for role, named in (("cls_token", cls), ("sep_token", sep)):
        if named is not None and named not in ids:
            raise CheckpointError(
                f"the vocabulary of {len(ids)} tokens has no {named!r}, which is the {role}. Add "
                f"it, or name the right token as {role!r} in tokenizer_config.json."
            )
    prefix = flag(config, "add_prefix_space", False)
    trim = flag(config, "trim_offsets", True)
    level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return tokenizer_json(
        bpe_model(ids, merges, continuing_subword_prefix="", end_of_word_suffix=""),
        pre_tokenizer={**level, "add_prefix_space": prefix},
        post_processor=template(wrapped, cls, sep, ids, prefix, trim),
        decoder={**level, "add_prefix_space": True},
    )


def flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return a field of tokenizer_config.json that is true or false."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r} in tokenizer_config.json; it is true or false.")
    return value


def read_flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return a boolean of a tokenizer_config.json; the default for null too."""
    return default if config.get(name) is None else flag(config, name, default)


def make_template(config: Mapping[str, Any], ids: Mapping[str, int]) -> Part | None:
    """Return the post-processor of the tokens that each text, of a pair too, is put between."""
    first, last = (
        token_text(config.get(f"{end}_token"), f"{end}_token")
        if read_flag(config, f"add_{end}_token", False)
        else None
        for end in ("bos", "eos")
    )
    for token in (first, last):
        if token is not None and token not in ids:
            raise ConfigError(f"the vocabulary has no {token!r}, which is put around each text.")
    if first is None and last is None:
        return None
    parts = [
        [*special(first, segment), sequence(name, segment), *special(last, segment)]
        for segment, name in enumerate("AB")
    ]
    return template_processing(parts[0], parts[0] + parts[1], ids)


ROBERTA = ByteLevelFamily(
    tokenizer_class="RobertaTokenizer",
    model_types=("roberta",),
    special_tokens=ROBERTA_TOKENS,
    template="roberta",
)
GPT2 = ByteLevelFamily(
    tokenizer_class="GPT2Tokenizer",
    model_types=("gpt2",),
    special_tokens=GPT2_TOKENS,
    template="none",
)
WHISPER = replace(
    GPT2,
    tokenizer_class="WhisperTokenizer",
    model_types=("whisper",),
    reads_prefix_space=False,
)
