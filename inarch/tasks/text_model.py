"""`TextModel`: a Keras model whose `fit`, `evaluate` and `predict` take raw text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np

from inarch.data import PlannedBatch, by_length
from inarch.data.columns import refuse_table
from inarch.errors import InputError, InputTypeError
from inarch.models.backbone import Backbone
from inarch.models.model import Model
from inarch.runtime.forward import as_float32, callback_list, compiled, compiles_per_shape
from inarch.tasks.class_weights import weigh_batch
from inarch.tasks.datasets import (
    Batch,
    TextBatches,
    array_of,
    as_tuple,
    check_readable,
    check_token_ids,
    default_batch_size,
    is_prepared,
    named_arguments,
    prepared,
    split_off,
    weights_of,
)
from inarch.tasks.preprocessor import TextPreprocessor, is_raw, texts_of
from inarch.text import Encoding


class TextModel(Model):
    """`fit`, `evaluate` and `predict` on raw text, where there is a preprocessor.

    Attributes:
        backbone: the model below the head.
        preprocessor: text to inputs; None where prepared arrays are fed.
        example_noun: name of the examples in messages.
    """

    backbone: Backbone
    preprocessor: TextPreprocessor | None
    example_noun: ClassVar[str] = "texts"
    _forward: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on raw text or prepared inputs; the arguments are `keras.Model.fit`'s.

        `x` may be a list or array of strings (or pairs), prepared arrays, or a data set whose
        batches hold either: a `PyDataset`, `tf.data`, grain, a torch loader, a generator.
        """
        self._compiled()
        kwargs |= named_arguments(keras.Model.fit, args)
        weigh = self.weigh_classes(kwargs.get("class_weight"))
        if self.preprocessor is None or is_prepared(x):
            if weigh is not None:
                kwargs["class_weight"] = weigh
            return super().fit(x, y, **kwargs)
        refuse_table("x", x)
        kwargs.pop("class_weight", None)
        weighed = partial(weigh_batch, weigh)
        weight = kwargs.pop("sample_weight", None)
        kwargs["validation_data"], x, y, weight = self._validation(x, y, weight, kwargs)
        options = {k: kwargs.pop(k, None) for k in ("batch_size", "shuffle")}
        shuffle = options["shuffle"] is not False
        if kwargs.get("steps_per_epoch") and self.raw_examples(x) is None:
            x = prepared(x, lambda batch: weighed(self._prepare(batch)), counted=False)
            return super().fit(x, shuffle=False, **kwargs)
        x, y = self._make_dataset(x, y, weight, options["batch_size"], shuffle)
        if weigh is not None:
            x = prepared(x, weighed)
        return super().fit(x, y, shuffle=False, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return loss and metrics on raw text or prepared inputs, as `keras.Model.evaluate`."""
        self._compiled()
        kwargs |= named_arguments(keras.Model.evaluate, args)
        if self.preprocessor is None or is_prepared(x) or kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(x, y, **kwargs)
        weight, batch_size = kwargs.pop("sample_weight", None), kwargs.pop("batch_size", None)
        x, y = self._make_dataset(x, y, weight, batch_size, shuffle=False)
        return super().evaluate(x, y, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile from a `.keras` file; Keras itself skips a class that overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        self._compiled()
        if (weigh := self.weigh_classes(kwargs.get("class_weight"))) is not None:
            kwargs["class_weight"] = weigh
        x, y, sample_weight = self._one_batch(x, y, sample_weight)
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any) -> Any:
        self._compiled()
        x, y, sample_weight = self._one_batch(x, y, sample_weight)
        return super().test_on_batch(x, y, sample_weight, **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return outputs for raw text, in the caller's order, as float32 arrays.

        Args:
            x: a list or array of strings (or pairs of strings), a data set of such batches, or
                what `keras.Model.predict` takes.
            batch_size: rows of a batch, 32 where not given.
            verbose: progress bar; by default on a terminal only.
            steps: batches to read of a data set.
            callbacks: Keras callbacks.
        """
        if self.preprocessor is None or is_prepared(x):
            return super().predict(x, batch_size, verbose, steps, callbacks)
        check_readable(x)
        if is_raw(x):
            return self.predict_texts(
                texts_of(x), default_batch_size(batch_size), verbose, callbacks
            )
        given = list(itertools.islice(x, steps))
        inputs = [keras.utils.unpack_x_y_sample_weight(as_tuple(batch))[0] for batch in given]
        if any(isinstance(part, Mapping) for part in inputs):
            return np.concatenate([super(TextModel, self).predict(i, verbose=0) for i in inputs])
        texts = [text for part in inputs for text in texts_of(part)]
        return self.predict_texts(texts, default_batch_size(batch_size), verbose, callbacks)

    def predict_texts(
        self, texts: Sequence[Any], batch_size: int, verbose: Any = 0, callbacks: Any = None
    ) -> np.ndarray:
        """Return the outputs of `predict` for a list of texts."""
        encodings = self.encode(texts)
        rows: list[Any] = [None] * len(encodings)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for row, index in enumerate(batch.indices):
                rows[index] = output[row]
        empty = (0, *(n or 0 for n in self.output_shape[1:]))
        return np.stack(rows) if rows else np.zeros(empty, np.float32)

    def encode(self, texts: Sequence[Any]) -> list[Encoding]:
        if self.preprocessor is None:
            raise InputError("this task has no preprocessor; feed prepared arrays")
        encodings = self.preprocessor.encode(texts)
        rows = self.backbone.arguments.get("vocabulary_size")
        if rows is not None and self.preprocessor.tokenizer.vocabulary_size > rows:
            check_token_ids(encodings, rows)
        return encodings

    def outputs_of(
        self, encodings: Sequence[Encoding], batch_size: int, verbose: Any, callbacks: Any
    ) -> Iterator[tuple[PlannedBatch, np.ndarray]]:
        """Yield each batch of `encodings` with the model's outputs for its rows."""
        assert self.preprocessor is not None
        if self._forward is None:
            self._forward = compiled(self)
        batches = self.batches_of(encodings, batch_size)
        bar = callback_list(self, callbacks, verbose, len(batches))
        bar.on_predict_begin()
        for step, batch in enumerate(batches):
            bar.on_predict_batch_begin(step)
            output = as_float32(self._forward(self.inputs_of(encodings, batch)))
            yield batch, output[: len(batch.indices)]
            bar.on_predict_batch_end(step, {"outputs": output})
        bar.on_predict_end()

    def batches_of(self, encodings: Sequence[Encoding], batch_size: int) -> list[PlannedBatch]:
        """Return batches in which no text's numbers depend on the others."""
        assert self.preprocessor is not None
        lengths = [len(e.ids) for e in encodings]
        limit = self.preprocessor.sequence_length
        exact, padded = not compiles_per_shape(), not self.backbone.padding_affects_output
        return list(by_length(lengths, batch_size, limit, exact, padded))

    def inputs_of(
        self, encodings: Sequence[Encoding], batch: PlannedBatch
    ) -> dict[str, np.ndarray]:
        """Return the inputs for one batch of `encodings`."""
        assert self.preprocessor is not None
        chosen = [encodings[i] for i in batch.indices]
        return self.select_inputs(self.preprocessor.pad(chosen, batch.rows, batch.length))

    def select_inputs(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays that this architecture takes."""
        return {name: arrays[name] for name in self.input}

    def collate(
        self, texts: Sequence[Any], y: Any, sample_weight: Any
    ) -> Callable[[np.ndarray, np.random.Generator], Batch]:
        """Return a function from the indices of a batch to its `(x, y, sample_weight)`."""
        targets = self.targets(y, len(texts))
        weights = weights_of(sample_weight, len(texts))
        encodings = self.encode(texts)

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            x = self.padded([encodings[i] for i in indices])
            batch = (x, targets[indices])
            return batch if weights is None else (*batch, weights[indices])

        return make

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Return the targets of `count` examples as an array, checked."""
        if y is None:
            raise InputError(f"{type(self).__name__} needs a target for each text: give y")
        y = array_of("y", y)
        if len(y) != count:
            raise InputError(f"there are {count} texts and {len(y)} targets")
        return y

    def padded(self, encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
        assert self.preprocessor is not None
        rows = len(encodings)
        lengths = [len(e.ids) for e in encodings]
        limit = self.preprocessor.sequence_length
        (batch,) = by_length(lengths, rows, limit, exact=not compiles_per_shape())
        return self.select_inputs(self.preprocessor.pad(encodings, rows, batch.length))

    def _compiled(self) -> None:
        """Compile with the task's own defaults, unless it is compiled already."""
        if not self.compiled:
            self.compile()

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        """Return the weights of classes by their numbers; InputError for a task without classes."""
        if class_weight is not None:
            task = type(self).__name__
            raise InputError(f"class_weight is given; {task} has no classes: give sample_weight")
        return None

    def raw_examples(self, x: Any) -> list[Any] | None:
        """Return the examples that `fit` is given, as a list; None for a data set."""
        return texts_of(x) if is_raw(x) else None

    def _make_dataset(
        self, x: Any, y: Any, weight: Any, batch_size: int | None, shuffle: bool
    ) -> Any:
        check_readable(x)
        if not is_raw(x):
            if y is not None:
                raise InputTypeError(
                    f"x is a {type(x).__name__} that isn't texts, so it is read as a data set, "
                    "whose batches hold the targets: give a list of strings, or no y"
                )
            return prepared(x, self._prepare), y
        rows, texts = default_batch_size(batch_size), texts_of(x)
        if not texts:
            raise InputError("x holds no texts")
        make = self.collate(texts, y, weight)
        return TextBatches(len(texts), make, rows, shuffle), None

    def _prepare(self, batch: Any) -> Batch:
        """Return a batch of raw text from a data set as inputs; a prepared one unchanged."""
        batch = as_tuple(batch)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if is_prepared(x):
            return batch
        return self._one_batch(x, y, weight, drop_none=True)

    def _one_batch(self, x: Any, y: Any, weight: Any, drop_none: bool = False) -> Batch:
        if self.preprocessor is None or is_prepared(x):
            return x, y, weight
        check_readable(x)
        if not is_raw(x) and not hasattr(x, "numpy"):
            return x, y, weight
        texts = texts_of(x)
        y = y.numpy() if hasattr(y, "numpy") else y
        make = self.collate(texts, y, weight)
        batch = make(np.arange(len(texts)), np.random.default_rng(np.random.randint(2**31)))
        return batch if drop_none else (*batch, None, None)[:3]

    def _validation(self, x: Any, y: Any, weight: Any, kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return `validation_data` as inputs, or split off the end; and the training data."""
        data, share = kwargs.pop("validation_data", None), kwargs.pop("validation_split", 0.0)
        if share:
            examples = self.raw_examples(x)
            (x, y, weight), data = split_off(share, examples, y, weight, self.example_noun)
        if isinstance(data, tuple | list):
            vx, vy, vweight = keras.utils.unpack_x_y_sample_weight(tuple(data))
            if not isinstance(vx, Mapping):
                data = self._make_dataset(
                    vx, vy, vweight, kwargs.get("validation_batch_size"), False
                )[0]
        elif data is not None:
            data = prepared(data, self._prepare)
        return data, x, y, weight
