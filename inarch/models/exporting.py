"""Exports of models for other runtimes, compared with Keras before they are called done."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.io.flush import flush_made, sync
from inarch.errors import CheckpointFileError, InputError, MissingExtraError
from inarch.models import serving
from inarch.models.export_process import export_by
from inarch.models.registry import inputs_of
from inarch.runtime.forward import compiled
from inarch.runtime.sessions import Run, import_extra, open_graph

# Largest difference from Keras, as a share of the largest output: some rounding of float32 in deep
# models, and of ONNX Runtime's Fourier transform.
TOLERANCE = 1e-4

# Positions of the rows that a graph of ONNX is traced with.
SAMPLE_POSITIONS = 7

# Rows of the longest comparison have at most so many tokens.
LONGEST = 40


@dataclass(frozen=True)
class Format:
    """Format of an exported graph.

    Attributes:
        file: its name in a folder; None where the format is a folder.
        backends: Keras backends that write it, of which the first does where it isn't the own one.
        package: what compares it with Keras.
        extra: of this library, which has all that writes and runs it.
        keeps_dtypes: whether what computes it has the 16 bits of Keras on every processor.
    """

    file: str | None
    backends: tuple[str, ...]
    package: str
    extra: str
    keeps_dtypes: bool = False


FORMATS = {
    "onnx": Format("model.onnx", ("torch",), "onnxruntime", "onnx"),
    "openvino": Format("openvino_model.xml", ("openvino",), "openvino", "openvino"),
    "saved_model": Format(None, ("tensorflow", "jax"), "tensorflow", "tensorflow", True),
}


def export(model: Any, target: str | os.PathLike, format: str, **options: Any) -> None:
    """Write a model's graph, if it computes what Keras computes; see `Model.export`."""
    known = FORMATS[format]
    path = Path(target).absolute()
    is_file = known.file is not None and path.suffix == Path(known.file).suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".inarch-export-", dir=path.parent) as folder:
            fresh = Path(folder) / "export"
            name = path.name if is_file else known.file
            if name is not None:
                fresh.mkdir()
            written = fresh if name is None else fresh / name
            open_checked(model, written, format, **options)
            graph = "saved_model.pb" if name is None else name
            _publish(fresh, path.parent if is_file else path, graph)
    except OSError as e:
        if isinstance(e, CheckpointFileError):
            raise
        raise CheckpointFileError(f"{path} can't be written: {e.strerror or e}") from e


def open_checked(model: Any, path: Path, format: str, below: Any = None, **options: Any) -> Run:
    """Write the graph of a model, and return it opened, compared with Keras.

    Args:
        model: a functional model whose inputs have names.
        path: the file, or the folder of a SavedModel, in a folder that is there.
        below: the backbone of the model; its own where not given.
        options: of the format's writer.

    Raises:
        MissingExtraError: what writes the format isn't installed, or what runs it.
        InputError: it can't be written, or differs from Keras, or computes in 16 bits.
    """
    below = below or getattr(model, "backbone", model)
    known = FORMATS[format]
    if not known.keeps_dtypes and (dtype := below.compute_dtype) != "float32":
        raise InputError(
            f"{format} is written in float32, and {model.name} computes in {dtype}; load it with "
            "dtype='float32' and export that"
        )
    import_extra(known.package, known.extra)
    options["limits"] = dict(below.axis_limits)
    if format == "onnx":
        options["sample_length"] = below.row_length(SAMPLE_POSITIONS)
    own, other = keras.backend.backend(), known.backends[0]
    if own in known.backends:
        serving.WRITERS[format](model, path, **options)
    elif importlib.util.find_spec(other) is None:
        raise MissingExtraError(
            f"{other} is needed to export as {format}, and isn't installed: pip install "
            f"'inarch[{','.join(dict.fromkeys([other, known.extra]))}]'"
        )
    else:
        export_by(other, model, path, format, **options)
    run = open_graph(path, format)
    _compare(model, below, run, format)
    return run


def _compare(model: Any, below: Any, run: Run, format: str) -> None:
    """Raise InputError where a graph differs from Keras on rows of three shapes."""
    call = compiled(model)
    for inputs in _samples(model, below):
        ours = [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(call(inputs))]
        theirs = run(inputs)
        sizes = next(x.shape[:2] for x in inputs.values())
        for expected, found in zip(ours, theirs, strict=True):
            if expected.shape != found.shape:
                raise InputError(
                    f"the {format} graph of {type(model).__name__} gives an output of shape "
                    f"{found.shape} where Keras gives {expected.shape}, for inputs of {sizes}; "
                    "nothing is written. Export it from another Keras backend"
                )
            error = np.abs(found.astype("float64") - expected).max(initial=0)
            largest = np.abs(expected).max(initial=0)
            if not error <= TOLERANCE * largest:
                raise InputError(
                    f"the {format} graph of {type(model).__name__} differs from Keras by "
                    f"{error:.2g} in outputs of up to {largest:.2g}, for inputs of {sizes}, where "
                    f"{TOLERANCE * largest:.2g} is rounding; nothing is written. Export it from "
                    "another Keras backend"
                )


def _samples(model: Any, below: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yield inputs of three shapes: one token, rows with padding, and rows of several sequences."""
    limits = below.axis_limits
    longest = min(limits.get("length", LONGEST), LONGEST)
    parts = [[longest // 2, longest // 4, 1], [longest]]
    is_packed = below.packs_sequences and not below.padding_affects_output
    if not is_packed or any(sum(row) > longest for row in parts):
        parts = [[longest], [1]]
    for seed, rows in enumerate(([[1]], [[min(5, longest)], [2], [1]], parts)):
        yield _sample(model, below, rows, np.random.default_rng(seed))


def _sample(
    model: Any, below: Any, rows: Sequence[Sequence[int]], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return random inputs for rows of sequences of these lengths, in positions."""
    declared, arguments = inputs_of(type(below)), below.arguments
    rows = [[*map(below.row_length, lengths)] for lengths in rows]
    mask = np.zeros((len(rows), max(map(sum, rows))), np.int32)
    for row, lengths in enumerate(rows):
        ids = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        mask[row, : len(ids)] = ids
    found = {}
    for name, axes in serving.axis_names(model).items():
        dtype, known = model.input[name].dtype, declared.get(name)
        if "int" not in dtype and len(axes) == 2:
            found[name] = (random.standard_normal(mask.shape) * mask).astype(dtype)
        elif "int" not in dtype:
            sizes = [below.axis_limits.get(str(axis), axis) for axis in axes[1:]]
            found[name] = random.standard_normal([len(rows), *sizes]).astype(dtype)
        elif "mask" in name if known is None else known.rows is None:
            found[name] = mask
        else:
            count = known.value_count(arguments) if known else 2
            # A decoder's own number of tokens, which is the encoder's where it isn't given.
            count = arguments["vocabulary_size"] if count is None else max(count, 1)
            found[name] = (random.integers(0, count, mask.shape) * (mask > 0)).astype(dtype)
    return found


def _publish(fresh: Path, target: Path, graph: str) -> None:
    """Give what is written its place in a folder, on disk; other files that are there stay.

    A new folder appears with one rename, and a file alone is replaced with one. Of several files
    the graph comes last, after the old one was removed, so that no graph is ever next to another
    one's weights; an export that is killed meanwhile leaves no graph.

    Args:
        fresh: the folder with what is written.
        target: the folder that it is for, which need not be there.
        graph: the file that is opened, and reads the others.
    """
    sync(fresh)
    if not target.exists():
        fresh.rename(target)
        flush_made(target.parent)
        return
    files = [path.relative_to(fresh) for path in sorted(fresh.rglob("*")) if path.is_file()]
    if len(files) > 1:
        (target / graph).unlink(missing_ok=True)
    for name in sorted(files, key=lambda name: name == Path(graph)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, target / name)
    for folder in {(target / name).parent for name in files}:
        flush_made(folder)
