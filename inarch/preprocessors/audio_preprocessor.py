"""Sound to the samples that a model of samples reads, such as wav2vec 2.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from inarch.audio import SAMPLE_RATE
from inarch.data.columns import values_of
from inarch.errors import ConfigError, InputError
from inarch.json_fields import FLAG, json_text, read_field, read_object
from inarch.models.arguments import ReadOnlyArguments
from inarch.models.stored_config import check_arguments
from inarch.paths import resolve_inside
from inarch.speech.configs import PREPROCESSOR
from inarch.validation import check_flag, shown

# Added to the variance of a sound.
EPSILON = 1e-7


class AudioPreprocessor(ReadOnlyArguments):
    """Preprocessor from sound to samples, each sound by itself of mean 0 and variance 1.

    Source: transformers, models/wav2vec2/feature_extraction_wav2vec2.py.

    Args:
        normalize: whether a sound is brought to mean 0 and variance 1.

    Raises:
        InputTypeError: `normalize` is neither True nor False.
    """

    example_noun: ClassVar[str] = "sounds"
    batch_size: ClassVar[int] = 8

    def __init__(self, normalize: bool = True):
        check_flag("normalize", normalize)
        self.normalize = normalize

    @classmethod
    def settings_in(cls, folder: Path) -> dict[str, Any]:
        """Return the arguments that the preprocessor_config.json of a folder gives, if any.

        Raises:
            CheckpointFileError: the file is damaged.
            ConfigError: it is for another rate than 16 kHz, or for features of another kind.
        """
        path = resolve_inside(folder, PREPROCESSOR)
        content = read_object(path) if path.is_file() else {}
        for name, needed in (("sampling_rate", SAMPLE_RATE), ("feature_size", 1)):
            if (value := content.get(name, needed)) != needed:
                raise ConfigError(
                    f"{path}: {name} is {shown(value)}, and {needed} alone is computed here"
                )
        return {"normalize": read_field(content, "do_normalize", FLAG, True, where=path)}

    def settings_text(self, returns_mask: bool) -> str:
        """Return the content of preprocessor_config.json.

        Args:
            returns_mask: whether transformers' own preprocessor gives a mask of the padding.
        """
        return json_text(
            {
                "feature_extractor_type": "Wav2Vec2FeatureExtractor",
                "do_normalize": self.normalize,
                "feature_size": 1,
                "padding_side": "right",
                "padding_value": 0.0,
                "return_attention_mask": returns_mask,
                "sampling_rate": SAMPLE_RATE,
            }
        )

    def examples(self, x: Any, of_batch: bool = False) -> list[Any] | None:
        """Return `x` as a list of sounds; None for a data set.

        Args:
            of_batch: whether `x` is of one batch, which may be an array, and is no data set.
        """
        x = values_of(x)
        return list(x) if of_batch or isinstance(x, list | tuple) else None

    def waveform(self, audio: np.ndarray) -> np.ndarray:
        """Return samples float32 `[samples]` at 16 kHz as the model reads them."""
        if not (self.normalize and audio.size):
            return audio
        return (audio - audio.mean()) / np.sqrt(audio.var() + EPSILON)

    def batch(
        self, waveforms: Sequence[np.ndarray], rows: int, length: int
    ) -> dict[str, np.ndarray]:
        """Return the inputs of waveforms, padded with zeros to `[rows, length]`."""
        values = np.zeros((rows, length), np.float32)
        mask = np.zeros((rows, length), np.int32)
        for row, waveform in enumerate(waveforms):
            values[row, : len(waveform)] = waveform
            mask[row, : len(waveform)] = 1
        return {"input_values": values, "padding_mask": mask}

    def get_config(self) -> dict[str, Any]:
        return {"normalize": self.normalize}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        check_arguments(cls, config, f"the config of a {cls.__name__}")
        return cls(**config)


def check_duration(waveform: np.ndarray, fewest: int, name: str) -> None:
    """Raise InputError where a sound has fewer samples than a model makes a frame of."""
    if len(waveform) < fewest:
        seconds = len(waveform) / SAMPLE_RATE
        raise InputError(
            f"{name} is {len(waveform)} samples long ({seconds:.3f} s), and the model reads at "
            f"least {fewest}; leave it out, or add silence"
        )
