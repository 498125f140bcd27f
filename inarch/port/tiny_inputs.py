"""Runs of tiny models of transformers, whatever they read, and the modules that are called."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any

from inarch.layers.frames import sample_count
from inarch.port.patterns import index_names

# Inputs of models that read no tokens.
SAMPLES, FEATURES, PIXELS = "input_values", "input_features", "pixel_values"
# Share of a vector's largest number by which float32 may differ.
ROUNDING = 1e-5


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
    if "global_attention_mask" in names:  # without which some projections have no part
        given["global_attention_mask"] = ids % 2
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
        # Experts sum up in another order for other tokens, so that vectors differ by rounding.
        return bool((first[0] - first[1]).abs().max() > ROUNDING * first[0].abs().max())
    return None


def module_calls(model: Any, run: Any) -> tuple[str, ...]:
    """Return the names of modules with weights of their own, in the order of their first calls.

    One that the first layer lacks is where it is called in another.
    """
    called: list[str] = []
    handles = []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            handles.append(
                module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
            )
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return call_order(called)


def call_order(called: Sequence[str]) -> tuple[str, ...]:
    """Return the names of called modules, each once and with an index for a number."""
    order: list[str] = []
    for place, name in enumerate(called):
        indexed = index_names(name)
        if indexed in order:
            continue
        is_late = indexed != name and not any(part == "0" for part in name.split("."))
        following = map(index_names, called[place + 1 :])
        after = next((n for n in following if n in order and "{i}" in n), None)
        order.insert(order.index(after) if is_late and after else len(order), indexed)
    return tuple(order)
