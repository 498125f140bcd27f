"""Check of commands that give answers: the head must be trained."""

from __future__ import annotations

from typing import Any

from inarch.errors import CheckpointError


def check_trained(model: Any, preset: str) -> None:
    """Raise CheckpointError for a model whose head has initial weights: its answers would be noise.

    Args:
        model: a task.
        preset: what it was loaded from, for the error.
    """
    if model.fresh_weights:
        raise CheckpointError(
            f"{preset} has no trained {model.head} head, so its answers would be random; choose a "
            f"checkpoint that has one (`inarch info` shows it), or train {type(model).__name__}"
        )
