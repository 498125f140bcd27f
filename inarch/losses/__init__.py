"""Losses by the names of sentence-transformers, and that of CTC models.

The losses of rankings, two of which have the names of losses of vectors, are in
`inarch.losses.ranking`.
"""

import inarch.installed_backend  # noqa: F401
from inarch.losses import ranking
from inarch.losses.ctc import CTCLoss
from inarch.losses.distillation import DistillKLDivLoss, EmbedDistillLoss, MarginMSELoss
from inarch.losses.embedding import (
    CoSENTLoss,
    CosineSimilarityLoss,
    EmbeddingLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)
from inarch.losses.matryoshka import MatryoshkaLoss
from inarch.losses.splade import SpladeLoss

__all__ = [
    "CTCLoss",
    "CoSENTLoss",
    "CosineSimilarityLoss",
    "DistillKLDivLoss",
    "EmbedDistillLoss",
    "EmbeddingLoss",
    "MarginMSELoss",
    "MatryoshkaLoss",
    "MultipleNegativesRankingLoss",
    "SpladeLoss",
    "TripletLoss",
    "ranking",
]
