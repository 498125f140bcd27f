"""Gemma 2's tokenizer: Gemma 3's, also where a folder names no class."""

from dataclasses import replace

from inarch.models.gemma3.text import GEMMA

TOKENIZERS = (replace(GEMMA, model_types=("gemma2",)),)
