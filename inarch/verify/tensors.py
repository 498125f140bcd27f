"""Predicates of torch's tensors and modules in a run of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_view(tensor: Any, whole: Any, columns: np.ndarray) -> bool:
    """Return whether a tensor is a view of neighboring columns of another."""
    if not len(columns) or (np.diff(columns) != 1).any():
        return False
    view = whole[..., columns[0] : columns[-1] + 1]
    return bool(
        tensor.shape == view.shape
        and tensor.stride() == view.stride()
        and tensor.data_ptr() == view.data_ptr()
    )


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floats."""
    return getattr(value, "is_floating_point", lambda: False)()


def is_attention(tensor: Any) -> bool:
    """Return whether a tensor has probabilities of attention, and isn't a bias on its scores."""
    if tensor.ndim != 4 or float(tensor.min()) < 0:
        return False
    return bool((tensor.sum(-1) - 1).abs().max() < 1e-3)


def first_float(values: list[Any]) -> Any:
    """Return the first tensor of floats of a list; None without one."""
    return next((v for v in values if is_float(v)), None)


def is_dropout(module: Any) -> bool:
    """Return whether a module is one of dropout."""
    return "Dropout" in type(module).__name__
