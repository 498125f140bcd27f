"""Loading of an opened checkpoint's weights into a model, with warnings of unused ones."""

from __future__ import annotations

from typing import Any

import keras

from inarch.checkpoints.io import hub
from inarch.checkpoints.maps import layout, transfer
from inarch.checkpoints.maps.config_map import names_own_code
from inarch.checkpoints.maps.entries import expand
from inarch.checkpoints.maps.plan import match
from inarch.file_names import SETTINGS
from inarch.models.dtype_check import check_dtypes
from inarch.models.loading import Checkpoint
from inarch.models.origin import backbone_of, head_name
from inarch.models.saving import CONFIG
from inarch.models.variables import (
    initialize,
    mapped_variables,
    named_variables,
    set_value,
)
from inarch.user_warnings import warn
from inarch.validation import listed, shown


def load_checkpoint_weights(
    checkpoint: Checkpoint,
    model: keras.Model,
    waiting: list[Any],
    head: str | None = None,
    reason: str = "",
) -> None:
    """Load the weights into `model`, whose variables wait for values.

    Pieces that the file doesn't have get initial values and are listed in
    `model.fresh_weights`; a warning names them. Without `head`, a task's head is fresh, for
    the `reason` that the warning gives.
    """
    variables = mapped_variables(model)
    arguments = dict(backbone_of(model).arguments)
    fresh: set[str] = set()
    head = head if head and checkpoint.has_head(head) else None
    if head is None:
        fresh |= variables.keys() - named_variables(backbone_of(model)).keys()
    present = checkpoint.source.arguments(checkpoint.config, checkpoint.weights.header)
    _warn(checkpoint)
    for part, entries in checkpoint.source.optional_layers.items():
        if arguments.get(part) and not present[part]:
            fresh |= {n for e in expand(entries, arguments) for n in getattr(e, "ours", ())}
            arguments[part] = False
    ours = {n: tuple(v.shape) for n, v in variables.items() if n not in fresh}
    tie = checkpoint.tie_word_embeddings
    for source, weights in checkpoint.formats():
        header = weights.header
        plan = match(source, header, ours, arguments, head, tie, str(checkpoint.folder))
        check_dtypes(checkpoint.folder, {n: header[n].dtype for n in plan.rule_of()}, variables)
    model.passthrough = transfer.load(
        plan, checkpoint.weights, ours, lambda name, array: set_value(variables[name], array)
    )
    initialize(waiting)
    model.layout = layout.Layout(
        checkpoint.config_text,
        checkpoint.weights.shards,
        head,
        checkpoint.sidecar_texts(),
        checkpoint.source.model_type,
        tuple(checkpoint.ignored),
        hub.repository_of(checkpoint.folder),
    )
    known = checkpoint.source.heads.get(head_name(model) or "")
    fresh -= {*known.zeros} if known else set()
    model.fresh_weights = tuple(sorted(fresh))
    notes = []
    if fresh:
        notes.append(
            f"has no values for {', '.join(sorted(fresh))}: freshly initialized, to be trained"
            + (f" ({reason})" if reason else "")
        )
    if plan.unknown:
        notes.append(
            f"has tensors of a head that isn't known: {listed(plan.unknown)}; they are kept to "
            "be written back, and play no part"
        )
    if notes:
        warn(f"{checkpoint.folder} {'; and it '.join(notes)}")


def _warn(checkpoint: Checkpoint) -> None:
    """Warn of what is in the checkpoint and isn't used by the model."""
    if names_own_code(checkpoint.config):
        warn(
            f"{checkpoint.folder / CONFIG} names code of the repository's own (auto_map), which "
            f"isn't run; the model is computed as {checkpoint.source.model_type}"
        )
    authors = checkpoint.author_checkpoint
    if authors and authors.dropped:
        warn(
            f"{checkpoint.folder}: left out, since Hugging Face's format has no place for them: "
            + ", ".join(f"{name} ({why})" for name, why in authors.dropped.items())
        )
    for note in authors.notes if authors else ():
        warn(note)
    if checkpoint.ignored_by_settings:
        ignored = checkpoint.ignored
        named = [f"{name}={shown(ignored[name])}" for name in checkpoint.ignored_by_settings]
        warn(
            f"{checkpoint.folder / SETTINGS} has fields of {CONFIG} ignored: {', '.join(named)}. "
            "The model is computed without them, as was chosen before it was saved. Give them "
            "as ignore_fields= if you know that they do nothing, or take them out of that file"
        )
