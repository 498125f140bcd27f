"""Names that a reference's files have where its modules have others, and tensors that it fuses.

Which tensor of a file holds which of the model is found by their values: a model of random ones is
saved, and its file is read.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.files import open_weights
from inarch.port.experts import NUMBER, HeldExpert
from inarch.port.patterns import index_names
from inarch.port.tiny_inputs import run_ids

# Names of norms' tensors of former times, which every map reads.
FORMER = {"gamma": "weight", "beta": "bias"}


def saved_names(model: Any, torch: Any) -> tuple[dict[str, tuple[str, ...]], dict[str, HeldExpert]]:
    """Return the tensors of a model that each tensor of its file holds, one after the other.

    Names have an index for their first number. Files whose names are the model's give none, and
    a tensor of which the model makes others than parts has none.

    Returns:
        those; and tensors of single experts, by what holds them.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    held = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            model.save_pretrained(folder)
        with open_weights(Path(folder)) as weights:
            saved = {name: np.array(weights.read(name)) for name in weights.header}
    strange = {name: value for name, value in saved.items() if name not in held}
    rest = {name: value for name, value in held.items() if name not in saved}
    experts = {name: part for name in strange if (part := held_expert(name, strange[name], rest))}
    found = {}
    for name, value in strange.items():
        if name in experts:
            continue
        found[index_names(_spelled(name))] = tuple(map(index_names, parts_of(value, rest)))
    names = {name: parts for name, parts in found.items() if parts != (name,)}
    return names, {_numbered_twice(name): part for name, part in experts.items()}


def _spelled(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{FORMER[leaf]}" if leaf in FORMER else name


def parts_of(value: np.ndarray, held: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names of the tensors that a value is, one below the other; empty if it is none."""
    parts: list[str] = []
    start = 0
    while start < len(value):
        for name, array in held.items():
            piece = value[start : start + len(array)]
            if array.ndim and piece.shape == array.shape and np.array_equal(piece, array):
                parts.append(name)
                start += len(array)
                break
        else:
            return ()
    return tuple(parts)


def held_expert(name: str, value: np.ndarray, held: Mapping[str, np.ndarray]) -> HeldExpert | None:
    """Return what holds a tensor of one expert; None of another tensor.

    Args:
        name: with the numbers of a layer and of an expert.
        value: its value.
        held: tensors of the model, those of all experts with an axis for them in front.
    """
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    if len(numbers) != 2 or value.ndim != 2:
        return None
    for holder, stack in held.items():
        if stack.ndim != 3 or numbers[1] >= len(stack):
            continue
        whole = stack[numbers[1]]
        for is_other, found in ((False, whole), (True, whole.T)):
            if np.array_equal(found, value):
                return HeldExpert(index_names(holder), None, is_other)
            for half, part in enumerate(np.split(found, 2)) if len(found) % 2 == 0 else ():
                if np.array_equal(part, value):
                    return HeldExpert(index_names(holder), half, is_other)
    return None


def _numbered_twice(name: str) -> str:
    """Return a name with indices in the place of the numbers of a layer and of an expert."""
    first = index_names(name)
    return first.replace(next(f".{p}." for p in first.split(".") if p.isdigit()), f".{NUMBER}.", 1)


def unused_tensors(model: Any, ids: Any) -> tuple[str, ...]:
    """Return the parameters on which no output of a model depends, with an index for a number.

    None are returned of a model through which gradients can't go.
    """
    with contextlib.suppress(RuntimeError):
        return _without_gradients(model, ids)
    return ()


def _without_gradients(model: Any, ids: Any) -> tuple[str, ...]:
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    outputs = run_ids(model, ids)
    total = sum(
        (value.double() ** 2).sum()
        for value in outputs.values()
        if hasattr(value, "double") and value.requires_grad
    )
    total.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    model.zero_grad()
    for parameter in frozen:
        parameter.requires_grad_(False)
    return tuple(dict.fromkeys(map(index_names, idle)))
