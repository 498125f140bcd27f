"""Tokenizer of GTE where its files name no class: XLM-RoBERTa's.

Source: transformers, models/auto/tokenization_auto.py. The English models name BERT's.
"""

from dataclasses import replace

from inarch.models.roberta.text import XLM_ROBERTA

TOKENIZERS = (replace(XLM_ROBERTA, model_types=("gte",)),)
