"""Training on pairs of texts, their scores, and documents ranked by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import keras
import numpy as np

from inarch.answers.activation import ACTIVATIONS
from inarch.data.columns import values_of
from inarch.errors import InputError
from inarch.losses.ranking import RankingLoss
from inarch.metrics.retrieval import rank_by_score
from inarch.preprocessors.raw_texts import is_one_text
from inarch.tasks import inference
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.task_mixin import TaskMixin
from inarch.training.class_targets import number_rows
from inarch.training.datasets import weights_of
from inarch.training.objective import Objective
from inarch.training.ranking_examples import (
    check_no_metrics,
    check_queries,
    checked_pairs,
    group_rows,
    groups_of,
    is_grouped,
    labels_of,
    queries_of,
)
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import check_count, shown

Ranking = list[dict[str, Any]]


class PairScores(TaskMixin):
    """Methods of tasks that read a query and a document together and give their score.

    Attributes:
        num_classes: scores of a pair; `rank` and training are for 1.
        labels: names of the classes.
        activation_fn: what makes scores of logits; the sigmoid of one where it is None.
    """

    num_classes: int
    labels: Any
    activation_fn: Any

    # --- training ------------------------------------------------------------------------------

    def objective(self) -> Objective:
        self._check_one_score("training")
        return Objective(keras.losses.BinaryCrossentropy(from_logits=True), learning_rate=2e-5)

    def examples(self, x: Any, of_batch: bool = False) -> Sequence[Any] | None:
        x = values_of(x)
        if is_grouped(x):
            return groups_of(x)
        pairs = super().examples(x, of_batch)
        return None if pairs is None else checked_pairs(pairs)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        grouped, loss = isinstance(texts[0][1], tuple), getattr(self, "loss", None)
        if not isinstance(loss, RankingLoss):
            if grouped:
                raise InputError(
                    f"the queries have several documents each, and the loss, {shown(loss)}, reads "
                    "pairs; compile(loss=ListNetLoss()), or another of the ranking losses"
                )
            return super().collate(texts, y, sample_weight)
        if not grouped:
            raise InputError(
                f"{type(loss).__name__} compares the documents of a query, and x has pairs; give "
                "(query, [document, ...]) for each query, or compile with another loss"
            )
        check_no_metrics(self, loss)
        labels = labels_of(y, texts, loss)
        rows_of = group_rows(labels, weights_of(sample_weight, len(texts)))
        preprocessor = inference.preprocessor_of(self)
        prompt = preprocessor.default_prompt_name
        check_queries(preprocessor, [query for query, _ in texts], prompt)
        pairs = [(query, d) for query, documents in texts for d in documents]
        encodings = self.encode(pairs, prompt)

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            rows, *targets = rows_of(indices)
            return self.padded([encodings[i] for i in rows]), *targets

        return make

    def targets(self, y: Any, count: int) -> np.ndarray:
        y = number_rows(super().targets(y, count), 1)
        if isinstance(getattr(self, "loss", None), keras.losses.BinaryCrossentropy):
            wrong = np.flatnonzero((y < 0) | (y > 1))
            if len(wrong):
                raise InputError(
                    f"y has {y.flat[wrong[0]]} for pair {wrong[0]}, and binary cross entropy reads "
                    "targets from 0 to 1; scale them, or compile(loss='mse')"
                )
        return y

    # --- inference -----------------------------------------------------------------------------

    @property
    def score_activation(self) -> str:
        """The activation by which `predict` and `rank` make scores of logits."""
        return self.activation_fn or ("sigmoid" if self.num_classes == 1 else "identity")

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return scores, float32 `[pairs]`, or `[pairs, num_classes]` for several classes.

        Args:
            x: one pair, a tuple of two strings, whose result has no axis of pairs; a list of
                pairs; or whatever else `Task.predict` takes, as are all other arguments.
        """
        if is_one_text(x):
            return self.predict([x], *args, **kwargs)[0]
        return self._scores(super().predict(x, *args, **kwargs))

    def checked_texts(self, texts: Sequence[Any]) -> Sequence[Any]:
        return checked_pairs(texts)

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        scores = ACTIVATIONS[self.score_activation][1](np.asarray(logits, np.float64))
        return (scores[:, 0] if self.num_classes == 1 else scores).astype(np.float32)

    @overload
    def rank(  # type: ignore[overload-overlap]
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        prompt_name: str | None = None,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Ranking: ...

    @overload
    def rank(
        self,
        query: Sequence[str],
        documents: Sequence[Sequence[str]],
        top_k: int | None = None,
        prompt_name: str | None = None,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> list[Ranking]: ...

    @in_runtime
    def rank(
        self,
        query: Any,
        documents: Any,
        top_k: int | None = None,
        prompt_name: str | None = None,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> Any:
        """Return the documents of a query by falling score, as `{"index", "score", "text"}`.

        The scores are `predict`'s. Documents of equal scores keep their order.

        Args:
            query: one query, or a list.
            documents: for one query a list of texts; for a list of queries such a list for each.
            top_k: how many documents to return, the first ones; None for all.
            prompt_name: of the prompt to put before the query; the preprocessor's default one
                where not given.
            batch_size: size of a batch, in pairs of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            for one query a list; for a list of queries a list of such lists.

        Raises:
            InputError: there are no documents, or other numbers of queries and of lists; a query
                is so long that it would be cut for any document; the model has several classes;
                or there is no prompt of that name.
        """
        self._check_one_score("rank")
        if top_k is not None:
            check_count("top_k", top_k)
        groups = queries_of(query, documents)
        preprocessor = inference.preprocessor_of(self)
        prompt_name = preprocessor.default_prompt_name if prompt_name is None else prompt_name
        check_queries(preprocessor, [query for query, _ in groups], prompt_name)
        # Each once: rounding depends on the place in a row, and equal documents have equal scores.
        every = ((query_text, document) for query_text, texts in groups for document in texts)
        pairs = list(dict.fromkeys(every))
        scores = self._scores(self.predict_texts(pairs, batch_size, prompt_name=prompt_name))
        known, results = dict(zip(pairs, scores.tolist(), strict=True)), []
        for query_text, texts in groups:
            row = [known[query_text, document] for document in texts]
            order = rank_by_score(row)[:top_k]
            results.append([{"index": i, "score": row[i], "text": texts[i]} for i in order])
        return results[0] if isinstance(query, str) else results

    def _check_one_score(self, user: str) -> None:
        if self.num_classes != 1:
            raise InputError(
                f"the reranker has {self.num_classes} classes ({', '.join(self.labels[:4])}), and "
                f"{user} needs one score of a pair; predict gives the scores of all classes, "
                "TextClassifier is trained on them, and from_preset(..., num_classes=1) gives a "
                "fresh head of one"
            )
