"""Tokenizer of DeBERTa's first version: GPT-2's byte pairs between BERT's special tokens.

Source: microsoft/DeBERTa, DeBERTa/deberta/gpt2_tokenizer.py; transformers,
models/deberta/tokenization_deberta.py, as it was before version 5. That version puts two `[SEP]`
between the texts of a pair and keeps the space before a `[MASK]`, which the models weren't trained
with.
"""

from inarch.text.byte_level import ByteLevelFamily
from inarch.text.special_tokens import BERT_TOKENS, SPACED

TOKENIZERS = (
    ByteLevelFamily(
        tokenizer_class="DebertaTokenizer",
        model_types=("deberta",),
        special_tokens={
            **BERT_TOKENS,
            "bos_token": "[CLS]",
            "eos_token": "[SEP]",
            "mask_token": {"content": "[MASK]", **SPACED},
        },
    ),
)
