"""Certificates made of a golden file and, where there is one, a checkpoint."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from inarch.errors import CheckpointError, InputError
from inarch.files import sha256
from inarch.models.loading import Checkpoint
from inarch.models.registry import Architecture
from inarch.verify.certificate import (
    Certificate,
    digests_of,
    noise_of,
    rounded,
)
from inarch.verify.compare import verify
from inarch.verify.faults import layer_trials
from inarch.verify.faults.fault import Subject, Trial
from inarch.verify.golden import Golden
from inarch.verify.report import Report
from inarch.verify.report_text import headline
from inarch.version import __version__
from inarch.workflows import presets
from inarch.workflows.verification import build, verify_golden

Progress = Callable[[str], Any]
# Files of a checkpoint that its model is made of, besides the weights.
CONFIGS = ("config.json",)


def certify(
    golden: str | os.PathLike,
    preset: str | os.PathLike | None = None,
    *,
    most_faults: int | None = None,
    progress: Progress = lambda step: None,
) -> Certificate:
    """Compute the certificate of an architecture by its golden file, and of a checkpoint of it.

    Args:
        golden: the golden file.
        preset: a checkpoint of the architecture, whose map is proven and whose files are named by
            their digests, if the certificate is to be of one.
        most_faults: so many of the kinds of faults are tried, evenly spread; all by default.
        progress: called with each step before it begins.

    Raises:
        CheckpointFileError: a file isn't there, or is damaged.
        ConfigError, WeightMapError: the checkpoint can't be loaded.
        CheckpointError: the model doesn't compute what the reference does, or a fault isn't caught.
        InputError: the checkpoint is of another architecture.
    """
    path = Path(golden)
    progress("the verification")
    report = verify_golden(path)
    if not report.passed:
        raise CheckpointError(f"{path} isn't what ours computes: {headline(report)}")
    return compute(path, report, preset, most_faults, None, progress)


def compute(
    path: Path,
    report: Report,
    preset: str | os.PathLike | None,
    most_faults: int | None,
    names: Sequence[str] | None,
    progress: Progress,
) -> Certificate:
    """Return what a certificate says.

    Args:
        path: the golden file.
        report: of its verification.
        preset: a checkpoint, if it is to be of one.
        most_faults: as of `certify`.
        names: the faults that are tried in place of evenly spread ones.
        progress: called with each step before it begins.
    """
    stored = Golden.read(path)
    with tempfile.TemporaryDirectory() as folder:
        stored.unpack(Path(folder))
        with Checkpoint(folder) as checkpoint:
            known = checkpoint.architecture
            proofs = {head: _proof(checkpoint, head) for head in stored.runs}
            progress("the faults")
            trials = _trials(checkpoint, stored)
    chosen = _chosen(trials, most_faults) if names is None else [*names]
    faults = {}
    for name in chosen:
        if name in trials and (ratio := _caught(*trials[name])) is not None:
            faults[name] = rounded(ratio)
    own = {} if preset is None else describe_checkpoint(preset, known)
    return Certificate(
        architecture=known.name,
        class_name=known.class_name,
        model_type=stored.model_type,
        proofs=proofs,
        tensors=len(report.measures),
        noise=noise_of(report),
        faults=faults,
        fault_kinds=len(trials),
        versions=_versions(stored),
        sha256=digests_of(stored, report),
        sources=_sources(known),
        golden=path.read_bytes(),
        checkpoint=own,
        command=command_for(path, preset),
    )


def command_for(golden: Path, preset: str | os.PathLike | None = None) -> str:
    """Return the command that writes a certificate again."""
    here = golden.resolve().is_relative_to(Path.cwd())
    given = golden.resolve().relative_to(Path.cwd()) if here else golden
    return f"inarch verify {given if preset is None else preset} --write-certificate FILE"


def _proof(checkpoint: Checkpoint, head: str) -> dict[str, Any]:
    if head:
        task = presets.tasks_by_head()[head]
        proof = checkpoint.prove(lambda: task.build_untrained(checkpoint), head)
    else:
        proof = checkpoint.prove()
    plain = asdict(proof) | {"tied": [*proof.tied], "derived": [*proof.derived]}
    del plain["seconds"]
    return plain


def _trials(checkpoint: Checkpoint, stored: Golden) -> dict[str, tuple[Trial, Subject]]:
    """Return every fault of the layers of each run's model, by its name."""
    found: dict[str, tuple[Trial, Subject]] = {}
    others: dict[str, Any] = {}
    for head, run in stored.runs.items():
        subject = Subject(build(checkpoint, head or None), head, run, others if head else {})
        others = others or subject.layers
        found |= {trial.name: (trial, subject) for trial in layer_trials(subject)}
    return found


def _chosen(trials: dict[str, Any], most: int | None) -> list[str]:
    names = [*trials]
    if most is None or most >= len(names):
        return names
    return [names[at * len(names) // most] for at in range(most)]


def _caught(trial: Trial, subject: Subject) -> float | None:
    """Return the largest noise ratio under a fault; None where it changes nothing here."""
    fault = trial.fault
    if not fault.places:
        return None
    keras.utils.set_random_seed(0)
    with fault.injected():
        report = verify(subject.model, subject.reference)
    return max(measure.worst for measure in report.measures)


def _versions(stored: Golden) -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "inarch": __version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.import_module(backend).__version__,
        **{f"reference's {name}": version for name, version in stored.about.items()},
    }


def _sources(known: Architecture) -> dict[str, str]:
    """Return the digests of the files of an architecture's folder."""
    module = known.module("backbone")
    assert module is not None
    folder = Path(str(module.__file__)).parent
    paths = [*folder.glob("*.py"), *folder.glob("*.toml")]
    return {path.name: sha256(path) for path in sorted(paths)}


def describe_checkpoint(preset: str | os.PathLike, known: Architecture) -> dict[str, Any]:
    """Return class, proof and digests of a checkpoint.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: it can't be proven.
        InputError: it is of another architecture than `known`.
    """
    with Checkpoint(preset) as checkpoint:
        if checkpoint.architecture.name != known.name:
            raise InputError(
                f"{checkpoint.folder} is of {checkpoint.architecture.name}, and the golden file of "
                f"{known.name}; name a checkpoint of that, or another golden file"
            )
        proof = asdict(presets.prove(checkpoint))
        del proof["seconds"]
        names = [*CONFIGS, *(shard.filename for shard in checkpoint.weights.shards)]
        there = [name for name in names if (checkpoint.folder / name).is_file()]
        return {
            "class": presets.class_of(checkpoint).__name__,
            "proof": proof | {name: [*proof[name]] for name in ("tied", "derived")},
            "files": {name: sha256(checkpoint.folder / name) for name in there},
        }
