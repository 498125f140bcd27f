"""Metrics of texts, answers, entities and rankings, on plain Python values and arrays."""

import inarch.installed_backend  # noqa: F401
from inarch.metrics.answers import squad_metrics
from inarch.metrics.entities import entity_scores
from inarch.metrics.retrieval import mean_average_precision, mrr, ndcg, recall
from inarch.metrics.texts import Perplexity, bleu, rouge, word_error_rate

__all__ = [
    "Perplexity",
    "bleu",
    "entity_scores",
    "mean_average_precision",
    "mrr",
    "ndcg",
    "recall",
    "rouge",
    "squad_metrics",
    "word_error_rate",
]
