"""Tokenizer of T5 and mT5: a SentencePiece model's own ids, then those of the sentinels.

Source: transformers, models/t5/tokenization_t5.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inarch.errors import ConfigError
from inarch.text.sentence_piece import precompiled
from inarch.text.sentence_piece_model import SentencePieceModel
from inarch.text.sentencepiece_families import SentencePieceFamily, UnigramLayout, scored_pieces
from inarch.text.special_tokens import added_token
from inarch.validation import shown

# No model has as many; a number of a file's own would fill the memory.
MAX_SENTINELS = 10_000


def _sentinels(config: Mapping[str, Any]) -> list[str]:
    """Return the tokens that stand for masked spans, in the order of their ids: the last first."""
    count = config.get("extra_ids", 100)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_SENTINELS:
        raise ConfigError(
            f"tokenizer_config.json: 'extra_ids' is {shown(count)}; it must be a whole number from "
            f"0 to {MAX_SENTINELS}"
        )
    return [f"<extra_id_{i}>" for i in reversed(range(count))]


def _layout(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    charsmap = model.precompiled_charsmap
    return UnigramLayout(
        vocabulary=[*scored_pieces(model), *([token, 0.0] for token in _sentinels(config))],
        unk_id=model.unk_id,
        normalizer=precompiled(charsmap) if charsmap else None,
        pre_tokenizers=[{"type": "WhitespaceSplit"}],
        prepend_scheme="always",
    )


@dataclass(frozen=True, kw_only=True)
class T5Family(SentencePieceFamily):
    """Unigram vocabularies with sentinels, which are special tokens."""

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        spec, config = super().build(files, names, config)
        tokens = _sentinels(config)
        first = len(spec["model"]["vocab"]) - len(tokens)
        added = [
            added_token({"normalized": False}, t, first + i, True) for i, t in enumerate(tokens)
        ]
        return spec | {"added_tokens": [*spec["added_tokens"], *added]}, config


T5 = T5Family(
    tokenizer_class="T5Tokenizer",
    model_types=("t5", "mt5"),
    files=("spiece.model",),
    special_tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    template="end",
    ends=("eos_token", "eos_token"),
    layout=_layout,
)
TOKENIZERS = (T5, replace(T5, tokenizer_class="MT5Tokenizer", model_types=()))
