"""Tokenizers of Mixtral and Qwen3-MoE: Mistral's and Qwen2's.

Source: transformers, models/auto/tokenization_auto.py.
"""

from dataclasses import replace

from inarch.models.llama.text import LLAMA, QWEN2

TOKENIZERS = (
    replace(LLAMA, model_types=("mixtral",), kept_types=("mixtral",)),
    replace(QWEN2, model_types=("qwen3_moe",)),
)
