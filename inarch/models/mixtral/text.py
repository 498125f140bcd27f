"""Tokenizer of Mixtral: Mistral's.

Source: transformers, models/auto/tokenization_auto.py.
"""

from dataclasses import replace

from inarch.models.llama.text import LLAMA

TOKENIZERS = (replace(LLAMA, model_types=("mixtral",), kept_types=("mixtral",)),)
