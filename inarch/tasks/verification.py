"""A checkpoint or a golden file, verified: ours is built for it and set against the reference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from inarch.errors import CheckpointError
from inarch.files import sha256
from inarch.models.loading import Checkpoint
from inarch.models.registry import Architecture
from inarch.tasks import workflows
from inarch.tasks.text_source import tokenizer_of
from inarch.text.files import write_tokenizer_files
from inarch.user_warnings import warn
from inarch.verify.compare import verify
from inarch.verify.coverage import table_coverage
from inarch.verify.doctor import Doctor
from inarch.verify.golden import Golden, make_golden
from inarch.verify.inputs import make_inputs
from inarch.verify.perturb import perturb_checkpoint, untrained
from inarch.verify.report import HeadAgreement, Report
from inarch.verify.tokenizer import compare_tokenizers
from inarch.verify.transformers_reference import reference_of

Progress = Callable[[str], Any]


def build(checkpoint: Checkpoint, head: str | None) -> keras.Model:
    """Build our model for an opened checkpoint: the task of `head`, or the bare backbone."""
    ignored = [*checkpoint.ignored]
    if head is None:
        return checkpoint.architecture.backbone.from_preset(
            checkpoint.folder, ignore_fields=ignored
        )
    task = next(task for task in workflows.HEADED if task.head == head)
    return task.from_preset(checkpoint.folder, preprocessor=None, ignore_fields=ignored)


def verify_checkpoint(
    preset: str | os.PathLike,
    *,
    perturb: int | None = None,
    ignore_fields: Collection[str] = (),
    progress: Progress = lambda step: None,
) -> Report:
    """Verify our model for a checkpoint against transformers, its tokenizer included.

    transformers reads Hugging Face's format alone: of a folder in an author format it is given a
    copy.

    Args:
        preset: a folder, a built-in name, or a hub id.
        perturb: seed for random weights of order one in place of the checkpoint's, for those that
            were never trained and so hide what is wrong.
        ignore_fields: as of `Backbone.from_preset`.
        progress: called with each step before it begins.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: as `Backbone.from_preset`.
        MissingExtraError, ReferenceModelError: the reference isn't installed or can't run.
    """
    with ExitStack() as stack:
        given = checkpoint = stack.enter_context(Checkpoint(preset, ignore_fields=ignore_fields))
        progress("the proof")
        proof, source = workflows.prove(given), str(given.folder)
        if given.author_checkpoint is not None:
            progress("a copy for transformers")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            given.copy_to(folder)
            if workflows.has_tokenizer(given.folder):
                write_tokenizer_files(folder, tokenizer_of(given).files)
            given = checkpoint = stack.enter_context(Checkpoint(folder))
            source += ", in a copy in Hugging Face's format"
        task = workflows.headed_task(given)
        head = task.head if task else None
        progress("loading ours")
        model = build(given, head)
        if perturb is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            perturb_checkpoint(given, model, head, folder, perturb)
            checkpoint = stack.enter_context(Checkpoint(folder, ignore_fields=[*given.ignored]))
            model = build(checkpoint, head)
        elif untrained(model):
            warn(
                f"{source} was never trained: its norms have their initial values, behind "
                "which faults hide; verify it with perturb (--perturb on the command line)"
            )
        inputs = make_inputs(model)
        reference = reference_of(checkpoint, model, head, inputs, progress)
        tokenizer = None
        if workflows.has_tokenizer(given.folder):
            progress("the tokenizer")
            tokenizer = compare_tokenizers(given.folder)
        source += "" if perturb is None else f", perturbed with seed {perturb}"
        doctor = Doctor(model, reference)
        report = verify(model, reference, source=source, diagnose=doctor, progress=progress)
    covered = table_coverage(model, inputs)
    return replace(report, proof=proof.in_words(), tokenizer=tokenizer, coverage=covered)


def verify_golden(path: str | os.PathLike, progress: Progress = lambda step: None) -> Report:
    """Verify an architecture against its golden file: the backbone and every head in it.

    Raises:
        CheckpointFileError: the file isn't there, or isn't a golden file.
    """
    path = Path(path)
    golden = Golden.read(path)
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        golden.unpack(Path(folder))
        try:
            with Checkpoint(folder) as checkpoint:
                for head, reference in golden.runs.items():
                    progress(head or "backbone")
                    model = build(checkpoint, head or None)
                    doctor = Doctor(model, reference)
                    reports[head] = verify(model, reference, source=str(path), diagnose=doctor)
                    if not head:
                        covered = table_coverage(model, reference.inputs)
        except CheckpointError as e:
            raise type(e)(str(e).replace(folder, str(path))) from e
    merged = _merged(reports)
    about = {**merged.about, **golden.about, f"sha256 of {path.name}": sha256(path)}
    return replace(merged, about=about, coverage=covered)


def _merged(reports: dict[str, Report]) -> Report:
    """Merge reports: the backbone's, and of each head what the backbone doesn't have."""
    whole = reports[""]
    seen = {(m.layer, m.call, m.role) for m in whole.measures}
    measures, findings = list(whole.measures), list(whole.findings)
    outputs: dict[str, HeadAgreement] = {}
    for head, report in reports.items():
        if not head:
            continue
        outputs |= dict.fromkeys([head], *report.outputs.values()) if report.outputs else {}
        known = {(m.layer, m.call, m.role) for m in report.measures if m.layer}
        for measure in report.measures:
            key = (measure.layer, measure.call, measure.role)
            if not measure.layer:
                measures.append(replace(measure, role=f"{head} {measure.role}"))
            elif key not in seen:
                measures.append(measure)
        findings += [
            f for f in report.findings
            if (f.measure.layer, f.measure.call, f.measure.role) not in seen
        ]  # fmt: skip
        seen |= known
    measures.sort(key=lambda m: not m.layer)  # the outputs last
    return replace(whole, measures=tuple(measures), findings=tuple(findings), outputs=outputs)


def golden_of(architecture: Architecture) -> Golden:
    """Compute a fresh golden of an architecture, by transformers.

    Raises:
        MissingExtraError, ReferenceModelError: the reference isn't installed, or doesn't know it.
    """
    heads = [task.head for task in workflows.HEADED if task.head]
    return make_golden(architecture, heads, build)
