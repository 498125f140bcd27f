"""Training of a task: its objective, and raw examples as batches of inputs and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.models.interrupt import SafeInterrupt
from inarch.preprocessors.preprocessor import TokenRow
from inarch.runtime.compile_cache import enable_compile_cache
from inarch.runtime.fused_adam import fuse_updates
from inarch.tasks import inference, raw_data
from inarch.training.datasets import array_of, named_arguments, weights_of
from inarch.training.objective import Objective, compile_arguments
from inarch.training.training_batches import MakeBatch, RowBatches, make_batches

# Mixed in before `Model`, whose methods it overrides.
if TYPE_CHECKING:
    from inarch.models.model import Model as _Model
else:
    _Model = object


class Training(_Model):
    """Methods that train and evaluate a task, on raw examples or on prepared inputs.

    Mixed into `Task`.
    """

    def objective(self) -> Objective:
        """Return loss, metrics and learning rate of a task that is compiled without its own."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        metrics: Any = "auto",
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """Compile the model; `"auto"` is Adam and what the task's `objective` has.

        Where the outputs are logits, a cross entropy or a metric that is given by name reads them
        as such.

        Raises:
            InputError: the outputs are logits, and a loss or a metric reads probabilities.
        """
        given = (optimizer, loss, metrics, weighted_metrics)
        super().compile(**compile_arguments(self.objective(), *given), **kwargs)
        fuse_updates(self.optimizer)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on raw text or prepared inputs; the arguments are `keras.Model.fit`'s.

        `x` may be a list or array of strings (or pairs), prepared arrays, or a data set whose
        batches hold either: a `PyDataset`, `tf.data`, grain, a torch loader, a generator.

        Texts of a list are shuffled each epoch, unless `shuffle=False`. Where each counts by
        itself, those of a batch are alike in length; for targets of tokens a batch's texts are
        packed into rows, which changes neither a batch's loss nor its gradient.
        """
        self._compile_once()
        given = kwargs | named_arguments(keras.Model.fit, args)
        return super().fit(**raw_data.fit_arguments(self, x, y, given))

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return loss and metrics on raw text or prepared inputs, as `keras.Model.evaluate`."""
        self._compile_once()
        given = kwargs | named_arguments(keras.Model.evaluate, args)
        return super().evaluate(**raw_data.evaluate_arguments(self, x, y, given))

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        self._compile_once()
        if (weigh := self.weigh_classes(kwargs.get("class_weight"))) is not None:
            kwargs["class_weight"] = weigh
        return super().train_on_batch(*raw_data.one_batch(self, x, y, sample_weight), **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any) -> Any:
        self._compile_once()
        return super().test_on_batch(*raw_data.one_batch(self, x, y, sample_weight), **kwargs)

    def _compile_once(self) -> None:
        """Compile with the task's own defaults, unless it is compiled; keep what JAX compiles."""
        enable_compile_cache()
        if not self.compiled:
            with SafeInterrupt():  # which would leave Keras half compiled
                self.compile()

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile from a `.keras` file; Keras itself skips a class that overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def training_rows(
        self, examples: Sequence[Any], y: Any, sample_weight: Any
    ) -> tuple[Sequence[Any], Any, Any]:
        """Return examples, targets and weights for `collate`: more, where one has several rows."""
        return examples, y, sample_weight

    def examples(self, x: Any, of_batch: bool = False) -> Sequence[Any] | None:
        """Return `x` as a list of raw examples to train on; None where it is a data set.

        Args:
            of_batch: whether `x` is of one batch, which may be a tensor, and is no data set.
        """
        return inference.preprocessor_of(self).examples(x, of_batch)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        """Return a function from the indices of a batch to its `(x, y, sample_weight)`."""
        targets = self.targets(y, len(texts))
        weights = weights_of(sample_weight, len(texts))
        prompt = inference.preprocessor_of(self).default_prompt_name
        return self.collate_rows(self.encode(texts, prompt), targets, weights)

    def collate_rows(
        self, rows: Sequence[TokenRow], y: Any, sample_weight: np.ndarray | None
    ) -> MakeBatch:
        """Return the function of `collate` for rows of tokens, with checked targets and weights."""
        make = make_batches(
            lambda indices: self.padded([rows[i] for i in indices]), y, sample_weight
        )
        return RowBatches(make, [len(row.ids) for row in rows])

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Return the targets of `count` examples as an array, checked."""
        if y is None:
            raise InputError(f"{type(self).__name__} needs a target for each text: give y")
        y = array_of("y", y)
        if len(y) != count:
            raise InputError(f"there are {count} texts and {len(y)} targets")
        return y

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        """Return the weights of classes by their numbers; InputError for a task without classes."""
        if class_weight is not None:
            task = type(self).__name__
            raise InputError(f"class_weight is given; {task} has no classes: give sample_weight")
        return None
