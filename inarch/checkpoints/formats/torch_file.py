"""Torch's `.bin` and `.pt` files, read without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.torch_archive import TorchArchive
from inarch.checkpoints.formats.torch_parts import Tensor
from inarch.checkpoints.formats.torch_pickle import tensors_in
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, check_sharing
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.json_fields import is_text
from inarch.validation import listed, shown


class TorchFile:
    """A torch checkpoint, mapped for reading: its pickle is read as data, and never run.

    The bytes of a tensor are held to the file's checksum of them when they are first read.

    Args:
        inside: the entry that holds the tensors, where the format has more than them.
        allow: names of plain data classes that may be made besides tensors, numbers and text.

    Attributes:
        outside: what the file holds outside of `inside`.
        others: what is among the tensors and is none, by name.

    Raises:
        CheckpointFileError: the file is absent, damaged, of another kind, or wants code run.
    """

    def __init__(self, path: Path, inside: str | None = None, allow: Collection[str] = ()):
        self.path = path
        self._file = MappedFile(path)
        try:
            self._archive = TorchArchive(path, self._file, allow)
        except CheckpointError as e:
            raise CheckpointFileError(str(e)) from e
        state = self._archive.value
        self.outside: dict[str, Any] = {}
        if inside and isinstance(state, dict) and isinstance(state.get(inside), dict):
            self.outside = {str(name): value for name, value in state.items() if name != inside}
            state = state[inside]
        if not isinstance(state, dict):
            kind = "tensor" if isinstance(state, Tensor) else type(state).__name__
            raise CheckpointFileError(f"{path} holds a {kind}, not named tensors")
        if unnamed := [name for name in state if not is_text(name)]:
            raise CheckpointFileError(f"{path} has an entry with the name {shown(unnamed[0])}")
        self._tensors = {n: v for n, v in state.items() if isinstance(v, Tensor)}
        self.others = {n: v for n, v in state.items() if not isinstance(v, Tensor)}
        tensors = {
            name: TensorInfo(self._code(name, t), t.shape) for name, t in self._tensors.items()
        }
        self._begins = {name: self._begin(name, t) for name, t in self._tensors.items()}
        check_sharing(path, tensors.values(), self._archive.stored)
        self.shard = Shard(path.name, tensors)

    def refuse_others(self) -> None:
        """Refuse a file that has more among its tensors: what isn't read would be lost.

        Raises:
            CheckpointFileError: with the names of all that isn't a tensor.
        """
        holding = {name: n for name, v in self.others.items() if (n := tensors_in(v))}
        if "state_dict" in holding:
            others = listed([n for n in (*self._tensors, *self.others) if n != "state_dict"])
            raise CheckpointFileError(
                f"{self.path} is a checkpoint of training, such as PyTorch Lightning writes: the "
                f"weights are in its entry 'state_dict'{f', next to {others}' if others else ''}. "
                "Save them alone, under the names that the model has for them: "
                "torch.save(torch.load(path)['state_dict'], path)"
            )
        if self.others:
            named = [
                f"{name!r} ({type(value).__name__}"
                f"{f' that holds tensors: {holding[name]}' if name in holding else ''})"
                for name, value in self.others.items()
            ]
            raise CheckpointFileError(
                f"{self.path} has entries that are no tensors, and that would be lost: "
                f"{listed(named)}. If the model doesn't need them, save the file without them"
            )

    def _code(self, name: str, tensor: Tensor) -> str:
        if tensor.layout == "meta":
            raise CheckpointFileError(
                f"{self.path}: tensor {name!r} has a shape and no values, since it was on torch's "
                "device 'meta'. Save the model again after its weights are loaded"
            )
        if tensor.layout:
            raise CheckpointFileError(
                f"{self.path}: tensor {name!r} is stored as {tensor.layout}; only plain (strided) "
                "tensors are read. Save it again after `.to_dense()`"
            )
        code = next((code for code, d in DTYPES.items() if d.name == tensor.dtype), None)
        if code is None or tensor.storage is None:
            raise CheckpointFileError(
                f"{self.path}: tensor {name!r} has dtype {tensor.dtype}, not supported"
            )
        return code

    def _begin(self, name: str, tensor: Tensor) -> int:
        """Return the byte of the file at which a tensor begins; check that all of it exists."""
        size = DTYPES[self._code(name, tensor)].itemsize
        assert tensor.storage is not None  # `_code` sees to it
        if 0 in tensor.shape:
            return 0
        try:
            place = self._archive.place(tensor.storage)
        except CheckpointError as e:
            raise CheckpointFileError(str(e)) from e
        if tensor.extent * size > place.size:
            raise CheckpointFileError(
                f"{self.path}: tensor {name!r} {shown(list(tensor.shape))} reaches beyond the "
                f"{place.size:,} bytes that it is in; fetch the file again"
            )
        return place.begin + tensor.offset * size

    def read(self, name: str) -> np.ndarray:
        tensor, info = self._tensors[name], self.shard.tensors[name]
        dtype = DTYPES[info.dtype]
        if 0 in tensor.shape or tensor.storage is None:
            return np.zeros(tensor.shape, dtype)
        try:
            self._archive.check(tensor.storage.key)
        except CheckpointError as e:
            raise CheckpointFileError(f"{e} (tensor {name!r})") from e
        # A step that is never taken may be of any length.
        steps = zip(tensor.strides, tensor.shape, strict=True)
        strides = [step * dtype.itemsize if size > 1 else 0 for step, size in steps]
        array: np.ndarray = np.ndarray(
            tensor.shape, dtype, self._file.bytes, self._begins[name], strides
        )
        array = array.conj() if tensor.conjugate else array
        return np.negative(array) if tensor.negative else array

    def release(self, name: str) -> None:
        """Drop the mapped pages of a tensor that has been copied out."""
        begin = self._begins[name]
        tensor = self._tensors[name]
        size = DTYPES[self.shard.tensors[name].dtype].itemsize
        self._file.release(begin, begin + (tensor.extent - tensor.offset) * size)

    def close(self) -> None:
        self._file.close()


def plain(value: Any) -> Mapping[str, Any]:
    """Return the fields of a dictionary that have names; {} for anything else."""
    found = value if isinstance(value, Mapping) else {}
    return {name: inner for name, inner in found.items() if is_text(name)}
