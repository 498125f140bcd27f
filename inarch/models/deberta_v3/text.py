"""Tokenizer of DeBERTa-v2 and v3: a SentencePiece model's own ids, and a mask after them.

Source: transformers, models/deberta_v2/tokenization_deberta_v2.py.
"""

from collections.abc import Mapping
from typing import Any

from inarch.text.byte_level import flag
from inarch.text.json_parts import replace
from inarch.text.sentence_piece_model import SentencePieceModel
from inarch.text.sentencepiece_families import (
    SentencePieceFamily,
    UnigramLayout,
    scored_pieces,
    special_names,
)
from inarch.text.special_tokens import BERT_TOKENS


def _layout(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    vocabulary = scored_pieces(model)
    unknown = [special_names(config)["unk_token"], 0.0]
    lower_case = flag(config, "do_lower_case", False)
    punctuation = {"type": "Punctuation", "behavior": "Isolated"}
    normalizers: list[dict[str, Any]] = [
        *([{"type": "Lowercase"}] if lower_case else []),
        replace(r"\s{2,}|[\n\r\t]", " "),
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ]
    return UnigramLayout(
        vocabulary=vocabulary,
        unk_id=vocabulary.index(unknown) if unknown in vocabulary else model.unk_id,
        normalizer={"type": "Sequence", "normalizers": normalizers},
        pre_tokenizers=[punctuation] if flag(config, "split_by_punct", False) else [],
        prepend_scheme="always" if flag(config, "add_prefix_space", True) else "first",
    )


TOKENIZERS = (
    SentencePieceFamily(
        tokenizer_class="DebertaV2Tokenizer",
        model_types=("deberta-v2",),
        files=("spm.model",),
        special_tokens={**BERT_TOKENS, "bos_token": "[CLS]", "eos_token": "[SEP]"},
        layout=_layout,
    ),
)
