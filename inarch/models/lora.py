"""Low-rank updates of a model's kernels (LoRA), added, merged and kept in PEFT's format.

Source: Hu et al., 2021, arXiv:2106.09685. The updates are Keras's own (`Dense.enable_lora`); here
is which layers get them, and what is trained next to them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from inarch.errors import InputError, InputTypeError
from inarch.keras_private import is_quantized
from inarch.models.adapter_reading import read_adapter
from inarch.models.adapter_writing import write_adapter
from inarch.models.lora_layers import (
    check_updated,
    freeze_base,
    remove_lora,
    updatable_layers,
    updated_layers,
)
from inarch.models.origin import backbone_of
from inarch.validation import check_count, shown


class LowRankUpdates:
    """Methods of models whose layers can have low-rank updates."""

    def enable_lora(
        self,
        rank: int,
        targets: str | Sequence[str] = ("query", "value"),
        alpha: float | None = None,
    ) -> None:
        """Add a low-rank update to layers of the backbone, and freeze all else but the head.

        What stays trainable next to the updates is what the checkpoint had no values for, and a
        head; but not one that is tied to the embeddings, as a language model's is. Compile the
        model after this call, not before.

        Args:
            rank: of the updates, the inner size of their two factors.
            targets: names of layers, such as `"query"`, `"key"`, `"value"`, `"output"`, `"up"`,
                `"down"`, or the ends of their paths, such as `"layer_0/attention/query"`.
            alpha: the update is scaled by `alpha / rank`; `None` is `rank`.

        Raises:
            InputError: `rank` is below 1, `alpha` isn't above 0, a target is no layer that can be
                updated, or one has an update already.
            InputTypeError: an argument is of another type.
        """
        check_count("rank", rank)
        _check_alpha(alpha)
        chosen = _find_layers(self, targets)
        for path, layer in chosen.items():
            if layer.lora_enabled:
                raise InputError(
                    f"{path} has a low-rank update of rank {layer.lora_rank} already; call "
                    "merge_lora() before another one, or leave it out of targets"
                )
        for layer in chosen.values():
            layer.enable_lora(rank, lora_alpha=alpha)
        freeze_base(self)

    def merge_lora(self) -> None:
        """Add every low-rank update to its kernel, and take it off; the function stays the same.

        `save_to_preset` writes the sum in any case. What is frozen stays so.

        Raises:
            InputError: there is no update, or its layer is quantized.
        """
        updated = dict(updated_layers(self))
        check_updated(self, updated)
        for path, layer in updated.items():
            if is_quantized(layer):
                raise InputError(
                    f"{path} is quantized, so that an update can't be added to its kernel exactly; "
                    "call merge_lora() before quantize"
                )
        for layer in updated.values():
            remove_lora(layer)

    def save_adapter(self, folder: str | os.PathLike) -> None:
        """Write the low-rank updates alone, as PEFT writes and loads an adapter.

        With them go the layers that were trained whole, such as a classifier's. Names are those of
        the reference's modules; three projections that the reference has in one get one update.

        Args:
            folder: gets `adapter_config.json` and `adapter_model.safetensors`.

        Raises:
            InputError: there are no updates, they are all zero, or they don't belong to the
                checkpoint's own kernels any more; or something else was trained that an adapter
                can't hold exactly: it is named.
            CheckpointFileError: the folder can't be written.
        """
        write_adapter(self, folder)

    def load_adapter(self, preset: str | os.PathLike) -> None:
        """Load low-rank updates that PEFT or `save_adapter` wrote, and freeze all else.

        Nothing is changed before all of it is known to fit.

        Args:
            preset: a folder with `adapter_config.json` and `adapter_model.safetensors`, or the hub
                id of one.

        Raises:
            PresetError: `preset` leads nowhere.
            CheckpointFileError: a file is absent or damaged.
            ConfigError: the adapter is of a kind that isn't computed here; the field is named.
            WeightMapError: tensors are missing, unknown, or for a base of another width.
            InputError: the model has updates of its own, in other layers or of another rank.
        """
        read_adapter(self, preset)


def _find_layers(model: Any, targets: Any) -> dict[str, Any]:
    """Return the layers of the backbone that `targets` name, by path."""
    wanted = [targets] if isinstance(targets, str) else targets
    if not isinstance(wanted, Sequence) or not all(isinstance(name, str) for name in wanted):
        raise InputTypeError(f"targets is {shown(targets)}; give names of layers")
    there = dict(updatable_layers(backbone_of(model)))
    known = ", ".join(sorted({path.rpartition("/")[2] for path in there}))
    found: dict[str, Any] = {}
    for name in wanted:
        ends = {p: layer for p, layer in there.items() if f"/{p}".endswith(f"/{name}") and name}
        if not ends:
            raise InputError(
                f"targets has {shown(name)}, which is no layer of {backbone_of(model).name} that "
                f"can have a low-rank update; known: {known}"
            )
        found |= ends
    if not found:
        raise InputError(f"targets is {shown(targets)}, which names no layer; known: {known}")
    return found


def _check_alpha(alpha: Any) -> None:
    if alpha is None:
        return
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise InputTypeError(f"alpha is {shown(alpha)}; give a number, or None for rank")
    if not 0 < alpha < math.inf:
        raise InputError(f"alpha is {alpha}; it must be above 0 and finite")
