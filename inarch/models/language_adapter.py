"""A language's adapter in place of the one that a checkpoint's weights hold, as MMS has them.

A file `adapter.{language}.safetensors` has the adapters of all layers, and a head of as many tokens
as the language has. Source: Pratap et al., 2023, arXiv:2305.13516; transformers,
models/wav2vec2/modeling_wav2vec2.py, `load_adapter`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from inarch.checkpoints.formats.files import SafetensorsFile
from inarch.checkpoints.formats.weights import TensorInfo, Weights
from inarch.checkpoints.io import hub
from inarch.errors import CheckpointFileError, InputError, WeightMapError
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name, resolve_inside
from inarch.validation import listed, shown

FILE = "adapter.{}.safetensors"


def choose_language(checkpoint: Checkpoint, head: str, language: str) -> None:
    """Put a language's adapters and head in place of those among a checkpoint's weights.

    Args:
        checkpoint: an opened checkpoint; of one from the hub the file is fetched.
        head: name of the head that comes with a language.
        language: as the file is named, such as "fra".

    Raises:
        InputError: `language` is no name, or the checkpoint has no adapters.
        CheckpointFileError: there is no adapter of the language, or its file is damaged.
        WeightMapError: its tensors aren't those of the model.
    """
    if not isinstance(language, str) or not re.fullmatch(r"[\w-]+", language):
        raise InputError(f"language={shown(language)}. Give the name of a language, such as 'fra'.")
    if not checkpoint.arguments().get("adapter_dim"):
        raise InputError(
            f"language={language!r}, and {checkpoint.folder} has no adapters for languages; leave "
            "it out"
        )
    adapter = SafetensorsFile(_path_of(checkpoint.folder, language))
    try:
        head_names = [n for e in checkpoint.source.heads[head].weights for n in e.theirs]
        _check(adapter, checkpoint.weights, head_names)
        tensors = adapter.shard.tensors
        checkpoint.set_fields({"vocab_size": tensors[head_names[0]].shape[0]})
    except BaseException:
        adapter.close()
        raise
    checkpoint.weights.substitute(tensors, adapter)
    checkpoint.language = language


def _path_of(folder: Path, language: str) -> Path:
    """Return the path of a language's adapter, fetched where the folder is of the hub's cache."""
    name = check_file_name(FILE.format(language), "the name of an adapter", plain=True)
    path = resolve_inside(folder, name, plain=True)
    repository = hub.repository_of(folder)
    if not path.is_file() and repository:
        hub.resolve(f"{repository}@{folder.name}", {}, names=(name,))
    if not path.is_file():
        found = sorted(p.name.split(".")[1] for p in folder.glob(FILE.format("*")))
        raise CheckpointFileError(
            f"language={language!r}, and {folder} has no {name}; it has adapters of "
            f"{listed(found) if found else 'no language'}"
        )
    return path


def _check(adapter: SafetensorsFile, weights: Weights, head: Collection[str]) -> None:
    """Raise WeightMapError where an adapter's tensors aren't those that they are in place of."""
    given = adapter.shard.tensors
    kinds = {re.sub(r"\d+", "{}", name) for name in given} | {*head}
    wanted = {n: i for n, i in weights.header.items() if re.sub(r"\d+", "{}", n) in kinds}
    problems = {
        "missing": sorted({*wanted, *head} - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(
            name
            for name in given.keys() & wanted.keys()
            if _shape(given[name], name in head) != _shape(wanted[name], name in head)
        ),
    }
    if any(problems.values()):
        lines = [f"\n  {what}: {listed(names)}" for what, names in problems.items() if names]
        raise WeightMapError(
            f"{adapter.path} isn't an adapter of the model's layers:{''.join(lines)}"
        )


def _shape(info: TensorInfo, is_of_head: bool) -> tuple[int, ...]:
    """Return the shape that must be equal: of a head all but the number of tokens."""
    return info.shape[1:] if is_of_head else info.shape
