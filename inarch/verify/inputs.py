"""Inputs that show what a model does: ragged padding, both segments, as long as positions go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError

# A long row shows what depends on the position; more would show nothing new.
LONGEST = 512
LIMITS = ("max_sequence_length", "max_decoder_sequence_length")
FEATURES = "encoder_features"
TEXT = ("token_ids", "padding_mask", "segment_ids", "decoder_token_ids", "decoder_padding_mask")
KNOWN = dict.fromkeys((*TEXT, FEATURES))


def make_inputs(
    names: Mapping[str, Any],
    arguments: Mapping[str, Any],
    seed: int = 0,
    lengths: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Random inputs for a model: rows of very different lengths, padded on the right.

    A model that hears gets features as long as its positions go, and rows of text beside them.

    Args:
        names: the model's inputs by name.
        arguments: the backbone's, for sizes.
        lengths: of the rows; by default from as long as positions go down to one token.

    Returns:
        int32 arrays `[batch, length]`; of `encoder_features`, float32
        `[batch, 2 * positions, num_mels]`.

    Raises:
        InputError: the model has an input that nothing is known of.
    """
    unknown = sorted(names.keys() - KNOWN)
    if unknown:
        raise InputError(
            f"no input can be made up for {', '.join(unknown)}; known are {', '.join(KNOWN)}"
        )
    random = np.random.default_rng(seed)
    limits = [arguments[n] for n in LIMITS if n in arguments]
    longest = max(lengths or [min(*limits, LONGEST)] if limits else [LONGEST])
    # Rows are cheap as long as they are short.
    shares = (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0) if longest <= 64 else (1, 0.4, 0)
    lengths = lengths or [max(1, round(longest * share)) for share in shares]
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype("int32")
    padding = arguments.get("padding_id", 0)
    words = random.integers(1, arguments["vocabulary_size"], mask.shape)
    # A token that isn't padding may not look like it.
    words = np.where(words == padding, 0, words)
    segments = random.integers(0, max(arguments.get("num_segments", 1), 1), mask.shape)
    tokens = np.where(mask, words, padding)
    arrays = {"token_ids": tokens, "padding_mask": mask, "segment_ids": segments * mask}
    made = {
        name: arrays[name.removeprefix("decoder_")].astype("int32")
        for name in names
        if name != FEATURES
    }
    if FEATURES in names:
        frames = 2 * arguments["max_encoder_sequence_length"]
        shape = (len(mask), frames, arguments["num_mels"])
        made[FEATURES] = random.standard_normal(shape).astype("float32")
    return made
