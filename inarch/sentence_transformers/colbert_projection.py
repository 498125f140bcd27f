"""The projection of colbert-ai's checkpoints, whose weights are among the transformer's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inarch.errors import CheckpointFileError
from inarch.models.loading import Checkpoint
from inarch.models.variables import get_value, named_variables, set_value

if TYPE_CHECKING:
    from inarch.tasks.task import Task

# The weights of the projection, `[dim, width]` of the reference's linear layer.
TENSOR = "linear.weight"


def width(checkpoint: Checkpoint) -> int:
    """Return the width of the vectors of a checkpoint of colbert-ai.

    Raises:
        CheckpointFileError: its weights have no projection.
    """
    info = checkpoint.weights.header.get(TENSOR)
    if info is None or len(info.shape) != 2:
        raise CheckpointFileError(
            f"{checkpoint.folder} names the class HF_ColBERT, and its weights have no "
            f"{TENSOR} [dim, width]; fetch it again"
        )
    return info.shape[0]


def load(task: Task) -> bool:
    """Give a task's projection the weights of its checkpoint; return whether there are any."""
    kernel = _kernel(task)
    if kernel is not None:
        set_value(kernel, task.passthrough[TENSOR].T)
    return kernel is not None


def store(task: Task) -> None:
    """Give the tensors that a task keeps of its checkpoint the values of its projection."""
    kernel = _kernel(task)
    if kernel is not None:
        (name,) = task.sidecar_variables
        value = get_value(task, name, kernel).T.astype(task.passthrough[TENSOR].dtype)
        task.passthrough = {**task.passthrough, TENSOR: value}


def _kernel(task: Task) -> Any:
    """Return the variable of the projection that a checkpoint of colbert-ai has, or None."""
    tensor, names = task.passthrough.get(TENSOR), sorted(task.sidecar_variables)
    if tensor is None or len(names) != 1:
        return None
    kernel = named_variables(task)[names[0]]
    return kernel if tensor.T.shape == tuple(kernel.shape) else None
