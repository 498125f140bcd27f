"""`Task`: a backbone, a head and a preprocessor as one Keras model that takes raw examples."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np

from inarch.checkpoints.maps.config_map import tied
from inarch.data import PlannedBatch
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.file_names import SETTINGS
from inarch.json_fields import OBJECT, read_field
from inarch.models.arguments import MutableArgument, checked_values
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.model import Model
from inarch.models.saving import HeadToSave, save
from inarch.runtime.forward import compiled
from inarch.tasks import inference, raw_data
from inarch.tasks.datasets import (
    Batch,
    array_of,
    default_batch_size,
    is_prepared,
    named_arguments,
    weights_of,
)
from inarch.tasks.loading import load_task, optional_layers
from inarch.tasks.logits import loss_of_logits, metrics_of_logits
from inarch.tasks.objective import Objective
from inarch.tasks.preprocessor import TextPreprocessor, TokenRow
from inarch.tasks.settings_file import read_settings
from inarch.tasks.text_source import AUTO, TextSource
from inarch.text import Encoding, Tokenizer
from inarch.text.files import write_tokenizer_files
from inarch.validation import shown
from inarch.version import __version__


def _checked_preprocessor(task: Task, preprocessor: Any) -> Any:
    kind = task.preprocessor_class
    if preprocessor is not None and not isinstance(preprocessor, kind):
        raise InputTypeError(
            f"preprocessor is {shown(preprocessor)}; give a {kind.__name__}, or None to feed "
            "prepared arrays"
        )
    return preprocessor


class Task(Model):
    """Base class of the tasks.

    A task is called like any Keras model on `{"token_ids", "padding_mask"[, "segment_ids"]}`;
    `fit`, `evaluate` and `predict` also take raw text where it has a preprocessor.

    A new task gives its graph (`outputs`), the `objective` that it is trained by, how `targets` are
    checked, a verb that makes answers of logits, and what the config has of its head
    (`arguments_of`, `head_to_save`).

    What a task is configured by are attributes: each `MutableArgument` may be set anew
    and is in every file that is saved, all others are read-only.

    Attributes:
        backbone: the model below the head.
        preprocessor: text to inputs; None where prepared arrays are fed.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    # The hub's name of what the task does, and of the library that opens its folder; and the class
    # of that library, where it isn't the architecture's of transformers.
    pipeline_tag: ClassVar[str | None] = None
    library_name: ClassVar[str] = "transformers"
    library_class: ClassVar[str | None] = None
    # The name of the task's head in the architectures, or none.
    head: ClassVar[str | None] = None
    preprocessor_class: ClassVar[Any] = TextPreprocessor
    tokenizer_class: ClassVar[type[Tokenizer]] = Tokenizer
    # An input that the backbone must have.
    required_input: ClassVar[str] = "token_ids"
    # Whether it is trained on texts alone, and so on the lines of a file.
    is_self_supervised: ClassVar[bool] = False
    # Arguments for which the checkpoint's own files have no place, or not in every architecture.
    saved_settings: ClassVar[tuple[str, ...]] = ()
    backbone: Backbone
    preprocessor = MutableArgument(_checked_preprocessor)
    _forward: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    def __init__(
        self,
        backbone: Backbone,
        outputs: Callable[[Any], Any],
        preprocessor: TextPreprocessor | None,
        **kwargs: Any,
    ):
        if not isinstance(backbone, Backbone):
            raise InputTypeError(
                f"backbone is {shown(backbone)}; give what Backbone.from_preset returns, or "
                f"load the whole: {type(self).__name__}.from_preset(...)"
            )
        inputs = backbone.input
        if self.required_input not in inputs:
            raise InputError(
                f"{type(self).__name__} needs the input {self.required_input}, and "
                f"{type(backbone).__name__} takes {', '.join(inputs)}; choose another task for it"
            )
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(backbone.dtype_policy)
        try:
            super().__init__(inputs=inputs, outputs=outputs(backbone(inputs)), **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        self.backbone = backbone
        self.preprocessor = preprocessor

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        *,
        load_weights: bool = True,
        dtype: Any = None,
        preprocessor: TextPreprocessor | str | os.PathLike | None = AUTO,
        tokenizer: Tokenizer | str | os.PathLike | None = None,
        ignore_fields: Collection[str] = (),
        **arguments: Any,
    ) -> Self:
        """Load the task of a checkpoint, with its tokenizer.

        A head that the checkpoint doesn't hold is freshly initialized, with a warning.

        Args:
            preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).
            load_weights: False for the same architecture with initial weights.
            dtype: dtype or dtype policy; Keras's default where not given.
            preprocessor: one to use in place of the checkpoint's, or the folder or name of a
                checkpoint to take it from; None to feed prepared arrays.
            tokenizer: one to use in place of the checkpoint's, or the folder or name of a
                checkpoint to take it from.
            ignore_fields: as of `Backbone.from_preset`.
            arguments: arguments of the task, of the backbone and of the preprocessor, such as
                `sequence_length`, in place of those that the checkpoint's files give.

        Raises:
            PresetError, CheckpointFileError, ConfigError, WeightMapError: as
                `Backbone.from_preset`.
            InputTypeError, InputError: `preprocessor` and `tokenizer` are none, or both are given.
        """
        return load_task(
            cls,
            preset,
            arguments,
            load_weights=load_weights,
            dtype=dtype,
            preprocessor=preprocessor,
            tokenizer=tokenizer,
            ignore_fields=ignore_fields,
        )

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint is this task's own by other files than its weights.

        A task that defines this isn't chosen for its head alone, which is another task's then.
        """
        return False

    @classmethod
    def build_untrained(cls, checkpoint: Checkpoint) -> Self:
        """Build the graph of a checkpoint's task for its weight map, without a tokenizer."""
        config = checkpoint.arguments(**optional_layers(cls, checkpoint))
        backbone = checkpoint.backbone(**config)
        return cls(backbone, **cls.arguments_of(checkpoint, {}))  # type: ignore[call-arg]

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        """Return the task's own constructor arguments: `given` ones before the checkpoint's."""
        found = checkpoint.head_arguments(cls.head) if cls.head else {}
        if "tie_word_embeddings" in inspect.signature(cls).parameters:
            found["tie_word_embeddings"] = checkpoint.tie_word_embeddings
        return found | given

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        """Return the preprocessor for a checkpoint, with tokenizer and settings of `source`."""
        tokenizer = source.tokenizer
        limit = arguments["max_sequence_length"]
        saved = read_settings(source.folder)
        length = saved.sequence_length or tokenizer.model_max_length or limit
        special = cls.default_special(tokenizer)
        if saved.task == cls.__name__ and saved.allow_special is not None:
            special = saved.allow_special
        return TextPreprocessor(
            tokenizer,
            min(length, limit),
            special,
            bool(saved.lowercase),
            saved.prompts,
            saved.default_prompt_name,
        )

    @classmethod
    def default_special(cls, tokenizer: Tokenizer) -> tuple[str, ...]:
        """Return the special tokens that are recognized in the task's texts."""
        return ()

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        """Return why this task can't have the checkpoint's head; None where it can, or has none.

        Of a checkpoint whose head is of another task, it names that head and the class that
        `architectures` names.
        """
        held = checkpoint.stored_heads()
        if self.head is None or self.head in held or not held:
            return None
        by = ", ".join(checkpoint.written_by)
        return (
            f"it holds a {' and a '.join(held)} head{f' ({by})' if by else ''}, which "
            f"{type(self).__name__} doesn't use"
        )

    def save_to_preset(
        self, folder: str | os.PathLike, *, overwrite: bool = False, model_card: bool = False
    ) -> None:
        """Write model, tokenizer and whatever the task reads from `folder` in its own format.

        Files of the folder that aren't a checkpoint's stay as they are.

        Args:
            folder: a new folder, an empty one, or one that holds a checkpoint.
            overwrite: whether it may also hold other things and no checkpoint.
            model_card: whether to write a README.md with base model, task and labels; one that
                isn't of this library, or that was edited, stays as it is.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        head, tie = self.head_to_save(), self.ties_embeddings
        save(self, folder, head, tie, self.write_files, overwrite, model_card)

    def head_to_save(self) -> HeadToSave | None:
        """Return the settings that the export of the head needs in addition to its weights."""
        return HeadToSave(self.head, {}, {}) if self.head else None

    @property
    def ties_embeddings(self) -> bool:
        """Return whether output and input embeddings are one variable."""
        if "tie_word_embeddings" in self.arguments:
            return self.arguments["tie_word_embeddings"]
        return tied(self.layout.config) if self.layout else True

    def write_files(self, folder: Path) -> None:
        """Write the files of the preset other than config and weights."""
        if self.preprocessor:
            write_tokenizer_files(folder, self.preprocessor.tokenizer.files)
        settings: dict[str, Any] = {"inarch_version": __version__, "task": type(self).__name__}
        values = {**self.arguments, **checked_values(self)}
        if self.saved_settings:
            settings["settings"] = {name: values[name] for name in self.saved_settings}
        if self.preprocessor:
            settings |= checked_values(self.preprocessor)
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")

    def load_sidecar_weights(self, folder: Path) -> None:
        """Load the weights that a checkpoint has in files of their own, by `sidecar_variables`."""

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["backbone"] = keras.saving.serialize_keras_object(self.backbone)
        config["preprocessor"] = self.preprocessor and self.preprocessor.get_config()
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        where = f"the config of a {cls.__name__}"
        stored = read_field(config, "backbone", OBJECT, where=where)
        text = read_field(config, "preprocessor", OBJECT, None, where=where)
        backbone = keras.saving.deserialize_keras_object(stored, custom_objects)
        if not isinstance(backbone, Backbone):
            raise ConfigError(
                f"{where}: 'backbone' is a {type(backbone).__name__}; it must be a Backbone"
            )
        preprocessor = cls.preprocessor_class.from_config(text) if text else None
        made = {"backbone": backbone, "preprocessor": preprocessor}
        return super().from_config(config | made, custom_objects)

    # --- training ------------------------------------------------------------------------------

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
        objective = self.objective()
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(objective.learning_rate)
        if loss == "auto":
            loss = objective.loss
        if metrics == "auto":
            metrics = list(objective.metrics) or None
        if weighted_metrics == "auto":
            weighted_metrics = list(objective.weighted_metrics) or None
        if objective.reads_logits:
            several = objective.several_labels
            loss = loss_of_logits(loss)
            metrics = metrics_of_logits(metrics, several)
            weighted_metrics = metrics_of_logits(weighted_metrics, several)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **kwargs,
        )

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on raw text or prepared inputs; the arguments are `keras.Model.fit`'s.

        `x` may be a list or array of strings (or pairs), prepared arrays, or a data set whose
        batches hold either: a `PyDataset`, `tf.data`, grain, a torch loader, a generator.
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
        """Compile with the task's own defaults, unless it is compiled already."""
        if not self.compiled:
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

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        """Return the weights of classes by their numbers; InputError for a task without classes."""
        if class_weight is not None:
            task = type(self).__name__
            raise InputError(f"class_weight is given; {task} has no classes: give sample_weight")
        return None

    # --- inference -----------------------------------------------------------------------------

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
        given = raw_data.inputs_to_predict(x, steps)
        if any(isinstance(batch, Mapping) for batch in given):
            return np.concatenate([super(Task, self).predict(i, verbose=0) for i in given])
        return self.predict_texts(given, default_batch_size(batch_size), verbose, callbacks)

    def predict_texts(
        self,
        texts: Sequence[Any],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
        prompt_name: str | None = None,
    ) -> np.ndarray:
        """Return the outputs of `predict` for a list of texts.

        Args:
            prompt_name: of the prompt to put before each; the preprocessor's default one where not
                given.
        """
        default = inference.preprocessor_of(self).default_prompt_name
        encodings = self.encode(texts, default if prompt_name is None else prompt_name)
        return self.predict_encodings(encodings, batch_size, verbose, callbacks)

    def predict_encodings(
        self,
        encodings: Sequence[Encoding],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Return the outputs of `predict` for encoded texts."""
        rows: list[Any] = [None] * len(encodings)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for row, index in enumerate(batch.indices):
                rows[index] = output[row]
        empty = (0, *(n or 0 for n in self.output_shape[1:]))
        return np.stack(rows) if rows else np.zeros(empty, np.float32)

    def encode(self, texts: Sequence[Any], prompt_name: str | None = None) -> list[Encoding]:
        """Return the token ids of each text or pair of texts, truncated, unpadded.

        Raises:
            InputError: there is no preprocessor, or no prompt of that name; or the tokenizer has
                tokens that the model doesn't have.
        """
        encodings = inference.preprocessor_of(self).encode(texts, prompt_name)
        inference.check_vocabulary(self, encodings)
        return encodings

    def outputs_of(
        self, encodings: Sequence[TokenRow], batch_size: int, verbose: Any, callbacks: Any
    ) -> Iterator[tuple[PlannedBatch, np.ndarray]]:
        """Yield each batch of `encodings` with the model's outputs for its rows."""
        if self._forward is None:
            self._forward = compiled(self)
        batches = self.batches_of(encodings, batch_size)
        return inference.run(self, self._forward, encodings, batches, verbose, callbacks)

    def batches_of(self, encodings: Sequence[TokenRow], batch_size: int) -> list[PlannedBatch]:
        """Return batches in which no text's numbers depend on the others."""
        return inference.plan(self, encodings, batch_size)

    def inputs_of(
        self, encodings: Sequence[TokenRow], batch: PlannedBatch
    ) -> dict[str, np.ndarray]:
        """Return the inputs for one batch of `encodings`."""
        chosen = [encodings[i] for i in batch.indices]
        arrays = inference.preprocessor_of(self).pad(chosen, batch.rows, batch.length)
        return self.select_inputs(arrays)

    def padded(self, encodings: Sequence[TokenRow]) -> dict[str, np.ndarray]:
        """Return the inputs for `encodings` in one batch."""
        return self.inputs_of(encodings, inference.one_batch(self, encodings))

    def select_inputs(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays that this architecture takes."""
        return {name: arrays[name] for name in self.input}
