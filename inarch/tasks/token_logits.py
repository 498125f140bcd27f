"""Base class of tasks whose logits are over the vocabulary."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave
from inarch.tasks.logits import loss_of_logits, metrics_of_logits
from inarch.tasks.task import Task


class TokenLogitsTask(Task):
    """Base class of tasks with logits over the vocabulary, by output embeddings that may be tied.

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
    def ties_embeddings(self) -> bool:
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
        """Compile the model.

        `"auto"` is Adam at `learning_rate` and cross entropy over the tokens with a weight. A cross
        entropy, or a metric, that is given by name takes logits.

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
