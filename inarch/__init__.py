"""Published transformer checkpoints in Keras 3, proven loss-free, and back.

Everything public is here by name and imported on first use; every architecture's backbone class
is found in `inarch/models` without being listed.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from inarch.version import __version__ as __version__

if TYPE_CHECKING:
    from inarch.metrics import Perplexity as Perplexity
    from inarch.models.backbone import Backbone as Backbone
    from inarch.models.loading import Checkpoint as Checkpoint
    from inarch.tasks import AudioClassifier as AudioClassifier
    from inarch.tasks import AudioPreprocessor as AudioPreprocessor
    from inarch.tasks import CausalLM as CausalLM
    from inarch.tasks import CausalReranker as CausalReranker
    from inarch.tasks import CTCPreprocessor as CTCPreprocessor
    from inarch.tasks import CTCSpeechToText as CTCSpeechToText
    from inarch.tasks import MaskedLM as MaskedLM
    from inarch.tasks import MultiVectorEmbedder as MultiVectorEmbedder
    from inarch.tasks import MultiVectorPreprocessor as MultiVectorPreprocessor
    from inarch.tasks import PooledReranker as PooledReranker
    from inarch.tasks import QuestionAnswerer as QuestionAnswerer
    from inarch.tasks import Reranker as Reranker
    from inarch.tasks import Seq2SeqLM as Seq2SeqLM
    from inarch.tasks import SparseEmbedder as SparseEmbedder
    from inarch.tasks import SpeechPreprocessor as SpeechPreprocessor
    from inarch.tasks import SpeechToText as SpeechToText
    from inarch.tasks import Summarizer as Summarizer
    from inarch.tasks import TextClassifier as TextClassifier
    from inarch.tasks import TextEmbedder as TextEmbedder
    from inarch.tasks import TextPreprocessor as TextPreprocessor
    from inarch.tasks import TokenClassifier as TokenClassifier
    from inarch.tasks import Translator as Translator
    from inarch.tasks import ZeroShotClassifier as ZeroShotClassifier
    from inarch.text import BytePairTokenizer as BytePairTokenizer
    from inarch.text import CTCTokenizer as CTCTokenizer
    from inarch.text import SentencePieceTokenizer as SentencePieceTokenizer
    from inarch.text import Tokenizer as Tokenizer
    from inarch.text import WhisperTokenizer as WhisperTokenizer
    from inarch.text import WordPieceTokenizer as WordPieceTokenizer
    from inarch.workflows.batch_predictor import BatchPredictor as BatchPredictor
    from inarch.workflows.presets import export as export
    from inarch.workflows.presets import load as load
    from inarch.workflows.presets import prove as prove
    from inarch.workflows.verification import verify_checkpoint as verify

_HOMES = {
    "AudioClassifier": "inarch.tasks",
    "AudioPreprocessor": "inarch.tasks",
    "Backbone": "inarch.models.backbone",
    "BatchPredictor": "inarch.workflows.batch_predictor",
    "BytePairTokenizer": "inarch.text",
    "CTCPreprocessor": "inarch.tasks",
    "CTCSpeechToText": "inarch.tasks",
    "CTCTokenizer": "inarch.text",
    "CausalLM": "inarch.tasks",
    "CausalReranker": "inarch.tasks",
    "Checkpoint": "inarch.models.loading",
    "MaskedLM": "inarch.tasks",
    "MultiVectorEmbedder": "inarch.tasks",
    "MultiVectorPreprocessor": "inarch.tasks",
    "Perplexity": "inarch.metrics",
    "PooledReranker": "inarch.tasks",
    "QuestionAnswerer": "inarch.tasks",
    "Reranker": "inarch.tasks",
    "SentencePieceTokenizer": "inarch.text",
    "Seq2SeqLM": "inarch.tasks",
    "SparseEmbedder": "inarch.tasks",
    "SpeechPreprocessor": "inarch.tasks",
    "SpeechToText": "inarch.tasks",
    "Summarizer": "inarch.tasks",
    "TextClassifier": "inarch.tasks",
    "TextEmbedder": "inarch.tasks",
    "TextPreprocessor": "inarch.tasks",
    "TokenClassifier": "inarch.tasks",
    "Translator": "inarch.tasks",
    "Tokenizer": "inarch.text",
    "WhisperTokenizer": "inarch.text",
    "WordPieceTokenizer": "inarch.text",
    "ZeroShotClassifier": "inarch.tasks",
    "export": "inarch.workflows.presets",
    "load": "inarch.workflows.presets",
    "prove": "inarch.workflows.presets",
}
__all__ = ["__version__", *_HOMES, "verify"]
_PACKAGES = (
    "audio", "checkpoints", "data", "errors", "generation", "layers", "losses", "metrics", "models",
    "tasks", "text", "verify",
)  # fmt: skip


def _register() -> None:
    """Make every class known to Keras, so that `.keras` files load by name."""
    from inarch.models.registry import register_backbones

    register_backbones()
    for package in ("losses", "metrics", "tasks"):
        importlib.import_module(f"inarch.{package}")


def __getattr__(name: str) -> Any:
    if "keras" in sys.modules and not name.startswith("_"):
        _register()
    if name in _PACKAGES:
        return importlib.import_module(f"inarch.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name.endswith("Backbone"):
        from inarch.models.registry import architectures

        for architecture in architectures().values():
            if architecture.class_name == name:
                return architecture.backbone
    raise AttributeError(f"module 'inarch' has no attribute {name!r}")


def __dir__() -> list[str]:
    from inarch.models.registry import architectures

    found = [architecture.class_name for architecture in architectures().values()]
    return sorted({*globals(), *_HOMES, *_PACKAGES, *found})


# A script that has Keras already is about to use it; alone, `import inarch` stays cheap.
if "keras" in sys.modules:
    _register()
