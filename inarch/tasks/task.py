"""`Task`: a backbone and a head as one Keras model that takes raw text."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import keras

from inarch.checkpoints.io.steady import retry_when_changed
from inarch.checkpoints.maps.config_map import tied
from inarch.errors import ConfigError, InputError, InputTypeError, PresetError
from inarch.file_names import SETTINGS
from inarch.json_fields import OBJECT, read_field
from inarch.models.arguments import MutableArgument, checked_values
from inarch.models.backbone import Backbone
from inarch.models.load_weights import load_checkpoint_weights
from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave, save
from inarch.models.variables import build_without_values
from inarch.tasks.preprocessor import TextPreprocessor
from inarch.tasks.settings_file import read_settings
from inarch.tasks.text_model import TextModel
from inarch.tasks.text_source import AUTO, TextSource, check_choice
from inarch.text import Tokenizer
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


class Task(TextModel):
    """Base class of the tasks.

    A task is called like any Keras model on `{"token_ids", "padding_mask"[, "segment_ids"]}`;
    `fit`, `evaluate` and `predict` also take raw text where it has a preprocessor.

    What a task is configured by are attributes: each `MutableArgument` may be set anew
    and is in every file that is saved, all others are read-only.

    Attributes:
        backbone: the model below the head.
        preprocessor: text to inputs; None where prepared arrays are fed.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    # The name of the task's head in the architectures, or none.
    head: ClassVar[str | None] = None
    preprocessor_class: ClassVar[Any] = TextPreprocessor
    tokenizer_class: ClassVar[type[Tokenizer]] = Tokenizer
    # An input that the backbone must have.
    required_input: ClassVar[str] = "token_ids"
    # Arguments for which the checkpoint's own files have no place.
    saved_settings: ClassVar[tuple[str, ...]] = ()
    backbone: Backbone
    preprocessor = MutableArgument(_checked_preprocessor)  # type: ignore[assignment]

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
    @retry_when_changed
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
            arguments: constructor arguments of the task and of the backbone, in place of those
                that the config gives.

        Raises:
            PresetError, CheckpointFileError, ConfigError, WeightMapError: as
                `Backbone.from_preset`.
            InputTypeError, InputError: `preprocessor` and `tokenizer` are none, or both are given.
        """
        choice = check_choice(cls.preprocessor_class, preprocessor, tokenizer)
        with Checkpoint(preset, ignore_fields=ignore_fields) as checkpoint:
            cls._check_head(checkpoint)
            names = inspect.signature(cls).parameters
            own = {name: arguments.pop(name) for name in names if name in arguments}
            config = checkpoint.arguments(**cls._optional_layers(checkpoint) | arguments)
            saved = read_settings(checkpoint.folder).arguments_of(cls, cls.saved_settings)
            own = saved | cls.arguments_of(checkpoint, own)
            if isinstance(preprocessor, str | os.PathLike):
                source = choice.open(checkpoint, cls.tokenizer_class)
                preprocessor = cls.preprocessor_of(checkpoint, config, source)

            def build() -> Any:
                backbone = checkpoint.backbone(**config, dtype=dtype)
                return cls(backbone, preprocessor=preprocessor, **own)  # type: ignore[call-arg, arg-type]

            if not load_weights:
                checkpoint.check_unchanged()
                return build()
            task, waiting = build_without_values(build)
            misfit = task.head_misfit(checkpoint)
            load_checkpoint_weights(
                checkpoint, task, waiting, None if misfit else cls.head, misfit or ""
            )
            checkpoint.check_unchanged()
        return task

    @classmethod
    def _check_head(cls, checkpoint: Checkpoint) -> None:
        if cls.head and cls.head not in checkpoint.source.heads:
            raise PresetError(
                f"{checkpoint.folder} holds model_type {checkpoint.source.model_type!r}, which "
                f"has no head for {cls.__name__}; it has {', '.join(checkpoint.source.heads)}"
            )

    @classmethod
    def build_untrained(cls, checkpoint: Checkpoint) -> Self:
        """Build the graph of a checkpoint's task for its weight map, without a tokenizer."""
        config = checkpoint.arguments(**cls._optional_layers(checkpoint))
        backbone = checkpoint.backbone(**config)
        return cls(backbone, **cls.arguments_of(checkpoint, {}))  # type: ignore[call-arg]

    @classmethod
    def _optional_layers(cls, checkpoint: Checkpoint) -> dict[str, bool]:
        """Return which optional layers to build, by argument, where the file doesn't decide it.

        A fresh head gets the backbone that its original has: what it needs and no more.
        """
        if cls.head is None:
            return {}
        needs = checkpoint.source.heads[cls.head].requires
        if checkpoint.has_head(cls.head):
            return dict.fromkeys(needs, True)
        return {part: part in needs for part in checkpoint.source.optional_layers}

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        """Return the task's own constructor arguments: `given` ones before the checkpoint's."""
        return (checkpoint.head_arguments(cls.head) if cls.head else {}) | given

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
        return TextPreprocessor(tokenizer, min(length, limit), special, bool(saved.lowercase))

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

    def save_to_preset(self, folder: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Write model, tokenizer and whatever the task reads from `folder` in its own format.

        Files of the folder that aren't a checkpoint's stay as they are.

        Args:
            folder: a new folder, an empty one, or one that holds a checkpoint.
            overwrite: whether it may also hold other things and no checkpoint.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        save(self, folder, self.head_to_save(), self.ties_embeddings, self.write_files, overwrite)

    def head_to_save(self) -> HeadToSave | None:
        """Return the settings that the export of the head needs in addition to its weights."""
        return None

    @property
    def ties_embeddings(self) -> bool:
        """Return whether output and input embeddings are one variable."""
        return tied(self.layout.config) if self.layout else True

    def write_files(self, folder: Path) -> None:
        """Write the files of the preset other than config and weights."""
        if self.preprocessor:
            write_tokenizer_files(folder, self.preprocessor.tokenizer.files)
        settings: dict[str, Any] = {"inarch_version": __version__, "task": type(self).__name__}
        values = checked_values(self)
        if self.saved_settings:
            settings["settings"] = {name: values[name] for name in self.saved_settings}
        if self.preprocessor:
            settings |= checked_values(self.preprocessor)
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")

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
