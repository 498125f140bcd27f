"""Sound and text to the inputs and targets of a CTC model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from inarch.errors import CheckpointError, InputError
from inarch.json_fields import OBJECT, read_field
from inarch.models.stored_config import check_arguments
from inarch.preprocessors.audio_preprocessor import AudioPreprocessor
from inarch.text.ctc import CTCTokenizer
from inarch.validation import shown


class CTCPreprocessor(AudioPreprocessor):
    """Preprocessor from sound to samples, and from text to the tokens of a CTC model.

    Args:
        tokenizer: the checkpoint's tokenizer.
        normalize: whether a sound is brought to mean 0 and variance 1.

    Raises:
        CheckpointError: the tokenizer isn't of a CTC model.
    """

    def __init__(self, tokenizer: CTCTokenizer, normalize: bool = True):
        if not isinstance(tokenizer, CTCTokenizer):
            raise CheckpointError(
                f"the tokenizer is {shown(tokenizer)}; a CTC model needs a CTCTokenizer"
            )
        super().__init__(normalize)
        self.tokenizer = tokenizer

    def labels(self, text: str, frames: int) -> list[int]:
        """Return the target tokens of a text.

        Args:
            frames: of its sound, which must be as many as the tokens, and one more between two
                that are alike.

        Raises:
            InputError: there are fewer frames; or the text has an unknown character.
        """
        ids = self.tokenizer.encode(text)
        needed = len(ids) + int(np.sum(np.diff(ids) == 0))
        if not ids:
            raise InputError("its text is empty; leave it out, or give its transcript")
        if needed > frames:
            raise InputError(
                f"its text needs {needed} frames, and its sound has {max(frames, 0)}; the two are "
                "of different length"
            )
        return ids

    def get_config(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.get_config(), **super().get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        where = f"the config of a {cls.__name__}"
        tokenizer = CTCTokenizer.from_config(read_field(config, "tokenizer", OBJECT, where=where))
        check_arguments(cls, config, where)
        return cls(**{**config, "tokenizer": tokenizer})
