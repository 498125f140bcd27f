"""SentencePiece models as families of checkpoints use them: ids, special tokens, normalization.

Each family gives what transformers gives for the same folder, but for FNet's, of whose special
tokens transformers 5 adds none. SentencePiece itself would normalize some texts otherwise:
DeBERTa's family ignores the model's table of replacements.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inarch.errors import CheckpointError, ConfigError
from inarch.text.byte_level import flag
from inarch.text.family import TokenizerFamily
from inarch.text.json_parts import Part, replace, template, tokenizer_json
from inarch.text.sentence_piece import metaspace, precompiled
from inarch.text.sentence_piece_model import (
    BPE,
    CONTROL,
    MODEL_TYPES,
    UNIGRAM,
    USER_DEFINED,
    SentencePieceModel,
    read_model,
)
from inarch.text.special_tokens import (
    BERT_TOKENS,
    SPECIAL_TOKEN_NAMES,
    added_token,
    special_token_texts,
)
from inarch.text.translation import wrapped_in

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class UnigramLayout:
    """Vocabulary that a family makes of a model's pieces, and steps before it splits a text.

    Args:
        vocabulary: tokens by id, each with its log-probability.
        unk_id: id of the unknown token.
        normalizer: of tokenizer.json; None for none.
        pre_tokenizers: those before the one that marks spaces.
        prepend_scheme: where that one puts a space before a text: "always", "first" or "never".
    """

    vocabulary: list[list]
    unk_id: int
    normalizer: Part | None
    pre_tokenizers: list[Part]
    prepend_scheme: Literal["always", "first", "never"]


@dataclass(frozen=True, kw_only=True)
class SentencePieceFamily(TokenizerFamily):
    """Tokenizers of a SentencePiece model's Unigram vocabulary.

    Args:
        layout: makes the vocabulary of a model and a tokenizer_config.json with all defaults.
    """

    layout: Callable[[SentencePieceModel, Config], UnigramLayout]

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Config
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model, config = read_model(files[names[0]], names[0]), self.with_defaults(config)
        check_unigram(model, self.tokenizer_class)
        layout = self.layout(model, config)
        ids = {entry[0]: index for index, entry in enumerate(layout.vocabulary)}
        space = metaspace(layout.prepend_scheme)
        splits = [*layout.pre_tokenizers, space]
        spec = tokenizer_json(
            {
                "type": "Unigram",
                "unk_id": layout.unk_id,
                "vocab": layout.vocabulary,
                "byte_fallback": False,
            },
            normalizer=layout.normalizer,
            pre_tokenizer={"type": "Sequence", "pretokenizers": splits},
            post_processor=self._template(model, ids, config),
            decoder=space,
            added_tokens=[*_added_tokens(model, ids, config), *self._language_tokens(ids)],
        )
        return spec, config

    def _language_tokens(self, ids: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return the added tokens for languages."""
        codes = () if self.languages is None else self.languages.known(ids)
        tokens = [self.languages.token(code) for code in codes] if self.languages else []
        return [added_token({"normalized": False}, t, ids[t], is_control=True) for t in tokens]

    def _template(
        self, model: SentencePieceModel, ids: Mapping[str, int], config: Config
    ) -> Part | None:
        if self.template == "translation":
            return wrapped_in(self.languages, config, ids)
        names = special_names(config)
        for role in self.ends:
            if names[role] not in ids:
                raise CheckpointError(
                    f"{model.name} has no piece {names[role]!r}, which is the {role}. Name the "
                    f"right token as {role!r} in tokenizer_config.json."
                )
        first, last = (names[role] for role in self.ends)
        return template(self.template, first, last, ids)


def check_unigram(model: SentencePieceModel, tokenizer_class: str) -> None:
    """Refuse a model of a type that a family doesn't use.

    Raises:
        CheckpointError: it isn't a Unigram model.
    """
    if model.model_type != UNIGRAM:
        raise CheckpointError(
            f"{model.name} is a {MODEL_TYPES[model.model_type]} model; that of {tokenizer_class} "
            "is a Unigram model. Put a tokenizer.json next to it, which is read in its place."
        )


def check_pairs(model: SentencePieceModel, tokenizer_class: str) -> None:
    """Refuse a model of a type that a family doesn't use.

    Raises:
        ConfigError: it isn't a model of byte pairs.
    """
    if model.model_type != BPE:
        raise ConfigError(
            f"{model.name} is a {MODEL_TYPES[model.model_type]} model; that of {tokenizer_class} "
            "is a BPE model. Put a tokenizer.json next to it."
        )


def scored_pieces(model: SentencePieceModel) -> list[list]:
    """Return the pieces of a model, each with its log-probability."""
    return [[piece.text, piece.score] for piece in model.pieces]


def special_names(config: Config) -> dict[str, str]:
    """Return all special tokens by name; "" for those that a tokenizer_config.json lacks."""
    return dict.fromkeys(SPECIAL_TOKEN_NAMES, "") | special_token_texts(config)


def _added_tokens(
    model: SentencePieceModel, ids: Mapping[str, int], config: Config
) -> list[dict[str, Any]]:
    """Return the pieces that are found in a text before all else, but for special tokens."""
    special = set(special_names(config).values())
    return [
        added_token({"normalized": False}, piece.text, ids[piece.text], piece.type == CONTROL)
        for piece in model.pieces
        if piece.type in (CONTROL, USER_DEFINED) and piece.text in ids and piece.text not in special
    ]


def albert_layout(model: SentencePieceModel, config: Config) -> UnigramLayout:
    """Return ALBERT's and FNet's layout: the model's own ids; quotes, accents and case alike."""
    normalizers: list[dict[str, Any]] = [replace(quote, '"', "String") for quote in ("``", "''")]
    if not flag(config, "keep_accents", False):
        normalizers += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if flag(config, "do_lower_case", True):
        normalizers.append({"type": "Lowercase"})
    if model.precompiled_charsmap:
        normalizers.append(precompiled(model.precompiled_charsmap))
    return UnigramLayout(
        vocabulary=scored_pieces(model),
        unk_id=model.unk_id,
        normalizer={"type": "Sequence", "normalizers": normalizers},
        pre_tokenizers=[{"type": "WhitespaceSplit"}],
        prepend_scheme="always" if flag(config, "add_prefix_space", True) else "never",
    )


ALBERT = SentencePieceFamily(
    tokenizer_class="AlbertTokenizer",
    model_types=("albert",),
    files=("spiece.model",),
    special_tokens={
        **BERT_TOKENS,
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    },
    layout=albert_layout,
)
