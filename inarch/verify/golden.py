"""Golden files: a tiny perturbed reference and what it computes, in one safetensors file.

With it an architecture is verified without torch or transformers. The file has the weights in the
reference's format, the inputs, float64 values at every place that both models have in common, and
their distance from the reference's float32.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.files import SafetensorsFile
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.checkpoints.maps.plan import match
from inarch.checkpoints.maps.source import Source
from inarch.errors import CheckpointFileError, ConfigError
from inarch.json_fields import object_in
from inarch.models.loading import Checkpoint
from inarch.models.registry import Architecture
from inarch.verify import transformers_reference
from inarch.verify.config_reads import ConfigReads, record_reads
from inarch.verify.coverage import tables_of
from inarch.verify.inputs import covering_inputs, make_inputs, reference_inputs
from inarch.verify.perturb import perturbed
from inarch.verify.reference import Reference, TappedTensor
from inarch.verify.tiny_reference import tiny_reference

FORMAT = "inarch golden 2"
LIMIT = 300_000

ROWS = (11, 7, 3)
# Significant digits of the distance that float32 keeps.
DIGITS = 5


@dataclass(frozen=True)
class Golden:
    """The content of a golden file.

    Attributes:
        config_text: the reference's config.json; it leaves out what the reference has a default
            for, so that the defaults take part, but for what published checkpoints set otherwise.
        weights: the reference's tensors, in its own format.
        runs: what the reference computes, by the name of its head; `""` is the bare backbone.
        covering: what the bare backbone computes of inputs that reach every row of its tables: its
            outputs, and those of layers that have a table.
        defaults: the reference's own default for every field of its config.
        about: versions of what computed it.
        reads: the fields of its config that the reference's code reads.
    """

    config_text: str
    weights: Mapping[str, np.ndarray]
    runs: Mapping[str, Reference]
    covering: Reference
    defaults: Mapping[str, Any]
    about: Mapping[str, str]
    reads: ConfigReads

    @property
    def model_type(self) -> str:
        """The model type of the reference."""
        return json.loads(self.config_text)["model_type"]

    def unpack(self, folder: Path) -> None:
        """Write the checkpoint into an existing folder, as the reference would have saved it."""
        (folder / "config.json").write_text(self.config_text, "utf-8")
        _write_weights(folder, self.weights)

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            CheckpointFileError: it can't be written, or would be too large to be kept with code.
        """
        arrays = {f"weights/{name}": value for name, value in self.weights.items()}
        stored: dict[str, str] = {}
        runs = {head: _packed(run, "inputs", arrays, stored) for head, run in self.runs.items()}
        # Files of before `failed` was known haven't any, and stay byte for byte what they are.
        reads = {name: v for name, v in vars(self.reads).items() if v or name != "failed"}
        metadata = {
            "format": FORMAT,
            "config": self.config_text,
            "defaults": json.dumps(self.defaults),
            "runs": _compact(runs),
            "about": json.dumps(self.about),
            "reads": _compact(reads),
            "covering": _compact(_packed(self.covering, "covering", arrays, stored)),
        }
        header = {n: TensorInfo(CODES[a.dtype], a.shape) for n, a in arrays.items()}
        shard = Shard(path.name, header, metadata)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".golden.", dir=path.parent) as folder:
                fresh = Path(folder) / path.name
                files.write_safetensors(fresh, shard, arrays.__getitem__)
                size = fresh.stat().st_size
                if size > LIMIT:
                    raise CheckpointFileError(
                        f"{path} would have {size:,} bytes, of {LIMIT:,} allowed"
                    )
                fresh.replace(path)
        except CheckpointFileError:
            raise
        except OSError as e:
            raise CheckpointFileError(f"{path} can't be written: {e.strerror or e}") from e

    @classmethod
    def read(cls, path: Path) -> Golden:
        """Read a golden file.

        Raises:
            CheckpointFileError: it isn't there, isn't one, or is damaged.
        """
        file = SafetensorsFile(path)
        metadata = file.shard.metadata or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointFileError(
                f"{path} is no golden file of this version (it says {metadata.get('format')!r}); "
                "write it anew with `inarch verify --golden`"
            )
        arrays = {name: np.array(file.read(name)) for name in file.shard.tensors}
        file.close()
        try:
            return cls._parsed(metadata, arrays)
        except (KeyError, ValueError, TypeError) as e:
            raise CheckpointFileError(f"{path} is a damaged golden file: {e!r}") from e

    @classmethod
    def _parsed(cls, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> Golden:
        weights = {
            n.removeprefix("weights/"): a for n, a in arrays.items() if n.startswith("weights/")
        }
        wide = {name: value.astype("float64") for name, value in weights.items()}
        runs = {
            head: _unpacked(run, "inputs", arrays, wide)
            for head, run in _object(metadata["runs"]).items()
        }
        covering = _unpacked(_object(metadata["covering"]), "covering", arrays, wide)
        if "" not in runs:
            raise ValueError("no run of the backbone")
        if not isinstance(_object(metadata["config"]).get("model_type"), str):
            raise ValueError("its config has no model_type")
        defaults, about = _object(metadata["defaults"]), _object(metadata["about"])
        reads = ConfigReads(**_object(metadata["reads"]))
        return cls(metadata["config"], weights, runs, covering, defaults, about, reads)


def _packed(
    run: Reference, folder: str, arrays: dict[str, np.ndarray], stored: dict[str, str]
) -> dict[str, Any]:
    """Return a run as plain values; its arrays go to `arrays`, equal ones once."""
    arrays |= {f"{folder}/{name}": value for name, value in run.inputs.items()}
    rows = []
    for tensor in run.tensors:
        name = stored.setdefault(_digest(tensor.value), f"values/{len(stored)}")
        arrays[name] = tensor.value
        noise = (float(f"{n:.{DIGITS}g}") for n in (tensor.noise, tensor.local_noise))
        rows.append([*tensor.tap, tensor.module, name, *noise])
    return {"taps": rows, "inputs": [*run.inputs], "about": run.about}


def _unpacked(
    run: Mapping[str, Any],
    folder: str,
    arrays: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
) -> Reference:
    tensors = tuple(
        TappedTensor((layer, call, role), module, arrays[name], float(noise), float(local))
        for layer, call, role, module, name, noise, local in run["taps"]
    )
    inputs = {name: arrays[f"{folder}/{name}"] for name in run["inputs"]}
    return Reference(inputs, tensors, weights, run["about"])


def make_golden(
    architecture: Architecture,
    heads: Iterable[str],
    build: Callable[[Checkpoint, str | None], keras.Model],
    seed: int = 0,
) -> Golden:
    """Have transformers make the tiny model of an architecture, perturb it and run it.

    Args:
        heads: names of the heads to run besides the bare backbone.
        build: our model for an opened checkpoint and a head, with its weights.

    Raises:
        MissingExtraError, ReferenceModelError: as `reference_of`.
    """
    torch, transformers = transformers_reference.libraries()
    source = architecture.sources[0]
    chosen = [head for head in heads if head in source.heads]
    tiny = tiny_reference(architecture)
    theirs, defaults = tiny.config, tiny.usual.to_json_string(False)
    weights = _weights(source, theirs, chosen, transformers, seed)
    text = json.dumps(tiny.fields, indent=2) + "\n"
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(text, "utf-8")
        _write_weights(Path(folder), weights)
        for head in (None, *chosen):
            with Checkpoint(folder) as checkpoint:
                model = build(checkpoint, head)
                inputs = make_inputs(model, seed, ROWS)
                run = transformers_reference.reference_of(checkpoint, model, head, inputs)
            kind = {"reference class": run.about["reference class"]}
            runs[head or ""] = replace(run, weights={}, about=kind)
        covering = _covering(Path(folder), build, runs[""].inputs, seed)
    about = {"transformers": transformers.__version__, "torch": torch.__version__}
    theirs_inputs = {
        head: reference_inputs(run.inputs, architecture.inputs) for head, run in runs.items()
    }
    reads = record_reads(source, theirs, theirs_inputs, torch, transformers)
    return Golden(text, weights, runs, covering, json.loads(defaults), about, reads)


def _covering(
    folder: Path,
    build: Callable[[Checkpoint, str | None], keras.Model],
    inputs: Mapping[str, np.ndarray],
    seed: int,
) -> Reference:
    """Return the run that shows the rows of tables which `inputs` leave out."""
    with Checkpoint(folder) as checkpoint:
        model = build(checkpoint, None)
        run = transformers_reference.reference_of(
            checkpoint, model, None, covering_inputs(model, inputs, seed)
        )
    tables = {name.rpartition("/")[0] for name in tables_of(model)}
    # A bias for each pair of tokens is larger than all else together.
    # Between the tables and the outputs no layer is given the reference's values.
    kept = [replace(t, local_noise=t.noise) for t in run.tensors if not t.tap[0]]
    kept[:0] = [t for t in run.tensors if t.tap[0] in tables and t.value.ndim < 4]
    return replace(run, tensors=tuple(kept), weights={}, about={})


def _weights(
    source: Source, config: Any, heads: list[str], transformers: Any, seed: int
) -> dict[str, np.ndarray]:
    """Return perturbed values for every tensor of the backbone and of the heads.

    Names are those of the files that the reference writes, older spellings included.
    """
    base = transformers.AutoModel.from_config(config)
    prefix = source.prefix if heads else ""
    held = transformers_reference.file_tensors(base)
    shapes = {prefix + n: tuple(t.shape) for n, t in held.items()}
    for head in heads:
        whole = transformers_reference.reference_class(source, head, transformers)(config)
        held = transformers_reference.file_tensors(whole)
        shapes |= {n: tuple(t.shape) for n, t in held.items()}
    # The arguments say how many layers there are, and which optional parts.
    arguments = source.arguments(config.to_dict(), shapes)
    found: dict[str, np.ndarray] = {}
    tie = source.ties_embeddings(config.to_dict(), shapes)
    header = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    for head in heads or [""]:
        plan = match(source, header, None, arguments, head or None, tie, "the reference")
        found |= perturbed(plan.rules, shapes, seed)
    return found


def _write_weights(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    header = {name: TensorInfo(CODES[a.dtype], a.shape) for name, a in weights.items()}
    shard = Shard("model.safetensors", header, {"format": "pt"})
    files.write_safetensors(folder / shard.filename, shard, weights.__getitem__)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _object(text: str) -> dict[str, Any]:
    return object_in(text, "its metadata", ConfigError)
