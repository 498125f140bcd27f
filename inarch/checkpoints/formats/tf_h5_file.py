"""`tf_model.h5`, the weights of transformers' former TensorFlow classes, for reading.

Keras 2 wrote it (`save_weights`): the root's attribute `layer_names` names groups, whose attribute
`weight_names` names datasets. The names are turned into those of the PyTorch classes as
transformers 4 did it (modeling_tf_pytorch_utils.py, `convert_tf_weight_name_to_pt_weight_name`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.weights import CODES, DTYPES, Shard, TensorInfo
from inarch.errors import CheckpointFileError
from inarch.files import POINTER, refuse_pointer
from inarch.json_fields import is_shape
from inarch.validation import shown

LAST_NAMES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def torch_name(name: str) -> str:
    """Return the name of the PyTorch tensor of a TensorFlow variable."""
    name = name.removesuffix(":0")
    name = re.sub(r"/[^/]*___([^/]*)/", r"/\1/", name)  # a prefix that keeps names apart
    parts = re.sub(r"//+", "/", name.replace("_._", "/")).split("/")
    parts = parts[1:] if len(parts) > 1 else parts  # the model's own name
    return ".".join([*parts[:-1], LAST_NAMES.get(parts[-1], parts[-1])])


class TensorFlowH5File:
    """A `tf_model.h5` as the tensors of the PyTorch class of the same model.

    A kernel is transposed, as that class has it; everything else is as it is stored.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open("rb") as file:
                refuse_pointer(path, file.read(len(POINTER)))
        except OSError as e:
            raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e
        import h5py  # comes with Keras

        self._h5py = h5py
        with self._naming_file():
            self._file = h5py.File(path, "r")
            found = dict(self._tensors())
        self._places = {name: (place, kernel) for name, (place, kernel, _) in found.items()}
        self.shard = Shard(path.name, {name: info for name, (_, _, info) in found.items()})

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        """Name the file in every error of h5py, which has no error class."""
        try:
            yield
        except CheckpointFileError:
            raise
        except Exception as e:
            cause = (str(e).splitlines() or [type(e).__name__])[0]
            raise CheckpointFileError(
                f"{self.path} can't be read as HDF5 ({cause}); it "
                "may be truncated or damaged: fetch it again"
            ) from e

    def _tensors(self) -> Iterator[tuple[str, tuple[str, bool, TensorInfo]]]:
        seen: set[str] = set()
        for layer in self._names(self._file, "layer_names"):
            group = self._member(self._file, layer)
            for weight in self._names(group, "weight_names"):
                data = self._member(group, weight)
                name = torch_name(weight)
                if name in seen:
                    raise CheckpointFileError(f"{self.path} has two tensors {shown(name)}")
                seen.add(name)
                kernel = weight.removesuffix(":0").endswith("/kernel") and data.ndim > 1
                shape = tuple(reversed(data.shape)) if kernel else tuple(data.shape)
                info = TensorInfo(self._code(data), shape)
                yield name, (f"{layer}/{weight}", kernel, info)

    def _names(self, group: Any, attribute: str) -> list[str]:
        """Return the names in an attribute; long lists are split into several, numbered from 0."""
        parts = [group.attrs[attribute]] if attribute in group.attrs else []
        while not parts or attribute not in group.attrs:
            part = group.attrs.get(f"{attribute}{len(parts)}")
            if part is None:
                break
            parts.append(part)
        if not parts:
            raise CheckpointFileError(
                f"{self.path} has no attribute {attribute!r}, so it isn't what Keras 2 wrote as "
                "the weights of a model of transformers"
            )
        names = [name for part in parts for name in np.ravel(part)]
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names]

    def _member(self, group: Any, name: str) -> Any:
        """Return a member of a group, by links within the file alone."""
        for part in name.split("/"):
            link = group.get(part, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise CheckpointFileError(
                    f"{self.path} names {shown(name)}, which isn't in the file"
                )
            group = group[part]
        return group

    def _code(self, data: Any) -> str:
        """Return the dtype of a dataset whose bytes are stored as they are."""
        if not isinstance(data, self._h5py.Dataset) or data.dtype not in CODES:
            raise CheckpointFileError(
                f"{self.path}: {shown(data.name)} isn't a tensor of a known dtype"
            )
        if data.is_virtual or data.external or data.id.get_storage_size() != data.nbytes:
            raise CheckpointFileError(
                f"{self.path}: the numbers of {shown(data.name)} aren't stored in the file as they "
                "are; write it again without compression, by Keras's save_weights"
            )
        if not is_shape(data.shape):
            raise CheckpointFileError(
                f"{self.path}: {shown(data.name)} has the shape {shown(data.shape)}; fetch the "
                "file again"
            )
        return CODES[data.dtype]

    def read(self, name: str) -> np.ndarray:
        place, kernel = self._places[name]
        with self._naming_file():
            data = self._file[place]
            stored = np.asarray(data[()], DTYPES[self.shard.tensors[name].dtype])
        return np.ascontiguousarray(stored.T) if kernel else stored

    def release(self, name: str) -> None:
        """Do nothing: every reading is a copy."""

    def close(self) -> None:
        self._file.close()
