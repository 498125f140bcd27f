"""Longformer's tokenizer: RoBERTa's under another name."""

from dataclasses import replace

from inarch.text.byte_level import ROBERTA

TOKENIZERS = (replace(ROBERTA, tokenizer_class="LongformerTokenizer", model_types=("longformer",)),)
