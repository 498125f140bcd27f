"""Gemma's tokenizer: byte pairs of pieces. Source: transformers, tokenization_gemma.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.text.files import TOKENIZER_JSON
from inarch.text.json_parts import Part, replace, split
from inarch.text.piece_pairs import PiecePairFamily
from inarch.text.sentence_piece_model import SPACE


@dataclass(frozen=True, kw_only=True)
class GemmaFamily(PiecePairFamily):
    """Byte pairs of whole texts, in which spaces are a character and none is put before."""

    def make_steps(self, config: Mapping[str, Any]) -> dict[str, Part | None]:
        decoders = [replace(SPACE, " ", "String"), {"type": "ByteFallback"}, {"type": "Fuse"}]
        return {
            "normalizer": replace(" ", SPACE, "String"),
            "pre_tokenizer": split(" ", "MergedWithPrevious", "String"),
            "decoder": {"type": "Sequence", "decoders": decoders},
        }


GEMMA = GemmaFamily(
    tokenizer_class="GemmaTokenizer",
    model_types=("gemma3_text",),
    special_tokens={
        "unk_token": "<unk>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    settings={"padding_side": "left"},
    files=(TOKENIZER_JSON,),
    template="none",
    ends=("bos_token", "eos_token"),
    unknown="unk_token",
)
TOKENIZERS = (GEMMA,)
