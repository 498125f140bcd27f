"""What tasks have in common whose logits are over the vocabulary."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave
from inarch.tasks.logits import loss_of_logits, metrics_of_logits
from inarch.tasks.task import Task


class OverTokens(Task):
    """Base of tasks that tell tokens: the output embeddings may be the input embeddings.

    Attributes:
        learning_rate: of Adam, unless `compile` is given another optimizer.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
    """

    learning_rate: ClassVar[float] = 5e-5
    tie_word_embeddings: bool

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        return {"tie_word_embeddings": checkpoint.tie_word_embeddings} | super().arguments_of(
            checkpoint, given
        )

    @property
    def tie(self) -> bool:
        return self.tie_word_embeddings

    def head_to_save(self) -> HeadToSave:
        assert self.head is not None
        return HeadToSave(self.head, {}, {})

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`; `"auto"` is Adam at `learning_rate` and cross entropy over
        the tokens that weigh anything.

        A cross entropy, or a metric, that is given by name reads the logits as what they are.

        Raises:
            InputError: a loss or a metric reads probabilities.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(self.learning_rate)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        loss = loss_of_logits(loss)
        weighted_metrics = metrics_of_logits(weighted_metrics, several=False)
        kwargs["metrics"] = metrics_of_logits(kwargs.pop("metrics", None), several=False)
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)
