"""Inputs that tiny models of transformers are run on, whatever they read."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

from inarch.layers.frames import sample_count

# Inputs of models that read no tokens.
SAMPLES, FEATURES, PIXELS = "input_values", "input_features", "pixel_values"


def run_ids(model: Any, ids: Any) -> Any:
    """Return the outputs of a model for token ids, which a decoder reads too.

    Of a model that reads samples or features they are values of those, one for each position.
    """
    names = inspect.signature(model.forward).parameters
    given = main_input(model, ids)
    if "decoder_input_ids" in names:
        given["decoder_input_ids"] = ids
    elif "token_type_ids" in names:  # without which some leave out what reads them
        given["token_type_ids"] = 0 * ids
    return model(**given)


def main_input(model: Any, ids: Any) -> dict[str, Any]:
    """Return the input that a model encodes, of as many positions as there are ids.

    Args:
        ids: `[batch, positions]`.
    """
    name, config = model.main_input_name, model.config
    rows, positions = ids.shape
    if name == SAMPLES and isinstance(
        kernels := getattr(config, "conv_kernel", None), list | tuple
    ):
        length = sample_count(positions, kernels, config.conv_stride)
        return {name: _wave(ids, length)}
    if name == FEATURES and isinstance(bins := getattr(config, "num_mel_bins", None), int):
        frames = 2 * getattr(config, "max_source_positions", positions)
        return {name: _wave(ids, bins * frames).reshape(rows, bins, frames)}
    return {"input_ids": ids}


def _wave(ids: Any, length: int) -> Any:
    """Return `[batch, length]` numbers that differ everywhere, and between rows."""
    steps = ids.new_tensor(range(length)).double()
    phases = ids[:, :1].double() + ids[:, -1:].double() / 7
    return (steps[None] * 1.7 + phases).sin().float()


def attends_ahead(model: Any, ids: Any) -> bool | None:
    """Return whether the first token's vector depends on the last token; None where none is."""
    with contextlib.suppress(Exception):  # of outputs that aren't vectors of tokens
        other = ids.clone()
        other[:, -1] += 1
        first = [run_ids(model, one).last_hidden_state[:, 0] for one in (ids, other)]
        return bool((first[0] != first[1]).any())
    return None
