"""Tokenizer of OPT: GPT-2's byte pairs, after the token that begins a text.

Source: transformers, models/auto/tokenization_auto.py; the published tokenizer_config.json.
"""

from inarch.text.byte_level import GPT2, ByteLevelFamily

OPT_END = "</s>"
TOKENIZERS = (
    ByteLevelFamily(
        tokenizer_class=GPT2.tokenizer_class,
        model_types=("opt",),
        special_tokens={
            **dict.fromkeys(("bos_token", "eos_token", "unk_token"), OPT_END),
            "pad_token": "<pad>",
        },
        settings={"add_bos_token": True},
        template="none",
    ),
)
