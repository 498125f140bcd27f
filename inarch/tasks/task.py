"""`Task`: a backbone and a head as one Keras model that takes raw text."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np

from inarch.data import Batch, by_length
from inarch.errors import InputError, InputTypeError
from inarch.models.backbone import Backbone
from inarch.models.model import Model
from inarch.models.preset import Checkpoint, HeadToSave, save
from inarch.models.variables import build_without_values
from inarch.tasks.feeding import Prepared, TextBatches, prepared
from inarch.tasks.forward import as_float32, compiled, compiles_per_shape
from inarch.tasks.preprocessor import TextPreprocessor, is_raw, texts_of
from inarch.text import Encoding, Tokenizer
from inarch.version import __version__


class Task(Model):
    """Base class of the tasks.

    A task is called like any Keras model on `{"token_ids", "padding_mask"[, "segment_ids"]}`;
    `fit`, `evaluate` and `predict` also take raw text where it has a preprocessor.

    Attributes:
        backbone: the model below the head.
        preprocessor: text to inputs; None where prepared arrays are fed.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    # The name of the task's head in the architectures, or none.
    head: ClassVar[str | None] = None
    backbone: Backbone
    preprocessor: TextPreprocessor | None

    def __init__(
        self,
        backbone: Backbone,
        outputs: Callable[[Any], Any],
        preprocessor: TextPreprocessor | None,
        **kwargs: Any,
    ):
        inputs = backbone.input
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(backbone.dtype_policy)
        try:
            super().__init__(inputs=inputs, outputs=outputs(backbone(inputs)), **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self._forward: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        *,
        load_weights: bool = True,
        dtype: Any = None,
        preprocessor: TextPreprocessor | str | None = "auto",
        **arguments: Any,
    ) -> Self:
        """The task of a checkpoint, with its tokenizer.

        A head that the checkpoint doesn't hold is freshly initialized, and a warning says so.

        Args:
            preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).
            load_weights: False for the same architecture with initial weights.
            dtype: dtype or dtype policy; Keras's default where not given.
            preprocessor: one to use in place of the checkpoint's; None to feed prepared arrays.
            arguments: constructor arguments of the task and of the backbone, in place of those
                that the config gives.

        Raises:
            PresetError, CheckpointFileError, ConfigError, WeightMapError: as
                `Backbone.from_preset`.
        """
        with Checkpoint(preset) as checkpoint:
            names = inspect.signature(cls).parameters
            own = {name: arguments.pop(name) for name in names if name in arguments}
            config = checkpoint.arguments(**cls._parts(checkpoint) | arguments)
            own = cls.arguments_of(checkpoint, own)
            if preprocessor == "auto":
                preprocessor = cls.preprocessor_of(checkpoint, config)

            def build() -> Any:
                backbone = checkpoint.architecture.backbone(**config, dtype=dtype)
                return cls(backbone, preprocessor=preprocessor, **own)  # type: ignore[call-arg, arg-type]

            if not load_weights:
                return build()
            task, waiting = build_without_values(build)
            checkpoint.restore(task, waiting, cls.head if task.fits(checkpoint) else None)
        return task

    @classmethod
    def skeleton(cls, checkpoint: Checkpoint) -> Self:
        """The task of a checkpoint as its weight map sees it: the graph, without a tokenizer."""
        config = checkpoint.arguments(**cls._parts(checkpoint))
        backbone = checkpoint.architecture.backbone(**config)
        return cls(backbone, **cls.arguments_of(checkpoint, {}))  # type: ignore[call-arg]

    @classmethod
    def _parts(cls, checkpoint: Checkpoint) -> dict[str, bool]:
        """Which optional pieces of the backbone to build, where the file doesn't decide it.

        A fresh head gets the backbone that its original has: what it needs and no more.
        """
        if cls.head is None:
            return {}
        needs = checkpoint.source.heads[cls.head].needs
        if checkpoint.holds(cls.head):
            return dict.fromkeys(needs, True)
        return {part: part in needs for part in checkpoint.source.parts}

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        """The task's own constructor arguments: `given` ones before the checkpoint's."""
        return (checkpoint.head_arguments(cls.head) if cls.head else {}) | given

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any]
    ) -> TextPreprocessor:
        """The checkpoint's preprocessor."""
        tokenizer = Tokenizer.from_folder(checkpoint.folder)
        limit = arguments["max_sequence_length"]
        return TextPreprocessor(tokenizer, min(tokenizer.model_max_length or limit, limit))

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint's head, if it has one, has the size of this task's."""
        return True

    def save_to_preset(self, folder: str | os.PathLike) -> None:
        """Write model, tokenizer and whatever the task reads from `folder` in its own format.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        save(self, folder, self.head_to_save(), self.tie, self.write_files)

    def head_to_save(self) -> HeadToSave | None:
        """What the export of the head needs beside its weights."""
        return None

    @property
    def tie(self) -> bool:
        """Whether output and input embeddings are one variable."""
        return self.layout.config.get("tie_word_embeddings", True) if self.layout else True

    def write_files(self, folder: Path) -> None:
        """Write what belongs to the preset beside config and weights."""
        if self.preprocessor:
            self.preprocessor.tokenizer.save(folder)
        note: dict[str, Any] = {"inarch_version": __version__, "task": type(self).__name__}
        if self.preprocessor:
            note["sequence_length"] = self.preprocessor.sequence_length
        (folder / "inarch.json").write_text(json.dumps(note, indent=2) + "\n", "utf-8")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["backbone"] = keras.saving.serialize_keras_object(self.backbone)
        config["preprocessor"] = self.preprocessor and self.preprocessor.get_config()
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        text = config["preprocessor"]
        config["preprocessor"] = TextPreprocessor.from_config(text) if text else None
        return super().from_config(config | {"backbone": backbone}, custom_objects)

    # --- raw text in --------------------------------------------------------------------------

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Train on raw text or prepared inputs; the arguments are `keras.Model.fit`'s.

        `x` may be a list or array of strings (or pairs), prepared arrays, or a data set whose
        batches hold either: a `PyDataset`, `tf.data`, grain, a torch loader, a generator.
        """
        self._compiled()
        if self.preprocessor is None or isinstance(x, Mapping):
            return super().fit(x, y, **kwargs)
        kwargs["validation_data"], x, y = self._validation(x, y, kwargs)
        options = {k: kwargs.pop(k, None) for k in ("batch_size", "shuffle", "sample_weight")}
        shuffle = options["shuffle"] is not False
        x, y = self._fed(x, y, options["sample_weight"], options["batch_size"], shuffle)
        return super().fit(x, y, shuffle=False, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Loss and metrics on raw text or prepared inputs, as `keras.Model.evaluate`."""
        self._compiled()
        if (
            self.preprocessor is None
            or isinstance(x, Mapping)
            or kwargs.get("_use_cached_eval_dataset")
        ):
            return super().evaluate(x, y, **kwargs)
        weight, batch_size = kwargs.pop("sample_weight", None), kwargs.pop("batch_size", None)
        x, y = self._fed(x, y, weight, batch_size, shuffle=False)
        return super().evaluate(x, y, **kwargs)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        self._compiled()
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
        """Outputs for raw text, in the caller's order, as float32 arrays.

        Args:
            x: a list or array of strings (or pairs of strings), a data set of such batches, or
                what `keras.Model.predict` takes.
            batch_size: rows of a batch, 32 where not given.
            verbose: progress bar; by default on a terminal only.
            steps: batches to read of a data set.
            callbacks: Keras callbacks.
        """
        if self.preprocessor is None or isinstance(x, Mapping):
            return super().predict(x, batch_size, verbose, steps, callbacks)
        if is_raw(x):
            return self.predict_texts(texts_of(x), batch_size or 32, verbose, callbacks)
        results = []
        for step, batch in enumerate(x):
            if steps is not None and step >= steps:
                break
            text = keras.utils.unpack_x_y_sample_weight(batch)[0]
            if isinstance(text, Mapping):
                results.append(super().predict(text, verbose=0))
            else:
                results.append(self.predict_texts(texts_of(text), batch_size or 32, 0, None))
        return np.concatenate(results)

    def predict_texts(
        self, texts: Sequence[Any], batch_size: int, verbose: Any = 0, callbacks: Any = None
    ) -> np.ndarray:
        """`predict` for a list of texts."""
        encodings = self.encode(texts)
        rows: list[Any] = [None] * len(encodings)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for row, index in enumerate(batch.indices):
                rows[index] = output[row]
        return np.stack(rows) if rows else np.zeros(self._empty_shape(), np.float32)

    def encode(self, texts: Sequence[Any]) -> list[Encoding]:
        if self.preprocessor is None:
            raise InputError("this task has no preprocessor; feed prepared arrays")
        return self.preprocessor.encode(texts)

    def outputs_of(
        self, encodings: Sequence[Encoding], batch_size: int, verbose: Any, callbacks: Any
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch of `encodings` with the model's outputs for its rows."""
        assert self.preprocessor is not None
        if self._forward is None:
            self._forward = compiled(self)
        lengths = [len(e.ids) for e in encodings]
        limit = self.preprocessor.sequence_length
        batches = list(by_length(lengths, batch_size, limit, exact=not compiles_per_shape()))
        bar = _callbacks(self, callbacks, verbose, len(batches))
        bar.on_predict_begin()
        for step, batch in enumerate(batches):
            bar.on_predict_batch_begin(step)
            chosen = [encodings[i] for i in batch.indices]
            inputs = self.preprocessor.pad(chosen, batch.rows, batch.length)
            output = as_float32(self._forward(self.only_inputs(inputs)))
            yield batch, output[: len(batch.indices)]
            bar.on_predict_batch_end(step, {"outputs": output})
        bar.on_predict_end()

    def only_inputs(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that this architecture takes."""
        return {name: arrays[name] for name in self.backbone.input}

    def _empty_shape(self) -> tuple[int, ...]:
        return (0, *(n or 0 for n in self.output_shape[1:]))

    # --- training batches ---------------------------------------------------------------------

    def example_maker(
        self, texts: Sequence[Any], y: Any, sample_weight: Any
    ) -> Callable[[np.ndarray, np.random.Generator], Prepared]:
        """A function from the indices of a batch to its `(x, y, sample_weight)`."""
        targets = self.targets(y, len(texts))
        weights = None if sample_weight is None else np.asarray(sample_weight)
        encodings = self.encode(texts)

        def make(indices: np.ndarray, random: np.random.Generator) -> Prepared:
            x = self.padded([encodings[i] for i in indices])
            batch = (x, targets[indices])
            return batch if weights is None else (*batch, weights[indices])

        return make

    def targets(self, y: Any, count: int) -> np.ndarray:
        """The targets of `count` examples as an array, checked."""
        if y is None:
            raise InputError(f"{type(self).__name__} needs a target for each text: give y")
        y = np.asarray(y)
        if len(y) != count:
            raise InputError(f"there are {count} texts and {len(y)} targets")
        return y

    def padded(self, encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
        assert self.preprocessor is not None
        rows = len(encodings)
        lengths = [len(e.ids) for e in encodings]
        limit = self.preprocessor.sequence_length
        (batch,) = by_length(lengths, rows, limit, exact=not compiles_per_shape())
        return self.only_inputs(self.preprocessor.pad(encodings, rows, batch.length))

    def _compiled(self) -> None:
        """Compile with the task's own defaults, unless it is compiled already."""
        if not self.compiled:
            self.compile()

    def _fed(self, x: Any, y: Any, weight: Any, batch_size: int | None, shuffle: bool) -> Any:
        if x is None:
            raise InputTypeError("x is missing: give texts, prepared arrays or a data set")
        if not is_raw(x):
            return prepared(x, self._prepare), y
        texts = texts_of(x)
        if not texts:
            raise InputError("x holds no texts")
        make = self.example_maker(texts, y, weight)
        return TextBatches(len(texts), make, batch_size or 32, shuffle), None

    def _prepare(self, batch: Any) -> Prepared:
        """A batch of raw text from a data set as inputs; a prepared one as it is."""
        if isinstance(batch, list):
            batch = tuple(batch)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if isinstance(x, Mapping):
            return batch
        return self._one_batch(x, y, weight, drop_none=True)

    def _one_batch(self, x: Any, y: Any, weight: Any, drop_none: bool = False) -> Prepared:
        if self.preprocessor is None or (not is_raw(x) and not hasattr(x, "numpy")):
            return x, y, weight
        texts = texts_of(x)
        y = y.numpy() if hasattr(y, "numpy") else y
        make = self.example_maker(texts, y, weight)
        batch = make(np.arange(len(texts)), np.random.default_rng(np.random.randint(2**31)))
        return batch if drop_none else (*batch, None, None)[:3]

    def _validation(self, x: Any, y: Any, kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """`validation_data` as inputs, split off the end of raw data where asked for."""
        data, share = kwargs.pop("validation_data", None), kwargs.pop("validation_split", 0.0)
        if share:
            if not is_raw(x):
                raise InputError("validation_split needs texts; give validation_data")
            texts = texts_of(x)
            cut = int(len(texts) * (1 - share))
            data = (texts[cut:], y[cut:]) if y is not None else (texts[cut:],)
            x, y = texts[:cut], None if y is None else y[:cut]
        if isinstance(data, tuple):
            vx, vy, weight = keras.utils.unpack_x_y_sample_weight(data)
            if not isinstance(vx, Mapping):
                data = self._fed(vx, vy, weight, kwargs.get("validation_batch_size"), False)[0]
        elif data is not None:
            data = prepared(data, self._prepare)
        return data, x, y


def _callbacks(model: keras.Model, callbacks: Any, verbose: Any, steps: int) -> Any:
    import sys

    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() and steps > 1 else 0
    return keras.callbacks.CallbackList(
        callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=model
    )
