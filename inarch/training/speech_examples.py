"""Sounds with their texts as batches to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from inarch.data import bucket
from inarch.errors import InputError
from inarch.preprocessors.speech_preprocessor import SpeechPreprocessor, load_audio_input
from inarch.training.training_batches import Batch, MakeBatch


def sound_text_pairs(x: Sequence[Any], y: Any) -> list[tuple[Any, str]]:
    """Return sounds with their texts, from two lists or from one of pairs.

    Raises:
        InputError: there are more of one kind, or an example is no such pair.
    """
    if y is not None and len(x) != len(y):
        raise InputError(f"there are {len(x)} sounds and {len(y)} texts")
    pairs = list(x) if y is None else list(zip(x, y, strict=True))
    for place, pair in enumerate(pairs):
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], str)):
            raise InputError(
                f"example {place} isn't a sound with its text: give fit(sounds, texts), or "
                "fit([(sound, text), ...])"
            )
    return [(sound, str(text)) for sound, text in pairs]


def batch_maker(
    preprocessor: SpeechPreprocessor,
    pairs: Sequence[tuple[Any, str]],
    language: str | None,
    task: str,
) -> MakeBatch:
    """Return a function from indices of `pairs` to their `(x, y, sample_weight)`.

    Sound is loaded when its batch is made, so that a data set needn't fit into memory.
    """
    labels = []
    for place, (_, text) in enumerate(pairs):
        with named_example(place):
            labels.append(preprocessor.labels(text, language, task))

    def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
        features = []
        for i in indices:
            with named_example(i):
                features.append(preprocessor.features(load_audio_input(pairs[i][0], i)))
        chosen = [labels[i] for i in indices]
        longest = max(len(ids) - 1 for ids in chosen)
        return preprocessor.batch(features, chosen, bucket(longest, preprocessor.sequence_length))

    return make


@contextmanager
def named_example(place: int) -> Iterator[None]:
    """Name the example in an error of ours."""
    try:
        yield
    except InputError as e:
        raise InputError(f"example {place}: {e}") from e
