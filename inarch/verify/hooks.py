"""Runs of the reference with a hook on every module."""

from __future__ import annotations

import contextlib
import gc
import inspect
from collections import Counter
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

import numpy as np

from inarch.models.registry import Input
from inarch.verify.fused import Parts
from inarch.verify.inputs import reference_inputs
from inarch.verify.reference import distance, padding_mask_in
from inarch.verify.tensors import first_float, is_attention, is_dropout, is_float, is_view

# What passes at a module: (name, which call of it, input | output | next | attention | residual |
# a name). `next` is the output of a module without weights, such as an activation, that takes this
# one's output as it is; `residual` is a further input that has the output's shape, to be added.
# Where a module adds it to the output of one within, its own `output` is without.
ReferenceTap = tuple[str, int, str]

# Modules of torch whose inputs and outputs have features before time, and those derived from them.
FEATURES_FIRST = frozenset(["Conv1d", "GroupNorm"])


class Run:
    """Runs the reference and records what passes at every module."""

    def __init__(
        self, reference: Any, inputs: Mapping[str, np.ndarray], declared: Mapping[str, Input],
        torch: Any, parts: Parts,
    ):  # fmt: skip
        self.parts = parts
        self.reference = reference
        self.inputs = inputs
        self.declared = declared
        self.torch = torch
        self.weightless = {
            name: module
            for name, module in reference.named_modules()
            if not any(True for _ in module.parameters()) and not is_dropout(module)
        }

    def free(self, dtype: str) -> dict[ReferenceTap, np.ndarray]:
        """Return all that passes, in the order of events."""
        seen: dict[ReferenceTap, np.ndarray] = {}
        arrays: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}

        def keep(tap: ReferenceTap, tensor: Any) -> Any:
            # One array for one tensor; the tensor is kept, so that no other gets its id. A copy,
            # since code may go on to change a tensor in place, as DeBERTa's scales its positions.
            key = id(tensor), tensor._version
            if key not in arrays:
                arrays[key] = tensor, tensor.numpy().copy()
            seen[tap] = arrays[key][1]
            return tensor

        self._run(dtype, keep)
        return seen

    def measured(
        self, dtype: str, values: Mapping[ReferenceTap, np.ndarray], force: bool
    ) -> dict[ReferenceTap, float]:
        """Distances from the known `values`; with `force`, go on with those values."""
        found: dict[ReferenceTap, float] = {}

        def compare(tap: ReferenceTap, tensor: Any) -> Any:
            if tap not in values:
                return tensor
            found[tap] = distance(tensor.numpy(), values[tap], self.inputs)
            if not force or tap[2] == "attention" or not tap[0]:
                return tensor
            return self.torch.from_numpy(values[tap]).to(tensor.dtype)

        self._run(dtype, compare)
        return found

    def _run(self, dtype: str, at: Callable[[ReferenceTap, Any], Any]) -> None:
        model = self.reference.to(getattr(self.torch, dtype))
        mask = padding_mask_in(self.inputs)
        rows = () if mask is None else mask.shape
        watch = _Watch(model, self.weightless, self.parts, rows, partial(self._with_parts, at))
        with contextlib.ExitStack() as stack:
            if dtype == "float64":
                stack.enter_context(without_float32(self.torch))
            for name, module in model.named_modules():
                for handle in watch.hooks(name, module) if name else ():
                    stack.callback(handle.remove)
            # Some take no mask; given one, they would drop it with other unknown arguments.
            taken = inspect.signature(model.forward).parameters
            fed = {
                name: self.torch.from_numpy(
                    array if array.dtype.kind == "i" else array.astype(dtype)
                )
                for name, array in reference_inputs(self.inputs, self.declared).items()
                if name in taken
            }
            with self.torch.no_grad():
                outputs = model(**fed, return_dict=True)
        for name, tensor in outputs.items():
            if is_float(tensor):
                at(("", 0, name), tensor)
        del watch
        gc.collect()

    def _with_parts(
        self, at: Callable[[ReferenceTap, Any], Any], tap: ReferenceTap, tensor: Any
    ) -> Any:
        """Show what passes at a module, and at the parts of a fused one."""
        name, number, what = tap
        given = at(tap, tensor)
        for shown_as, part in self.parts.get(name, {}).items():
            if what == "input":
                given = at((shown_as, number, what), tensor)
            elif what == "output":
                columns = self.torch.from_numpy(part.columns)
                bias = self.reference.get_parameter(part.bias) if part.bias else 0.0
                own = tensor[..., columns] + bias
                if (value := at((shown_as, number, what), own)) is not own:
                    given = given.clone()
                    given[..., columns] = value - bias
        return given


class _Watch:
    """Shows `at` what passes at every module of one run, which goes on with what `at` returns."""

    def __init__(
        self, model: Any, weightless: Container[str], parts: Parts, rows: tuple[int, ...],
        at: Callable[[ReferenceTap, Any], Any],
    ):  # fmt: skip
        self.rows = rows
        self.at = at
        self.weightless = weightless
        self.parts = parts
        self.calls: Counter[str] = Counter()
        # Tables that are read without a call of the module that holds them.
        self.tables = {
            id(table): (name.rpartition(".")[0], table.detach())
            for name, table in model.named_parameters()
        }
        # By id, with the tensor itself, so that no other gets the id: who made it at which call.
        self.made_by: dict[int, tuple[Any, str, int]] = {}
        # Likewise, tensors that have features before time.
        self.features_first: dict[int, Any] = {}
        # Of a tensor with tokens before rows one view, by which it is known again.
        self.views: dict[int, tuple[Any, Any]] = {}

    def hooks(self, name: str, module: Any) -> tuple[Any, Any]:
        """Watch a module; the handles end it."""
        return (
            module.register_forward_pre_hook(partial(self._before, name), with_kwargs=True),
            module.register_forward_hook(partial(self._after, name), with_kwargs=True),
        )

    def _before(self, name: str, module: Any, args: tuple, kwargs: dict) -> Any:
        first = first_float([*args, *kwargs.values()])
        if first is None:
            return None
        holder, shown = self.tables.get(id(first), ("", first))
        if holder:
            self.at((holder, 0, "output"), shown)
        is_turned = self._is_features_first(module, first)
        seen = self._shown(module, shown, is_turned)
        fed = self.at((name, self.calls[name], "input"), seen)
        if fed is seen:
            return None
        fed = self._as_given(module, fed, first, is_turned)
        if is_turned:
            self.features_first[id(fed)] = fed
        args = tuple(fed if a is first else a for a in args)
        return args, {k: fed if a is first else a for k, a in kwargs.items()}

    def _after(self, name: str, module: Any, args: tuple, kwargs: dict, output: Any) -> Any:
        number = self.calls[name]
        self.calls[name] += 1
        parts = list(output) if isinstance(output, tuple) else [output]
        if not parts or not is_float(parts[0]):
            return None
        attention = next((p for p in parts[1:] if is_float(p) and is_attention(p)), None)
        if attention is not None:
            self.at((name, number, "attention"), attention)
        given = [v for v in (*args, *kwargs.values()) if is_float(v)]
        residual = next((v for v in given[1:] if v.shape == parts[0].shape), None)
        if residual is not None:
            self.at((name, number, "residual"), residual)
        alike = [parts[0], *given[:1]] if name in self.weightless else [parts[0]]
        if is_turned := any(self._is_features_first(module, x) for x in alike):
            self.features_first[id(parts[0])] = parts[0]
        tap = self._output_tap(name, number, given)
        if tap is None:
            return None
        is_sum = residual is not None and self._is_sum(name, parts[0], residual)
        own = parts[0] - residual if is_sum else parts[0]
        seen = self._shown(module, own, is_turned, output=True)
        given = self.at(tap, seen)
        if given is not seen:
            parts[0] = self._as_given(module, given, parts[0], is_turned)
            parts[0] = parts[0] + residual if is_sum else parts[0]
            if is_turned:
                self.features_first[id(parts[0])] = parts[0]
        if tap[2] == "output":
            # Outer modules come later and win: the outermost one made the tensor.
            self.made_by[id(parts[0])] = (parts[0], name, number)
        return tuple(parts) if isinstance(output, tuple) else parts[0]

    def _is_sum(self, name: str, output: Any, residual: Any) -> bool:
        """Return whether a module adds a residual to what one within it gives, as BLOOM's do."""
        return any(
            inner.startswith(f"{name}.")
            and made.shape == output.shape
            and bool((made + residual == output).all())
            for made, inner, _ in self.made_by.values()
        )

    def _is_features_first(self, module: Any, tensor: Any) -> bool:
        """Return whether what passes at a module has features before time."""
        classes = {cls.__name__ for cls in type(module).__mro__}
        return tensor.ndim == 3 and (
            not classes.isdisjoint(FEATURES_FIRST) or id(tensor) in self.features_first
        )

    def _is_time_major(self, tensor: Any) -> bool:
        """Return whether a tensor has the tokens before the rows, as in XLNet."""
        rows = self.rows
        is_clear = tensor.ndim == 3 and len(rows) == 2 and rows[0] != rows[1]
        return is_clear and tuple(tensor.shape[:2]) == tuple(rows[::-1])

    def _as_given(self, module: Any, value: Any, like: Any, is_turned: bool) -> Any:
        """Return a value in our axes in those of a tensor of the reference."""
        value = _shown(module, value, is_turned)
        return (value.transpose(0, 1) if self._is_time_major(like) else value).reshape(like.shape)

    def _shown(self, module: Any, tensor: Any, is_turned: bool, output: bool = False) -> Any:
        """Return a tensor in our axes, also where tokens come before rows, or are in one axis."""
        shown = _shown(module, tensor, is_turned, output)
        if self._is_time_major(shown):
            return self.views.setdefault(id(tensor), (tensor, shown.transpose(0, 1)))[1]
        if shown.ndim == 2 and self.rows and len(shown) == self.rows[0] * self.rows[1]:
            return shown.reshape(*self.rows, -1)
        return shown

    def _output_tap(self, name: str, number: int, inputs: list[Any]) -> ReferenceTap | None:
        """Return the tap of a module's output; without weights, the `next` one after another's."""
        if name not in self.weightless:
            return name, number, "output"
        first = first_float(inputs)
        source = self.made_by.get(id(first)) or self._part_source(first)
        return source and (source[1], source[2], "next")

    def _part_source(self, tensor: Any) -> tuple[Any, str, int] | None:
        """Return the fused layer's output of which a tensor is a view, with the part's name."""
        for made, name, number in self.made_by.values():
            for shown_as, part in self.parts.get(name, {}).items():
                if tensor is not None and is_view(tensor, made, part.columns):
                    return made, shown_as, number
        return None


def without_float32(torch: Any) -> Any:
    """Return a context in which what code takes in float32, such as a softmax, stays in float64.

    Cast to float32, a mask of the lowest float64 is infinite, and a row of it no number.
    """

    class Wide(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if args and getattr(args[0], "dtype", None) is torch.float64:
                if function is torch.Tensor.float:
                    return args[0]
                if kwargs.get("dtype") is torch.float32:
                    kwargs["dtype"] = torch.float64
            return function(*args, **kwargs)

    return Wide()


def _shown(module: Any, tensor: Any, is_turned: bool, output: bool = False) -> Any:
    """Return a tensor in the order of our axes, or back, where it has features before time.

    A table of positions gives no batch axis, where ours has one.
    """
    if is_turned:
        return tensor.transpose(1, 2)
    if output and tensor.ndim == 2 and isinstance(getattr(module, "num_embeddings", None), int):
        return tensor.unsqueeze(0)
    return tensor
