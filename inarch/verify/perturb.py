"""Weights of order one, so that nothing hides.

At the usual initial scale of 0.02 attention is nearly uniform, biases are 0 and gammas are 1: a
bias that is never loaded, two norms swapped, even attention replaced by its values then change
next to nothing. Trained checkpoints need no perturbation.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import keras
import numpy as np

from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.weights import DTYPES, Shard
from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.plan import match
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables


def perturbed(
    rules: Iterable[Rule], shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, np.ndarray]:
    """Random float32 values for every tensor that `rules` map.

    Kernels keep the scale of what passes through them; embeddings, biases, gammas and betas are of
    order one.
    """
    return {
        name: random_values(name, rule.ours[0], shapes[name], seed)
        for rule in rules
        for name in rule.theirs
    }


def random_values(name: str, ours: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return random float32 values for a tensor.

    Args:
        name: of the tensor, which the values depend on.
        ours: its variable, whose last part says what it is: a `gamma`, `embeddings`, or else.
        shape: of the tensor.
    """
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    noise = random.standard_normal(shape)
    if ours.endswith("gamma"):
        noise = 1 + 0.3 * noise
    elif ours.endswith("embeddings"):
        pass
    elif len(shape) > 1:
        noise = noise / sqrt(shape[-1])
    else:
        noise = 0.5 * noise
    return noise.astype("float32")


def perturb_checkpoint(
    checkpoint: Checkpoint, model: keras.Model, head: str | None, folder: Path, seed: int = 0
) -> None:
    """Write a perturbed copy of a checkpoint, in its own format, into an existing folder.

    Args:
        model: ours for the checkpoint, and the `head` that it has; read for its structure.
    """
    header = checkpoint.weights.header
    ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
    arguments = getattr(model, "backbone", model).arguments
    where = str(checkpoint.folder)
    plan = match(
        checkpoint.source, header, ours, arguments, head, checkpoint.tie_word_embeddings, where
    )
    fresh = perturbed(plan.rules, {n: info.shape for n, info in header.items()}, seed)

    def value(name: str) -> np.ndarray:
        name = plan.ties.get(name, name)
        dtype = DTYPES[header[name].dtype]
        return fresh[name].astype(dtype) if name in fresh else checkpoint.weights.read(name)

    shard = Shard("model.safetensors", dict(header), {"format": "pt"})
    files.write_safetensors(folder / shard.filename, shard, value)
    (folder / "config.json").write_text(checkpoint.config_text, "utf-8")


def untrained(model: keras.Model) -> bool:
    """Return whether every normalization still has its initial values, as without any training."""
    norms = {n: v for n, v in named_variables(model).items() if n.endswith(("gamma", "beta"))}
    values = [(n, keras.ops.convert_to_numpy(v)) for n, v in norms.items()]
    return bool(values) and all((v == n.endswith("gamma")).all() for n, v in values)
