"""XLNet's tokenizer: ALBERT's pieces with case kept, and the special tokens after a text.

Source: transformers, models/xlnet/tokenization_xlnet.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.text.json_parts import Part, sequence, special, template_processing
from inarch.text.sentence_piece_model import SentencePieceModel
from inarch.text.sentencepiece_families import (
    SentencePieceFamily,
    UnigramLayout,
    albert_layout,
    special_names,
)
from inarch.text.special_tokens import ROBERTA_TOKENS


def _layout(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    """Return ALBERT's layout, without accents whatever `keep_accents` is."""
    return albert_layout(model, {**config, "keep_accents": False})


@dataclass(frozen=True, kw_only=True)
class XLNetFamily(SentencePieceFamily):
    """Tokenizers whose texts end in a separator and the token of classes, which has segment 2."""

    def _template(
        self, model: SentencePieceModel, ids: Mapping[str, int], config: Mapping[str, Any]
    ) -> Part | None:
        super()._template(model, ids, config)  # for its errors
        return self.post_processor({}, special_names(config), ids)

    def post_processor(
        self, spec: Mapping[str, Any], special_tokens: Mapping[str, str], ids: Mapping[str, int]
    ) -> Part | None:
        cls, sep = (special_tokens.get(name, "") for name in self.ends)
        if cls not in ids or sep not in ids:
            return None
        first = [sequence("A", 0), *special(sep, 0)]
        second = [sequence("B", 1), *special(sep, 1)]
        end = special(cls, 2)
        return template_processing([*first, *end], [*first, *second, *end], ids)


TOKENIZERS = (
    XLNetFamily(
        tokenizer_class="XLNetTokenizer",
        model_types=("xlnet",),
        files=("spiece.model",),
        special_tokens={
            **ROBERTA_TOKENS,
            "sep_token": "<sep>",
            "cls_token": "<cls>",
            "mask_token": "<mask>",
        },
        settings={
            "do_lower_case": False,
            "additional_special_tokens": ["<eop>", "<eod>"],
            "padding_side": "left",
        },
        layout=_layout,
    ),
)
