"""Byte pairs of words, with a dictionary of counts: PhoBERT's and BERTweet's tokenizers.

Both come from fairseq with fastBPE: `bpe.codes` are merges, of which the last piece of a word ends
in `</w>`, and `vocab.txt` is a dictionary in which all other pieces end in `@@`. What isn't in the
dictionary is unknown, also where it is a piece of the merges. Source: transformers,
models/phobert/tokenization_phobert.py and models/bertweet/tokenization_bertweet.py.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.text.family import TokenizerFamily
from inarch.text.files import CODES_FILE, VOCABULARY_FILE, decode_text
from inarch.text.json_parts import Template, bpe_model, split, tokenizer_json
from inarch.text.special_tokens import ROBERTA_TOKENS, SPECIAL_TOKEN_NAMES, token_text

END, WITHIN = "</w>", "@@"
# What Python's `\s` matches, which Rust's doesn't quite.
SPACES = "\t\n\v\f\r\x1c-\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Where the config of such a tokenizer keeps the dictionary, and the dictionary's id of each piece.
DICTIONARY, PIECE_IDS = "fairseq_dictionary", "fairseq_piece_ids"


@dataclass(frozen=True, kw_only=True)
class FastBpeFamily(TokenizerFamily):
    """Tokenizers whose `vocab.txt` is fairseq's dictionary of the pieces that `bpe.codes` makes."""

    files: tuple[str, ...] = (VOCABULARY_FILE, CODES_FILE)
    special_tokens: Mapping[str, Any] = field(default_factory=lambda: ROBERTA_TOKENS)
    template: Template = "xlm-roberta"
    reads_tokenizer_json: bool = False

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        vocabulary, codes = (decode_text(files, name) for name in names)
        return fast_bpe_json(vocabulary, codes, self.with_defaults(config))


def fast_bpe_json(
    vocabulary: str, codes: str, config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of a tokenizer.json, and the config with the dictionary's ids.

    Args:
        vocabulary: the text of vocab.txt.
        codes: the text of bpe.codes.
        config: the tokenizer_config.json, with the defaults of the family.

    Raises:
        CheckpointError: a line of the dictionary has no count.
        ConfigError: BERTweet's normalization of tweets is enabled.
    """
    if config.get("normalization"):
        raise ConfigError(
            f"normalization is {config['normalization']!r} in tokenizer_config.json: BERTweet's "
            "rewriting of tweets isn't done here. Normalize texts before they are given, and set "
            "it to false"
        )
    merges = _merges(codes)
    ids = _dictionary(vocabulary, config)
    unknown = ids[token_text(config["unk_token"], "unk_token") or ""]
    letters = [
        piece
        for token in ids
        for piece in (token.removesuffix(WITHIN), token + END)
        if len(piece.removesuffix(END)) == 1
    ]
    special = _special(config)
    merged = (piece for a, b in merges for piece in (a, b, a + b))
    pieces = dict.fromkeys([*special, *letters, *merged])
    found = [
        ids[piece] if piece in special else ids.get(_as_listed(piece), unknown) for piece in pieces
    ]
    spec = tokenizer_json(
        bpe_model(
            {piece: index for index, piece in enumerate(pieces)},
            merges,
            unk_token=token_text(config["unk_token"], "unk_token"),
            end_of_word_suffix=END,
        ),
        pre_tokenizer=split(f"[^{SPACES}]+\n?", "Removed", invert=True),
    )
    return spec, {**config, DICTIONARY: ids, PIECE_IDS: found}


def _as_listed(piece: str) -> str:
    """Return a piece as the dictionary writes it."""
    return piece.removesuffix(END) if piece.endswith(END) else piece + WITHIN


def _merges(codes: str) -> list[tuple[str, str]]:
    """Return the pairs of bpe.codes, whose lines end in a count; the last line must end."""
    pairs = [tuple(line.split()[:-1]) for line in codes.split("\n")[:-1]]
    # Of a pair that occurs twice the last place counts, as in a dict.
    ranks = {pair: rank for rank, pair in enumerate(pairs) if len(pair) == 2}
    return sorted(ranks, key=ranks.__getitem__)  # type: ignore[arg-type]


def _special(config: Mapping[str, Any]) -> list[str]:
    """Return the tokens that are none of the dictionary's pieces, in the order of their ids."""
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    named = [
        *_declared(config),
        *(token_text(config.get(role), role) for role in SPECIAL_TOKEN_NAMES),
    ]
    named += map(token_text, extra.values() if isinstance(extra, Mapping) else extra)
    return list(dict.fromkeys(token for token in named if token))


def _declared(config: Mapping[str, Any]) -> dict[str, int]:
    declared = config.get("added_tokens_decoder") or {}
    return {token_text(token) or "": int(index) for index, token in declared.items()}


def _dictionary(text: str, config: Mapping[str, Any]) -> dict[str, int]:
    """Return token to id: four special tokens, the lines of vocab.txt, and added tokens."""
    ids: dict[str, int] = {}
    for role in ("bos_token", "pad_token", "eos_token", "unk_token"):
        ids[token_text(config[role], role) or ""] = len(ids)
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        token, space, _ = line.strip().rpartition(" ")
        if not space:
            raise CheckpointError(
                f"line {number} of {VOCABULARY_FILE} isn't a token and a count with a space "
                f"between, as {CODES_FILE} requires; the file may be damaged: fetch it again."
            )
        ids[token] = len(ids)
    for token, index in _declared(config).items():
        ids.setdefault(token, index)
    for token in _special(config):
        ids.setdefault(token, max(ids.values()) + 1)
    return ids
