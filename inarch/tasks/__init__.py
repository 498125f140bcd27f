"""Tasks: a backbone and a head with `fit`, `evaluate` and `predict` on raw text or sound."""

import inarch.installed_backend  # noqa: F401
from inarch.answers.quantization import quantize_embeddings
from inarch.preprocessors.audio_preprocessor import AudioPreprocessor
from inarch.preprocessors.ctc_preprocessor import CTCPreprocessor
from inarch.preprocessors.multi_vector_preprocessor import MultiVectorPreprocessor
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.speech_preprocessor import SpeechPreprocessor
from inarch.tasks.audio_classifier import AudioClassifier
from inarch.tasks.causal_lm import CausalLM
from inarch.tasks.causal_reranker import CausalReranker
from inarch.tasks.ctc_speech_to_text import CTCSpeechToText
from inarch.tasks.masked_lm import MaskedLM
from inarch.tasks.multi_vector_embedder import MultiVectorEmbedder
from inarch.tasks.pooled_reranker import PooledReranker
from inarch.tasks.question_answerer import QuestionAnswerer
from inarch.tasks.reranker import Reranker
from inarch.tasks.seq2seq_lm import Seq2SeqLM
from inarch.tasks.sparse_embedder import SparseEmbedder
from inarch.tasks.speech_to_text import SpeechToText
from inarch.tasks.summarizer import Summarizer
from inarch.tasks.text_classifier import TextClassifier
from inarch.tasks.text_embedder import TextEmbedder
from inarch.tasks.token_classifier import TokenClassifier
from inarch.tasks.translator import Translator
from inarch.tasks.zero_shot_classifier import ZeroShotClassifier

__all__ = [
    "AudioClassifier",
    "AudioPreprocessor",
    "CTCPreprocessor",
    "CTCSpeechToText",
    "CausalLM",
    "CausalReranker",
    "MaskedLM",
    "MultiVectorEmbedder",
    "MultiVectorPreprocessor",
    "PooledReranker",
    "QuestionAnswerer",
    "Reranker",
    "Seq2SeqLM",
    "SparseEmbedder",
    "SpeechPreprocessor",
    "SpeechToText",
    "Summarizer",
    "TextClassifier",
    "TextEmbedder",
    "TextPreprocessor",
    "TokenClassifier",
    "Translator",
    "ZeroShotClassifier",
    "quantize_embeddings",
]
