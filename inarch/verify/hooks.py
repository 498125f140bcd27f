"""Runs of the original with a hook on every module."""

from __future__ import annotations

import contextlib
import gc
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inarch.verify.reference import distance

# Our names of inputs, and theirs.
INPUTS = {
    "token_ids": "input_ids",
    "padding_mask": "attention_mask",
    "segment_ids": "token_type_ids",
    "encoder_features": "input_features",
    "decoder_token_ids": "decoder_input_ids",
    "decoder_padding_mask": "decoder_attention_mask",
}

# What passes at a module: (name, which call of it, input | output | next | attention | a name).
# `next` is the output of a module without weights, such as an activation, that takes this one's
# output as it is.
Spot = tuple[str, int, str]


class Run:
    """Runs the original and records what passes at every module."""

    def __init__(self, original: Any, inputs: Mapping[str, np.ndarray], torch: Any):
        self.original = original
        self.inputs = inputs
        self.torch = torch
        self.weightless = {
            name: module
            for name, module in original.named_modules()
            if not any(True for _ in module.parameters()) and not _is_dropout(module)
        }

    def free(self, dtype: str) -> dict[Spot, np.ndarray]:
        """Everything that passes, in the order of events."""
        seen: dict[Spot, np.ndarray] = {}
        arrays: dict[int, tuple[Any, np.ndarray]] = {}

        def keep(spot: Spot, tensor: Any) -> Any:
            # One array for one tensor; the tensor is kept, so that no other gets its id.
            if id(tensor) not in arrays:
                arrays[id(tensor)] = tensor, tensor.numpy()
            seen[spot] = arrays[id(tensor)][1]
            return tensor

        self._run(dtype, keep)
        return seen

    def measured(
        self, dtype: str, values: Mapping[Spot, np.ndarray], force: bool
    ) -> dict[Spot, float]:
        """Distances from the known `values`; with `force`, go on with those values."""
        found: dict[Spot, float] = {}

        def compare(spot: Spot, tensor: Any) -> Any:
            if spot not in values:
                return tensor
            found[spot] = distance(tensor.numpy(), values[spot], self.inputs)
            if not force or spot[2] == "attention" or not spot[0]:
                return tensor
            return self.torch.from_numpy(values[spot]).to(tensor.dtype)

        self._run(dtype, compare)
        return found

    def _run(self, dtype: str, at: Callable[[Spot, Any], Any]) -> None:
        model = self.original.to(getattr(self.torch, dtype))
        calls: Counter[str] = Counter()
        # Tables that are read without a call of the module that holds them.
        tables = {
            id(table): (name.rpartition(".")[0], table.detach())
            for name, table in model.named_parameters()
        }
        made_by: dict[int, tuple[Any, str, int]] = {}

        def before(name: str) -> Callable:
            def hook(module: Any, args: tuple, kwargs: dict) -> Any:
                first = _first_float([*args, *kwargs.values()])
                if first is None:
                    return None
                holder, shown = tables.get(id(first), ("", first))
                if holder:
                    at((holder, 0, "output"), shown)
                seen = _shown(module, shown)
                fed = at((name, calls[name], "input"), seen)
                if fed is seen:
                    return None
                fed = _shown(module, fed)
                args = tuple(fed if a is first else a for a in args)
                return args, {k: fed if a is first else a for k, a in kwargs.items()}

            return hook

        def after(name: str) -> Callable:
            def hook(module: Any, args: tuple, kwargs: dict, output: Any) -> Any:
                number = calls[name]
                calls[name] += 1
                parts = list(output) if isinstance(output, tuple) else [output]
                if not parts or not _is_float(parts[0]):
                    return None
                attention = next((p for p in parts[1:] if _is_float(p) and p.ndim == 4), None)
                if attention is not None:
                    at((name, number, "attention"), attention)
                spot = (name, number, "output")
                if name in self.weightless:
                    source = made_by.get(id(_first_float([*args, *kwargs.values()])))
                    if source is None:
                        return None
                    spot = (source[1], source[2], "next")
                seen = _shown(module, parts[0], output=True)
                given = at(spot, seen)
                if given is not seen:
                    parts[0] = _shown(module, given).reshape(parts[0].shape)
                if spot[2] == "output":
                    # Outer modules come later and win: the outermost one made the tensor.
                    made_by[id(parts[0])] = (parts[0], name, number)
                return tuple(parts) if isinstance(output, tuple) else parts[0]

            return hook

        with contextlib.ExitStack() as stack:
            for name, module in model.named_modules():
                if name:
                    handle = module.register_forward_pre_hook(before(name), with_kwargs=True)
                    stack.callback(handle.remove)
                    handle = module.register_forward_hook(after(name), with_kwargs=True)
                    stack.callback(handle.remove)
            # Some take no mask; given one, they would drop it with other unknown arguments.
            taken = inspect.signature(model.forward).parameters
            fed = {
                INPUTS[name]: self._fed(value, dtype)
                for name, value in self.inputs.items()
                if INPUTS[name] in taken
            }
            with self.torch.no_grad():
                outputs = model(**fed, return_dict=True)
        for name, tensor in outputs.items():
            if _is_float(tensor):
                at(("", 0, name), tensor)
        gc.collect()

    def _fed(self, value: np.ndarray, dtype: str) -> Any:
        """An input as the original takes it: ids in 64 bits, features before frames."""
        if value.dtype.kind != "f":
            return self.torch.from_numpy(value.astype("int64"))
        return self.torch.from_numpy(value.swapaxes(1, 2).astype(dtype))


def _is_float(value: Any) -> bool:
    return getattr(value, "is_floating_point", lambda: False)()


def _first_float(values: list[Any]) -> Any:
    return next((v for v in values if _is_float(v)), None)


def _shown(module: Any, tensor: Any, output: bool = False) -> Any:
    """A tensor in the order of our axes, and back: convolutions have features before time.

    A table of positions gives no batch axis, where ours has one.
    """
    if type(module).__name__ == "Conv1d":
        return tensor.transpose(1, 2)
    if output and tensor.ndim == 2 and isinstance(getattr(module, "num_embeddings", None), int):
        return tensor.unsqueeze(0)
    return tensor


def _is_dropout(module: Any) -> bool:
    return "Dropout" in type(module).__name__
