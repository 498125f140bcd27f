"""Torch's `.bin` and `.pt` files, for reading."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inarch.checkpoints.weights import DTYPES, Shard, TensorInfo
from inarch.checks import POINTER, refuse_pointer
from inarch.errors import CheckpointFileError, MissingExtraError


class TorchFile:
    """A torch checkpoint, read with `weights_only=True`: no code in it is ever run.

    Args:
        inside: the entry that holds the tensors, where the format has more than them.
        allow: plain data classes that may be made beside tensors, numbers and text.

    Attributes:
        beside: what the file holds beside `inside`.
        others: what lies among the tensors and is none, by name.
    """

    def __init__(self, path: Path, inside: str | None = None, allow: Sequence[type] = ()):
        self.path = path
        refuse_pointer(path, _first_bytes(path, len(POINTER)))
        try:
            import torch
        except ImportError as e:
            raise MissingExtraError(
                f"{path} is a pickled torch file and torch is not installed. Install it "
                "(pip install 'inarch[torch]'), or convert the checkpoint to safetensors"
            ) from e
        self._torch = torch
        self._allow: list[Any] = list(allow)
        state = self._load(path)
        self.beside: dict[str, Any] = {}
        if inside and isinstance(state, dict) and isinstance(state.get(inside), dict):
            self.beside = {name: value for name, value in state.items() if name != inside}
            state = state[inside]
        if not isinstance(state, dict):
            raise CheckpointFileError(f"{path} holds a {type(state).__name__}, not named tensors")
        self._state = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}
        self.others = {str(k): v for k, v in state.items() if not isinstance(v, torch.Tensor)}
        tensors = {
            name: TensorInfo(self._code(path, name, t), tuple(t.shape))
            for name, t in self._state.items()
        }
        self.shard = Shard(path.name, tensors)

    def refuse_others(self) -> None:
        """Refuse a file that has more among its tensors: what isn't read would be lost.

        Raises:
            CheckpointFileError: with the names of all that isn't a tensor.
        """
        holding = {name: n for name, v in self.others.items() if (n := self._tensors_in(v))}
        if "state_dict" in holding:
            beside = ", ".join(
                name for name in (*self._state, *self.others) if name != "state_dict"
            )
            raise CheckpointFileError(
                f"{self.path} is a checkpoint of training, such as PyTorch Lightning writes: the "
                f"weights are in its entry 'state_dict'{f', beside {beside}' if beside else ''}. "
                "Save them alone, under the names that the model has for them: "
                "torch.save(torch.load(path)['state_dict'], path)"
            )
        if self.others:
            listed = ", ".join(
                f"{name!r} ({type(value).__name__}"
                f"{f' that holds tensors: {holding[name]}' if name in holding else ''})"
                for name, value in self.others.items()
            )
            raise CheckpointFileError(
                f"{self.path} has entries that are no tensors, and that would be lost: {listed}. "
                "If the model doesn't need them, save the file without them"
            )

    def _tensors_in(self, value: Any) -> int:
        """How many tensors are anywhere in a value."""
        if isinstance(value, self._torch.Tensor):
            return 1
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, list | tuple | set):
            return 0
        return sum(map(self._tensors_in, value))

    def _load(self, path: Path) -> Any:
        options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
        try:
            with self._torch.serialization.safe_globals(self._allow):
                try:
                    return self._torch.load(path, mmap=True, **options)
                except RuntimeError as e:
                    if "mmap" not in str(e):
                        raise
                    return self._torch.load(path, **options)  # files from before torch 1.6
        except Exception as e:
            raise CheckpointFileError(f"{path} {_why_not(path, str(e) or type(e).__name__)}") from e

    def _code(self, path: Path, name: str, tensor: Any) -> str:
        kind = str(tensor.dtype).removeprefix("torch.")
        code = next((code for code, dtype in DTYPES.items() if dtype.name == kind), None)
        if code is None:
            raise CheckpointFileError(f"{path}: tensor {name!r} has dtype {kind}, not supported")
        if tensor.layout != self._torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
            raise CheckpointFileError(
                f"{path}: tensor {name!r} is stored as {layout}; only plain (strided) tensors are "
                "read. Save it again after `.to_dense()`"
            )
        if tensor.is_meta:
            raise CheckpointFileError(
                f"{path}: tensor {name!r} has a shape and no values, since it was on torch's "
                "device 'meta'. Save the model again after its weights are loaded"
            )
        return code

    def read(self, name: str) -> np.ndarray:
        tensor = self._state[name].detach().resolve_conj().contiguous()
        dtype = DTYPES[self.shard.tensors[name].dtype]
        if dtype.type in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
            raw = self._torch.int16 if dtype.itemsize == 2 else self._torch.int8
            return tensor.view(raw).numpy().view(dtype)
        return tensor.numpy()

    def release(self, name: str) -> None:
        """Nothing to do: torch maps the file and the system reclaims its pages."""

    def close(self) -> None:
        self._state = {}


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError as e:
        raise CheckpointFileError(f"{path} does not exist") from e
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e


def _why_not(path: Path, said: str) -> str:
    """What is wrong with a file that torch refuses with these words."""
    needed = re.search(r"GLOBAL ([\w.]+)", said)
    if needed:
        return (
            f"can't be read as torch weights without running code from it: it wants {needed[1]}. "
            "Save its tensors alone, by the library that wrote it"
        )
    if path.stat().st_size == 0:
        return "is empty; fetch the file again"
    # After what torch says of its own settings, and before its guesses and advice.
    told = said.rpartition("WeightsUnpickler error:")[2].strip()
    why = re.split(r"\. |\n", told)[0]
    return f"is no torch file, or a damaged one ({why}); fetch it again"
