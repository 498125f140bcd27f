"""Validators of the options that only transcription has."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any

import numpy as np

from inarch.validation import AT_LEAST_0, Validator


def _is_clip(value: Any) -> bool:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 2:
        return False
    start, end = value
    return AT_LEAST_0.accepts(start) and (end is None or AT_LEAST_0.accepts(end))


def token_ids(value: Any, least: int = -1) -> tuple[int, ...] | None:
    """Return token ids from a list or from text such as "1,2"; None of anything else."""
    try:
        ids = [int(v) for v in value.split(",") if v.strip()] if isinstance(value, str) else value
    except ValueError:
        return None
    whole = all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids)
    found = tuple(int(i) for i in ids) if whole else (least - 1,)
    return found if min(found, default=least) >= least else None


FLAG = Validator("True or False", types=(bool, np.bool_))
VAD = Validator(
    "True, False or the path of Silero's ONNX model", types=(bool, np.bool_, str, os.PathLike)
)
TOKENS = Validator(
    "a list of token ids, or text of ids with commas between them; -1 means the model's own",
    lambda value: token_ids(value) is not None,
    (str, list, tuple, np.ndarray),
)
PREFIX = Validator(
    "text, or a list of token ids",
    lambda value: isinstance(value, str) or token_ids(value, least=0) is not None,
    (str, list, tuple, np.ndarray),
)
CLIPS = Validator(
    "a list of clips (start, end) in seconds; an end of None is the end of the recording",
    lambda value: all(map(_is_clip, value)),
    (list, tuple, np.ndarray),
)
