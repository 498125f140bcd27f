"""Every kind of fault that applies to an architecture, and what verification makes of it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import keras

from inarch.models.backbone import Backbone
from inarch.tasks import MaskedLM, SpeechToText, TextClassifier
from inarch.verify.compare import verify
from inarch.verify.doctor import Doctor
from inarch.verify.golden import Golden
from inarch.verify.report import Finding, Report

from . import (
    faults_of_attention,
    faults_of_disentangled,
    faults_of_fourier,
    faults_of_graph,
    faults_of_heads,
    faults_of_speech,
    faults_of_weights,
)
from .fault import Fault

GOLDENS = sorted((Path(__file__).parents[1] / "golden").glob("*.safetensors"))
TASKS = {"masked_lm": MaskedLM, "text_classifier": TextClassifier, "speech_to_text": SpeechToText}


def faults_for(golden: Golden) -> list[Fault]:
    """All faults that the layers of an architecture can have."""
    layers = {tensor.tap[0] for run in golden.runs.values() for tensor in run.tensors}
    ends = {tensor.tap[0] for run in golden.runs.values() for tensor in run.tensors
            if tensor.tap[2] == "output"}  # fmt: skip
    tanh = golden.defaults.get("hidden_act") == "gelu_new"
    # A layer that nothing is compared at may have others within it.
    paths = {"/".join(parts[:n]) for parts in (p.split("/") for p in layers) for n in range(1, 9)}
    # What mixes tokens otherwise than by attention has its own faults of the norm after it.
    mixing = {path for path in paths if path.endswith("/attention_norm")}
    plain = paths if any(path.endswith("/attention") for path in paths) else paths - mixing
    found = [
        *faults_of_weights.faults(plain),
        *faults_of_attention.faults(paths),
        *faults_of_disentangled.faults(paths),
        *faults_of_fourier.faults(paths),
        *faults_of_speech.faults(paths),
        *faults_of_graph.faults(plain, tanh),
    ]
    found += faults_of_heads.faults(layers, ends, tanh)
    # Embeddings of a width of their own give the transform a kernel that isn't square.
    wide = [tensor.value.shape[-1] for run in golden.runs.values() for tensor in run.tensors
            if tensor.tap[0] == "masked_lm_head/transform"]  # fmt: skip
    square = len(set(wide)) <= 1
    return [f for f in found if square or f.name != "Masked-LM transform kernel transposed"]


def blocks(golden: Golden, number: int) -> list[str]:
    """Paths of the layers of a number: one, or a decoder's and then an encoder's."""
    layers = {tensor.tap[0] for tensor in golden.runs[""].tensors}
    return sorted(path for path in layers if path.endswith(f"layer_{number}"))


def load(golden: Golden, head: str = "") -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        golden.unpack(Path(folder))
        if head:
            return TASKS[head].from_preset(folder, preprocessor=None)
        return Backbone.from_preset(folder)


def examine(golden: Golden, fault: Fault) -> Report:
    """Inject a fault into a fresh model and verify it."""
    keras.utils.set_random_seed(0)
    model, reference = load(golden, fault.head), golden.runs[fault.head]
    fault.inject(model)
    return verify(model, reference, diagnose=Doctor(model, reference))


def caught(report: Report) -> bool:
    """Whether any tensor is further from float64 than noise can be."""
    return max(measure.worst for measure in report.measures) > report.threshold


def astray(fault: Fault, report: Report) -> list[str]:
    """What findings and faulty places have not in common; nothing, if all is located."""
    findings = report.findings
    wrong = [f.where for f in findings if not any(_touches(f, p) for p in fault.places)]
    missed = [p for p in sorted(fault.places) if not any(_touches(f, p) for f in findings)]
    return [f"{where}: nothing is wrong there" for where in wrong] + [
        f"{place or 'the model'}: no finding" for place in missed
    ]


def diagnosed(fault: Fault, report: Report) -> bool:
    """Whether the diagnosis of the first finding names the fault."""
    said = report.first and report.first.diagnosis
    return bool(fault.diagnosis and said and re.search(fault.diagnosis, said))


def _touches(finding: Finding, place: str) -> bool:
    paths = (finding.layer, finding.measure.layer)
    return any(path == place or (place and path.startswith(f"{place}/")) for path in paths)
