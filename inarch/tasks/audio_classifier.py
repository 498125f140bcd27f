"""Classification of sounds with the head of the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.answers.class_answers import Answers, TopK, check_top_k, class_answers
from inarch.answers.labels import (
    checked_labels,
    class_arguments,
    classes_misfit,
    label_fields,
    labels_for,
)
from inarch.errors import InputError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave
from inarch.preprocessors.audio_preprocessor import AudioPreprocessor
from inarch.preprocessors.speech_preprocessor import as_sound_list
from inarch.runtime.forward import softmax
from inarch.tasks.audio_task import AudioTask
from inarch.tasks.progress import progress_bar
from inarch.tasks.task import Task
from inarch.training.class_targets import class_numbers
from inarch.training.class_weights import resolve_class_weight
from inarch.training.datasets import array_of, weights_of
from inarch.training.objective import Objective
from inarch.training.problem_type import PROBLEMS, default_loss
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import COUNT, check_count, optional

BATCH_SIZE = optional(COUNT)


class AudioClassifier(AudioTask, Task):
    """Logits `[batch, num_classes]` for sounds.

    As a Keras model it reads `{"input_values", "padding_mask"}`, samples at 16 kHz and their mask.
    `classify`, `predict` and `fit` take sounds: paths, bytes, file objects, or arrays of samples.

    Args:
        backbone: the encoder, such as a `Wav2Vec2Backbone`.
        num_classes: number of classes.
        preprocessor: sound to inputs; None to feed prepared arrays.
        labels: names of the classes, `LABEL_0` and so on where not given.
        projection_dim: width of the vectors of frames whose mean is classified.

    Raises:
        InputError: an argument has a value that can't be used.
    """

    head = "audio_classifier"
    pipeline_tag = "audio-classification"
    verb = "classify"
    labels = MutableArgument(checked_labels)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: AudioPreprocessor | None = None,
        labels: Sequence[str] | None = None,
        projection_dim: int = 256,
        **kwargs: Any,
    ):
        check_count("num_classes", num_classes)
        check_count("projection_dim", projection_dim)
        labels = labels_for(num_classes, labels or None)
        super().__init__(
            backbone,
            lambda outputs: backbone.audio_classifier(outputs, num_classes, projection_dim),
            preprocessor,  # type: ignore[arg-type]
            **kwargs,
        )
        self.num_classes = num_classes
        self.labels = labels
        self.projection_dim = projection_dim

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        classes = class_arguments(checkpoint, cls.head, given)
        return super().arguments_of(checkpoint, {}) | classes.arguments

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        misfit = classes_misfit(checkpoint, self.head, self.labels)
        return misfit or super().head_misfit(checkpoint)

    def head_to_save(self) -> HeadToSave | None:
        fields = label_fields(self.layout.config if self.layout else {}, self.labels)
        return HeadToSave(self.head, {"projection_dim": self.projection_dim}, fields)

    # --- inference -----------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        *,
        sample_rate: int | None = None,
    ) -> np.ndarray:
        """Return logits float32 `[sounds, num_classes]`, in the caller's order.

        A sound's logits don't depend on the others.

        Args:
            x: a list of paths, bytes, file objects, or arrays of samples; or prepared arrays.
            batch_size: sounds of a batch; 8 by default.
            verbose: progress bar; by default on a terminal only.
            steps, callbacks: of prepared inputs alone.
            sample_rate: samples per second of arrays, 16,000 by default.

        Raises:
            AudioFileError: a file is absent, or no sound.
            InputError, InputTypeError: a sound can't be used; one that is too short for a frame
                is named.
        """
        if self.preprocessor is None or isinstance(x, Mapping):
            return keras.Model.predict(self, x, batch_size, verbose, steps, callbacks)
        BATCH_SIZE.check("batch_size", batch_size)
        sources = as_sound_list(x)
        bar = progress_bar(verbose, len(sources))
        size = batch_size or self.preprocessor.batch_size
        rows = [*self.sound_outputs(sources, size, sample_rate, bar)]
        return np.stack(rows) if rows else np.zeros((0, self.num_classes), np.float32)

    def classify(
        self,
        sounds: Iterable[Any],
        top_k: TopK = "auto",
        batch_size: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> list[Answers]:
        """Return the classes of each sound, best first, as `{"label", "score"}`.

        A score is the softmax over the classes, as of transformers' audio-classification pipeline.

        Args:
            sounds: a list of paths, bytes, file objects, or arrays of samples.
            top_k: how many classes to return, the best ones; None for all. `"auto"` is the best
                one.
            batch_size, sample_rate: as of `predict`.

        Raises:
            InputError: `top_k` is neither None nor a whole number from 1 up; or as `predict`.
        """
        check_top_k(top_k)
        logits = self.predict(sounds, batch_size, verbose=0, sample_rate=sample_rate)
        return class_answers(softmax(logits.astype(np.float64)), self.labels, top_k)

    # --- training ------------------------------------------------------------------------------

    def objective(self) -> Objective:
        return Objective(default_loss(PROBLEMS[0]), metrics=["accuracy"])

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        targets = self.targets(y, len(texts))
        weights = weights_of(sample_weight, len(texts))

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            # Loaded when the batch is made, so that a data set needn't fit into memory.
            x = self.audio_inputs([self.waveform_of(texts[i], i) for i in indices])
            batch = (x, targets[indices])
            return batch if weights is None else (*batch, weights[indices])

        return make

    def targets(self, y: Any, count: int) -> np.ndarray:
        """Return class numbers of `count` sounds, from numbers or names."""
        if y is None:
            raise InputError("AudioClassifier needs a class for each sound: give y")
        y = array_of("y", y, "a list with one for each sound")
        if len(y) != count:
            raise InputError(f"there are {count} sounds and {len(y)} targets")
        return class_numbers(y, self.labels, "sound")

    def weigh_classes(self, class_weight: Any) -> dict[int, float] | None:
        return None if class_weight is None else resolve_class_weight(class_weight, self.labels)
