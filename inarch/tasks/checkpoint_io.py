"""A task from a checkpoint's folder, and back into one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras

from inarch.models.layout_map import layout_map
from inarch.models.loading import Checkpoint
from inarch.models.origin import ties_embeddings
from inarch.models.saving import HeadToSave, save
from inarch.models.variables import build_without_values
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.text_source import AUTO, TextChoice, TextSource
from inarch.tasks.loading import load_task, optional_layers, read_preprocessor
from inarch.tasks.settings_file import write_settings
from inarch.text import Tokenizer
from inarch.text.discovery import has_tokenizer
from inarch.text.files import write_tokenizer_files

# Mixed in before `Model`, whose methods it overrides.
if TYPE_CHECKING:
    from inarch.models.model import Model as _Model
else:
    _Model = object


class CheckpointIO(_Model):
    """Methods that load a task from a checkpoint, and that save it to a folder.

    Mixed into `Task`.
    """

    # The name of the task's head in the architectures, or none.
    head: ClassVar[str | None] = None
    tokenizer_class: ClassVar[type[Tokenizer]] = Tokenizer
    # Preprocessors of the other classes that `class_for` may return.
    other_preprocessors: ClassVar[tuple[type, ...]] = ()
    # Arguments for which the checkpoint's own files have no place, or not in every architecture.
    saved_settings: ClassVar[tuple[str, ...]] = ()
    preprocessor: Any

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
    def get_layout_map(
        cls,
        preset: str | os.PathLike,
        device_mesh: Any,
        model_parallel_dim_name: str = "model",
        **arguments: Any,
    ) -> keras.distribution.LayoutMap:
        """Return the layout of each weight of a checkpoint's task over the devices of a mesh.

        Weights are not read. The map is for `keras.distribution.ModelParallel`, in whose scope the
        task is loaded afterwards. Backbone and head have the layouts of
        `inarch.models.layout_map.layout_map`: of a head, what has a number for each token of the
        vocabulary is cut by tokens, all else is whole on every device.

        Args:
            preset, arguments: as of `from_preset`.
            device_mesh: a `keras.distribution.DeviceMesh`.
            model_parallel_dim_name: the axis of the mesh over which weights are cut.

        Raises:
            InputTypeError: `device_mesh` isn't one.
            InputError: the mesh has no such axis, or the backend isn't JAX.
            PresetError, CheckpointFileError, ConfigError: as `from_preset`.
        """
        arguments["load_weights"] = False
        task, _ = build_without_values(lambda: cls.from_preset(preset, **arguments))
        return layout_map(task, device_mesh, model_parallel_dim_name)

    @classmethod
    def class_for(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> type[Any]:
        """Return the class of task that `from_preset` makes of a checkpoint: by default this one.

        Args:
            given: the caller's arguments.
        """
        return cls

    @classmethod
    def choose_variant(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Choose among what a checkpoint holds; return the caller's other arguments."""
        return given

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
    def open_source(cls, choice: TextChoice, checkpoint: Checkpoint) -> TextSource:
        """Return the source of tokenizer and settings that the preprocessor gets."""
        return choice.open(checkpoint, cls.tokenizer_class)

    @classmethod
    def has_source(cls, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint has what `open_source` reads."""
        return has_tokenizer(checkpoint.folder)

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        """Return the preprocessor for a checkpoint, with tokenizer and settings of `source`."""
        return read_preprocessor(cls, source, arguments["max_sequence_length"])

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

        Args:
            folder, overwrite, model_card: as of `Backbone.save_to_preset`.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        head, tie = self.head_to_save(), self.ties_embeddings
        save(self, folder, head, tie, self.write_files, overwrite, model_card)

    def head_to_save(self) -> HeadToSave | None:
        """Return the settings that the export of the head needs in addition to its weights."""
        if not self.head:
            return None
        dropout = self.arguments.get("dropout")
        arguments = {} if dropout is None else {"dropout": dropout}
        return HeadToSave(
            self.head, arguments, self.head_fields(self.layout.config if self.layout else {})
        )

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the head to write into `config`, the checkpoint's before."""
        return {}

    @property
    def ties_embeddings(self) -> bool:
        """Return whether output and input embeddings are one variable."""
        if "tie_word_embeddings" in self.arguments:
            return self.arguments["tie_word_embeddings"]
        return ties_embeddings(self)

    def write_files(self, folder: Path) -> None:
        """Write the files of the preset other than config and weights."""
        if tokenizer := getattr(self.preprocessor, "tokenizer", None):
            write_tokenizer_files(folder, tokenizer.files)
        write_settings(self, folder)

    def load_sidecar_weights(self, folder: Path) -> None:
        """Load the weights that a checkpoint has in files of their own, by `sidecar_variables`."""
