"""Tasks: a backbone and a head with `fit`, `evaluate` and `predict` on raw text or sound."""

import inarch.installed_backend  # noqa: F401
from inarch.tasks.masked_lm import MaskedLM
from inarch.tasks.preprocessor import TextPreprocessor
from inarch.tasks.quantization import quantize_embeddings
from inarch.tasks.sparse_embedder import SparseEmbedder
from inarch.tasks.speech_preprocessor import SpeechPreprocessor
from inarch.tasks.speech_to_text import SpeechToText
from inarch.tasks.text_classifier import TextClassifier
from inarch.tasks.text_embedder import TextEmbedder

__all__ = [
    "MaskedLM",
    "SparseEmbedder",
    "SpeechPreprocessor",
    "SpeechToText",
    "TextClassifier",
    "TextEmbedder",
    "TextPreprocessor",
    "quantize_embeddings",
]
