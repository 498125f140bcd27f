"""The classification head of whole texts, which classifiers and rerankers have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from inarch.answers.activation import checked_activation
from inarch.answers.labels import (
    checked_labels,
    class_arguments,
    classes_misfit,
    label_fields,
    labels_for,
)
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.sidecar import CROSS_ENCODER_SETTINGS, sidecar_names
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.text_source import TextSource
from inarch.sentence_transformers import cross_encoder
from inarch.sentence_transformers.module_files import TextConfig, read_settings, read_transformer
from inarch.sentence_transformers.sentence_fields import CROSS_ENCODER_FIELDS
from inarch.sentence_transformers.settings import with_declared
from inarch.tasks.task_mixin import TaskMixin
from inarch.validation import check_count


class SequenceClassifier(TaskMixin):
    """Constructor and files of tasks with the classification head of whole texts.

    The head's classes are in config.json, as in transformers; its activation, and settings of
    texts, are where sentence-transformers' CrossEncoder records them.
    """

    head = "text_classifier"
    # By argument, functions that read what a checkpoint records with its classes.
    recorded: ClassVar[Mapping[str, Callable[[Checkpoint], Any]]] = {
        "activation_fn": cross_encoder.recorded_activation
    }
    # Saved settings of the checkpoint's classes, which others don't have.
    settings_of_classes: ClassVar[tuple[str, ...]] = ()
    # Whether the files of CrossEncoder are written where the folder has none.
    writes_cross_encoder: ClassVar[bool] = False
    labels = MutableArgument(checked_labels)
    activation_fn = MutableArgument(checked_activation)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: TextPreprocessor | None,
        labels: Sequence[str] | None,
        dropout: float | None,
        activation_fn: str | None,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        # Before the graph is built, and once more where the attributes are set.
        labels = labels_for(num_classes, labels or None)
        checked_activation(None, activation_fn)
        rate = {} if dropout is None else {"dropout": dropout}
        super().__init__(
            backbone,
            lambda outputs: backbone.text_classifier(outputs, num_classes, **rate),
            preprocessor,
            **kwargs,
        )
        self.num_classes = num_classes
        self.labels = labels
        self.dropout = dropout
        self.activation_fn = activation_fn

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        classes = class_arguments(checkpoint, cls.head, given)
        found = super().arguments_of(checkpoint, {})
        if classes.are_recorded:
            with checkpoint.config_path_in_errors():
                found |= {n: read(checkpoint) for n, read in cls.recorded.items() if n not in given}
        else:
            found |= dict.fromkeys(cls.settings_of_classes)
        return found | classes.arguments

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        found, folder = super().preprocessor_of(checkpoint, arguments, source), source.folder
        if CROSS_ENCODER_SETTINGS not in sidecar_names(folder):
            return found
        known = cross_encoder.transformer_fields(folder)
        declared, _ = read_transformer(folder, "", TextConfig(), known)
        declared, _ = read_settings(folder, declared, CROSS_ENCODER_FIELDS)
        return with_declared(found, declared, arguments["max_sequence_length"])

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        misfit = classes_misfit(checkpoint, self.head, self.labels)
        return misfit or super().head_misfit(checkpoint)

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        fields, layout = label_fields(config, self.labels), self.layout
        files = layout.sidecar_files if layout and layout.head == self.head else ()
        if CROSS_ENCODER_SETTINGS in files and not cross_encoder.records(config):
            return fields  # CrossEncoder's own file alone has the activation
        return fields | cross_encoder.config_fields(config, self.activation_fn)

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        create = self.writes_cross_encoder and self.preprocessor is not None
        cross_encoder.update_files(folder, self.activation_fn, self.preprocessor, create)
