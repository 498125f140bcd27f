"""Tokenizer of GPT-NeoX and Pythia: byte pairs of bytes, after Unicode normalization.

Source: transformers, models/gpt_neox/tokenization_gpt_neox.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.text.byte_level import ByteLevelFamily, make_template
from inarch.text.json_parts import token_ids

NEOX_END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class GPTNeoXFamily(ByteLevelFamily):
    """Byte-level byte pairs of a text's composed form (NFC), between ends that its config names."""

    def _between_ends(
        self, spec: Mapping[str, Any], config: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        ends = make_template(config, token_ids(spec))
        return {**spec, "normalizer": {"type": "NFC"}, "post_processor": ends}


TOKENIZERS = (
    GPTNeoXFamily(
        tokenizer_class="GPTNeoXTokenizer",
        model_types=("gpt_neox",),
        special_tokens={
            **dict.fromkeys(("bos_token", "eos_token", "unk_token"), NEOX_END),
            "pad_token": "<|padding|>",
        },
        template="none",
    ),
)
