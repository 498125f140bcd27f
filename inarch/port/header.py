"""Names and shapes of a checkpoint's tensors, and its config: no weight is read."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.files import HEADER_LIMIT, open_weights
from inarch.checkpoints.formats.weights import DTYPES, TensorInfo
from inarch.checkpoints.io.hub import fetch_headers, packaged
from inarch.checkpoints.io.other_formats import other_format
from inarch.errors import CheckpointFileError, ConfigError
from inarch.json_fields import is_shape, is_text, object_in, read_object
from inarch.models import registry
from inarch.validation import shown

# Parts of names of tensors that aren't a model's own, what such a file is, and what to do.
PARTIAL = (
    (".lora_A.", "an adapter alone", "Merge it into its model by peft (merge_and_unload)"),
    (".qweight.", "quantized", "Inspect the checkpoint that it was made from"),
    (".quant_state.", "quantized", "Inspect the checkpoint that it was made from"),
)  # fmt: skip

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "merges.txt", "vocab.json", "spiece.model",
    "tokenizer.model", "sentencepiece.bpe.model")  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Tensors and config of a checkpoint.

    Attributes:
        source: what was given.
        config: content of `config.json`.
        tensors: dtype and shape of each tensor, by name.
        tokenizer: `class` and `files` of the tokenizer in a folder.
    """

    source: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    tokenizer: Mapping[str, Any] = field(default_factory=dict)


def read_header(source: str | os.PathLike, config: str | os.PathLike | None = None) -> Header:
    """Return the header of a folder, a hub id, a built-in name or a file.

    A file is a safetensors file, of which the beginning is enough, or a JSON object from names to
    `{"dtype", "shape"}`, as safetensors' header has it. Of the hub, the headers are fetched alone.

    Args:
        source: what to read.
        config: the config's file; by default `config.json` next to the weights.

    Raises:
        PresetError: it leads nowhere.
        CheckpointFileError: it isn't safetensors or torch, or is damaged.
        ConfigError: there is no config, or it is no object.
    """
    text = os.fspath(source)
    preset = registry.presets().get(text)
    shipped = packaged(preset) if preset else None
    path = shipped or Path(text).expanduser()
    if path.is_file():
        tensors = _of_file(path)
        config = path.with_name("config.json") if config is None else config
    elif path.is_dir():
        with open_weights(path) as weights:
            tensors = dict(weights.header)
        config = path / "config.json" if config is None else config
    else:
        found, folder = fetch_headers(text, registry.presets())
        tensors = _parsed(found, text)
        config = folder / "config.json" if config is None else config
    if not tensors:
        raise CheckpointFileError(f"{text} has no tensors. Give the file or folder of a model")
    _check_whole(text, tensors)
    return Header(text, _config(Path(config)), tensors, _tokenizer(path))


def _tokenizer(folder: Path) -> dict[str, Any]:
    """Return the class and the files of a folder's tokenizer, as far as it has them."""
    if not folder.is_dir():
        return {}
    files = tuple(name for name in TOKENIZER_FILES if (folder / name).is_file())
    config = folder / "tokenizer_config.json"
    stated = read_object(config) if config.is_file() else {}
    return {"class": stated.get("tokenizer_class"), "files": files}


def _check_whole(source: str, tensors: Mapping[str, TensorInfo]) -> None:
    """Refuse what isn't the weights of a model by themselves."""
    for mark, kind, way_out in PARTIAL:
        if name := next((name for name in tensors if mark in f".{name}."), None):
            raise CheckpointFileError(f"{source} is {kind} (it has {shown(name)}). {way_out}")


def _config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path} isn't there. Give the config as --config FILE")
    found = read_object(path)
    quantized = found.get("quantization_config")
    if quantized:
        kind = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ConfigError(
            f"{path} is of a quantized checkpoint ({shown(kind)}), whose tensors are packed. "
            "Inspect the one that it was made from"
        )
    return found


def _of_file(path: Path) -> dict[str, TensorInfo]:
    if path.name.endswith(".index.json") or "-of-" in path.name:
        raise CheckpointFileError(
            f"{path} is a part of a checkpoint. Give the folder that it is in"
        )
    if path.suffix == ".json":
        return _parsed(read_object(path), path)
    if path.suffix != ".safetensors":
        known = other_format(path.name)
        meaning = f" is {known[0]}: {known[1]}" if known else " is neither safetensors nor JSON"
        raise CheckpointFileError(f"{path}{meaning}. Give a folder, a hub id or a safetensors file")
    with path.open("rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (HEADER_LIMIT + 1,)
        data = file.read(length) if length <= HEADER_LIMIT else b""
    if not data or len(data) != length:
        raise CheckpointFileError(f"{path} has no whole header of safetensors; fetch it again")
    return _parsed(object_in(data, f"the header of {path}"), path)


def _parsed(found: Mapping[str, Any], path: Path | str) -> dict[str, TensorInfo]:
    return {
        name: _tensor(name, entry, path) for name, entry in found.items() if name != "__metadata__"
    }


def _tensor(name: Any, entry: Any, path: Path | str) -> TensorInfo:
    known = isinstance(entry, dict) and is_text(name)
    dtype, shape = (entry.get(key) for key in ("dtype", "shape")) if known else (None, None)
    if not isinstance(dtype, str) or dtype not in DTYPES or shape is None or not is_shape(shape):
        raise CheckpointFileError(
            f"{path}: tensor {shown(name)} is {shown(entry)}; it must be "
            '{"dtype": "F32", "shape": [...]}, as in the header of a safetensors file'
        )
    return TensorInfo(dtype, tuple(shape))
