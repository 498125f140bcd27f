"""Inputs that show what a model does: ragged padding, both segments, as long as positions go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError

# A long row shows what depends on the position; more would show nothing new.
LONGEST = 512


def make_inputs(
    names: Mapping[str, Any],
    arguments: Mapping[str, Any],
    seed: int = 0,
    lengths: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Random inputs for a text model: rows of very different lengths, padded on the right.

    Args:
        names: the model's inputs by name.
        arguments: the backbone's, for sizes.
        lengths: of the rows; by default from as long as positions go down to one token.

    Returns:
        int32 arrays `[batch, length]`.

    Raises:
        InputError: the model has an input that nothing is known of.
    """
    unknown = sorted(names.keys() - {"token_ids", "padding_mask", "segment_ids"})
    if unknown:
        raise InputError(
            f"no input can be made up for {', '.join(unknown)}; known are token_ids, "
            "padding_mask and segment_ids"
        )
    random = np.random.default_rng(seed)
    longest = max(lengths or [min(arguments.get("max_sequence_length", LONGEST), LONGEST)])
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
    return {name: arrays[name].astype("int32") for name in names}
