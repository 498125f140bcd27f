"""Tokenizer of Phi-3: Llama's, but for a tokenizer.json, which stays as it is.

Source: transformers, models/auto/tokenization_auto.py. Phi-4 has a tokenizer.json of GPT-2's class.
"""

from dataclasses import replace

from inarch.models.llama.text import LLAMA

TOKENIZERS = (replace(LLAMA, model_types=("phi3",), kept_types=("phi3",)),)
