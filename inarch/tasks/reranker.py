"""Scores of pairs of texts by a cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.answers.labels import COUNTED, trained_classes
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers import cross_encoder
from inarch.tasks.causal_reranker import CausalReranker
from inarch.tasks.pair_scores import PairScores
from inarch.tasks.pooled_reranker import PooledReranker
from inarch.tasks.sequence_classifier import SequenceClassifier
from inarch.tasks.task import Task


class Reranker(PairScores, SequenceClassifier, Task):
    """Scores of pairs of a query and a document, which are read together by one encoder.

    `rank` orders documents by their scores. `predict` gives what sentence-transformers'
    `CrossEncoder.predict` gives: `[pairs]`, or `[pairs, num_classes]` for several classes.

    Trained on pairs, `fit([(query, document), ...], y)`, a score is the probability that the
    document is relevant, whose targets are from 0 to 1. Compiled with one of the ranking losses
    (`ListNetLoss`, `LambdaLoss`, `MarginMSELoss`, `MarginRankingLoss`) it is trained on several
    documents of each query: `fit([(query, [document, ...]), ...], [[label, ...], ...])`, or
    `fit([(query, positive, negative, ...), ...])`. Batches are of so many queries then.

    Args:
        backbone: the encoder.
        num_classes: number of scores of a pair; `rank` and training are for 1.
        preprocessor: text to inputs; None to feed prepared arrays.
        labels: names of the classes, `LABEL_0` and so on where not given.
        dropout: rate before the last layer; the architecture's own where not given.
        activation_fn: what makes scores of logits, such as `"identity"` or `"sigmoid"`; where not
            given, the sigmoid for one class and the logits themselves for several, as in
            CrossEncoder.

    `from_preset` gives a checkpoint without a classification head a fresh one of one class, with a
    warning; a bi-encoder's folder is refused (PresetError) unless `num_classes` is given. Of a
    causal language model it gives a `CausalReranker`, and of a CrossEncoder whose modules make the
    score of a pooled vector a `PooledReranker`, unless `num_classes` is given.
    """

    pipeline_tag = "text-ranking"
    saved_settings = ("dropout",)
    writes_cross_encoder = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 1,
        preprocessor: TextPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        dropout: float | None = None,
        activation_fn: str | None = None,
        **kwargs: Any,
    ):
        given = (num_classes, preprocessor, labels, dropout, activation_fn)
        super().__init__(backbone, *given, **kwargs)

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def class_for(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> type[Task]:
        counted = any(given.get(name) is not None for name in COUNTED)
        if cls is not Reranker or counted:
            return cls
        if PooledReranker.is_declared_by(checkpoint):
            return PooledReranker
        return CausalReranker if CausalReranker.fits(checkpoint) else cls

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        one = cls.head in checkpoint.source.heads and trained_classes(checkpoint, cls.head) == 1
        return one and cross_encoder.is_declared(checkpoint)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        counted = any(given.get(name) is not None for name in COUNTED)
        cross_encoder.check_modules(checkpoint, cls.head, counted)
        if not counted and trained_classes(checkpoint, cls.head) is None:
            given = given | {"num_classes": 1, "labels": None}
        return super().arguments_of(checkpoint, given)
