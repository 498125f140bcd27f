"""Export in a process of its own, whose Keras backend is the one that writes the format.

KERAS_BACKEND=torch python -m inarch.models.export_process ARCHIVE PATH FORMAT OPTIONS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

import inarch
from inarch.errors import InputError
from inarch.models.serving import WRITERS
from inarch.models.variables import copy_model


def export_by(backend: str, model: keras.Model, path: Path, format: str, **options: Any) -> None:
    """Export the graph of `model` as `exporting.write_graph` does, by another Keras backend.

    Args:
        backend: which is installed.
        options: of the writer; plain JSON.

    Raises:
        InputError: the process fails, such as for a layer of a class that isn't importable; with
            the end of what it wrote.
    """
    package = str(Path(inarch.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "",  # a graph is traced on the processor
    }
    with tempfile.TemporaryDirectory(prefix="inarch-export-") as folder:
        archive = Path(folder) / "graph.keras"
        _saved(model).save(archive)
        run = (
            "import sys; from inarch.backend import import_keras; import_keras(); "
            f"from {__name__} import main; main(*sys.argv[1:])"
        )
        given = [str(archive), str(path), format, json.dumps(options)]
        done = subprocess.run(
            [sys.executable, "-c", run, *given],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-3:]
        raise InputError(
            f"{type(model).__name__} can't be exported as {format} by Keras's backend {backend}, "
            f"in a process of its own: {' '.join(last) or f'exit code {done.returncode}'}. Layers "
            "and classes of your own must be importable there; or run your program with "
            f"KERAS_BACKEND={backend}"
        )


def _saved(model: keras.Model) -> keras.Model:
    """Return what is saved of a model, without what it was compiled with, such as a loss.

    In a graph that is loaded, a layer that is used by itself and within another one is two layers,
    such as the tokens' table of a language model. Our classes make them one, so a model of theirs
    is copied; of others, which may not be importable, the graph alone is saved.
    """
    if type(model).__module__.partition(".")[0] != inarch.__name__:
        return keras.Model(model.input, model.output)
    return copy_model(model)


def main(archive: str, path: str, format: str, options: str) -> None:
    """Load the graph, and write it."""
    from inarch import Backbone  # noqa: F401  (by which Keras comes to know every class)

    graph: Any = keras.saving.load_model(archive, compile=False)
    given: Mapping[str, Any] = json.loads(options)
    WRITERS[format](graph, Path(path), **given)
