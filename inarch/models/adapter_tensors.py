"""`adapter_model.safetensors`: the tensors of an adapter, each accounted for."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from inarch.checkpoints.formats.files import SafetensorsFile
from inarch.checkpoints.io import hub
from inarch.errors import CheckpointFileError, WeightMapError
from inarch.models.adapter_config import CONFIG, WEIGHTS
from inarch.paths import resolve_inside
from inarch.validation import listed

PREFIX = "base_model.model."


def open_adapter(preset: str | os.PathLike) -> tuple[Path, dict[str, np.ndarray]]:
    """Return the folder of an adapter, fetched from the hub if need be, and its tensors.

    Raises:
        PresetError: `preset` leads nowhere.
        CheckpointFileError: there is no such file, or it is damaged.
    """
    folder = hub.resolve(preset, {}, names=(CONFIG, WEIGHTS))
    path = resolve_inside(folder, WEIGHTS)
    if not path.is_file():
        raise CheckpointFileError(
            f"{folder} has no {WEIGHTS}, so it holds no adapter that is read here; save it with "
            "PEFT's save_pretrained, which writes safetensors"
        )
    file = SafetensorsFile(path)
    try:
        return folder, {name: np.array(file.read(name)) for name in file.shard.tensors}
    finally:
        file.close()


class LoadedUpdate:
    """Tensors of an adapter by the names of the reference's class that a model has.

    The class with a head has a prefix before the names of its backbone's modules, which the
    backbone alone has not: an adapter of either fits both.

    Args:
        folder: of the adapter.
        tensors: by their names in the file.
        prefix: of the backbone in a class with a head.
        names: of the modules and tensors of the model.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, np.ndarray],
        prefix: str,
        names: Collection[str],
    ):
        self.folder = folder
        self._tensors = dict(tensors)
        self._prefix = prefix
        self._has_prefix = any(name.startswith(prefix) for name in names)

    def _take(self, name: str) -> np.ndarray | None:
        """Return a tensor by its name in the class that the model has, or in the other one."""
        bare = name.removeprefix(PREFIX)
        other = self._prefix + bare
        if self._has_prefix:
            other = bare.removeprefix(self._prefix)
        for spelled in (name, PREFIX + other):
            if spelled in self._tensors:
                return self._tensors.pop(spelled)
        return None

    def whole(self, name: str) -> np.ndarray | None:
        """Return a tensor that was trained whole, or None."""
        return self._take(name)

    def factors(
        self, names: Sequence[str], is_required: bool
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the two factors of a module's update; None where it has none.

        Raises:
            WeightMapError: one of the two is missing, or both of a module that must have them; or
                they aren't matrices of one rank.
        """
        a, b = (self._take(name) for name in names)
        missing = [n for n, found in zip(names, (a, b), strict=True) if found is None]
        if len(missing) == 1 or (missing and is_required):
            raise WeightMapError(
                f"{self.folder / WEIGHTS} lacks {', '.join(missing)}, which {CONFIG} has among its "
                "target_modules; fetch the adapter again"
            )
        if a is None or b is None:
            return None
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
            raise WeightMapError(
                f"{self.folder / WEIGHTS}: {' and '.join(names)} have shapes {a.shape} and "
                f"{b.shape}, which aren't two factors of one rank; fetch the adapter again"
            )
        return a.astype(np.float32), b.astype(np.float32)

    def refuse_rest(self, modules: Collection[str]) -> None:
        """Raise WeightMapError where tensors are left that belong to nothing of the model."""
        if self._tensors:
            known = sorted({name.rpartition(".")[2] for name in modules})
            raise WeightMapError(
                f"{self.folder / WEIGHTS} has tensors that belong to no layer of the model: "
                f"{listed(sorted(self._tensors), 4)}; its modules are {listed(known)}. Load the "
                "adapter into the architecture and task that it was trained on"
            )
