"""Every kind of fault that applies to an architecture, and what verification makes of it."""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

import keras

from inarch import workflows
from inarch.models.loading import Checkpoint
from inarch.verify.compare import verify
from inarch.verify.doctor import Doctor
from inarch.verify.faults import layer_trials
from inarch.verify.faults.fault import Fault, Subject, Trial, made
from inarch.verify.golden import Golden
from inarch.verify.report import Finding, Report

from . import faults_of_graph

GOLDENS = sorted((Path(__file__).parents[1] / "golden").glob("*.safetensors"))


def load(golden: Golden, head: str = "") -> keras.Model:
    """Return the right model of a golden file's run, without layers that no value is there of."""
    with tempfile.TemporaryDirectory() as folder:
        golden.unpack(Path(folder))
        with Checkpoint(folder) as checkpoint:
            shown = {tensor.tap[0] for run in ("", head) for tensor in golden.runs[run].tensors}
            # One may be a stack of layers, whose names begin with its own, or have no weights.
            optional = checkpoint.source.optional_layers
            lacking = {
                name: False
                for name, held in optional.items()
                if held and not any(path.startswith(name) for path in shown)
            }
            if head:
                task = workflows.tasks_by_head()[head]
                return task.from_preset(folder, preprocessor=None, **lacking)
            return checkpoint.architecture.backbone.from_preset(folder, **lacking)


def blocks(golden: Golden, number: int) -> list[str]:
    """Return the paths of the blocks of a number: one, or a decoder's and then an encoder's."""
    layers = {tensor.tap[0] for tensor in golden.runs[""].tensors}
    return sorted(path for path in layers if path.endswith(f"layer_{number}"))


@functools.cache
def read(path: Path) -> Golden:
    return Golden.read(path)


@functools.cache
def subjects(path: Path) -> dict[str, Subject]:
    """Return the right model of each run of a golden file."""
    found: dict[str, Subject] = {}
    for head, run in read(path).runs.items():
        others = found[""].layers if head else {}
        found[head] = Subject(load(read(path), head), head, run, others)
    return found


@functools.cache
def tried(path: Path) -> tuple[Trial, ...]:
    """Return all that is tried on an architecture, most of it not yet made."""
    found: list[Trial] = []
    for subject in subjects(path).values():
        found += layer_trials(subject)
        found += map(made, faults_of_graph.faults(subject))
    return tuple(found)


def faults_for(path: Path) -> list[Fault]:
    """Return all faults of an architecture, each of which changes what the model gives."""
    return [trial.fault for trial in tried(path) if trial.fault.places]


def unreached(path: Path) -> list[str]:
    """Return the names of alternatives that change nothing for the inputs of a golden file."""
    return [trial.name for trial in tried(path) if not trial.fault.places]


def examine(path: Path, fault: Fault) -> Report:
    """Verify a model while it has a fault."""
    keras.utils.set_random_seed(0)
    subject = subjects(path)[fault.head]
    with fault.injected():
        doctor = Doctor(subject.model, subject.reference)
        return verify(subject.model, subject.reference, diagnose=doctor)


def caught(report: Report) -> bool:
    """Return whether any tensor is further from float64 than noise can be."""
    return max(measure.worst for measure in report.measures) > report.threshold


def astray(fault: Fault, report: Report) -> list[str]:
    """Return what findings and faulty places don't share; nothing, if all is located."""
    findings = report.findings
    wrong = [f.where for f in findings if not any(_touches(f, p) for p in fault.places)]
    missed = [p for p in sorted(fault.places) if not any(_touches(f, p) for f in findings)]
    return [f"{where}: nothing is wrong there" for where in wrong] + [
        f"{place or 'the model'}: no finding" for place in missed
    ]


def diagnosed(fault: Fault, report: Report) -> bool:
    """Return whether the diagnosis of the first finding names the fault."""
    said = report.first and report.first.diagnosis
    return bool(fault.diagnosis and said and re.search(fault.diagnosis, said))


def marks(fault: Fault, report: Report) -> tuple[bool, bool, bool]:
    """Return whether a fault was caught, located and diagnosed."""
    return caught(report), not astray(fault, report), diagnosed(fault, report)


def _touches(finding: Finding, place: str) -> bool:
    paths = (finding.layer, finding.measure.layer)
    return any(path == place or (place and path.startswith(f"{place}/")) for path in paths)
