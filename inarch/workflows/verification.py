"""A checkpoint or a golden file, verified: ours is built for it and set against the reference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.errors import CheckpointError
from inarch.files import sha256
from inarch.models.loading import Checkpoint
from inarch.models.registry import Architecture
from inarch.models.variables import named_variables
from inarch.preprocessors.text_source import tokenizer_of
from inarch.runtime.memory import is_out_of_memory
from inarch.text.discovery import has_tokenizer
from inarch.text.files import write_tokenizer_files
from inarch.user_warnings import warn
from inarch.verify.compare import verify
from inarch.verify.coverage import branch_coverage, joined_coverage, table_coverage
from inarch.verify.doctor import Doctor
from inarch.verify.golden import Golden, make_golden
from inarch.verify.inputs import make_inputs
from inarch.verify.perturb import perturb_checkpoint, untrained
from inarch.verify.reference import Reference
from inarch.verify.report import Coverage, HeadAgreement, Measure, Report
from inarch.verify.tokenizer import compare_tokenizers
from inarch.verify.transformers_reference import reference_of
from inarch.workflows import presets

Progress = Callable[[str], Any]
# The heads that golden files have; the others are compared with the reference itself.
GOLDEN_HEADS = (
    "masked_lm", "causal_lm", "text_classifier", "speech_to_text", "seq2seq_lm",
    "audio_classifier", "ctc",
)  # fmt: skip


def build(checkpoint: Checkpoint, head: str | None) -> keras.Model:
    """Build our model for an opened checkpoint: the task of `head`, or the bare backbone."""
    ignored = [*checkpoint.ignored]
    if head is None:
        return checkpoint.architecture.backbone.from_preset(
            checkpoint.folder, ignore_fields=ignored
        )
    return presets.tasks_by_head()[head].from_preset(
        checkpoint.folder, preprocessor=None, ignore_fields=ignored
    )


def verify_checkpoint(
    preset: str | os.PathLike,
    *,
    perturb: int | None = None,
    ignore_fields: Collection[str] = (),
    with_tokenizer: bool = True,
    progress: Progress = lambda step: None,
) -> Report:
    """Verify our model for a checkpoint against transformers; this is `inarch.verify`.

    The tokenizer is compared too. Of a folder in an author format transformers is given a copy in
    Hugging Face's, which alone it reads.

    Args:
        preset: a folder, a built-in name, or a hub id.
        perturb: seed for random weights of order one in place of the checkpoint's, for those that
            were never trained and so hide what is wrong.
        ignore_fields: as of `Backbone.from_preset`.
        with_tokenizer: whether the tokenizer is compared, where there is one.
        progress: called with each step before it begins.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: as `Backbone.from_preset`.
        MissingExtraError, ReferenceModelError: the reference isn't installed or can't run.
    """
    with ExitStack() as stack:
        given = checkpoint = stack.enter_context(Checkpoint(preset, ignore_fields=ignore_fields))
        progress("the proof")
        proof, source = presets.prove(given), str(given.folder)
        if given.author_checkpoint is not None:
            progress("a copy for transformers")
            given = checkpoint = _copy_for_transformers(given, stack)
            source += ", in a copy in Hugging Face's format"
        task = presets.headed_task(given)
        head = task.head if task else None
        progress("loading ours")
        model = build(given, head)
        if perturb is not None:
            checkpoint = _copy_perturbed(given, model, head, perturb, stack)
            model = build(checkpoint, head)
        elif untrained(model):
            warn(
                f"{source} was never trained: its norms have their initial values, behind "
                "which faults hide; verify it with perturb (--perturb on the command line)"
            )
        reference = reference_of(checkpoint, model, head, make_inputs(model), progress)
        tokenizer = None
        if with_tokenizer and has_tokenizer(given.folder):
            progress("the tokenizer")
            tokenizer = compare_tokenizers(given.folder)
        source += "" if perturb is None else f", perturbed with seed {perturb}"
        doctor = Doctor(model, reference)
        report = verify(model, reference, source=source, diagnose=doctor, progress=progress)
    return replace(
        report,
        proof=proof.in_words(),
        not_compared=(*proof.passthrough, *_unmeasured(model, report)),
        tokenizer=tokenizer,
        coverage=_coverage(model, reference.inputs),
    )


def _copy_for_transformers(given: Checkpoint, stack: ExitStack) -> Checkpoint:
    """Return a checkpoint in an author format as one in Hugging Face's, in a temporary folder."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    given.copy_to(folder)
    if has_tokenizer(given.folder):
        write_tokenizer_files(folder, tokenizer_of(given).files)
    return stack.enter_context(Checkpoint(folder))


def _copy_perturbed(
    given: Checkpoint, model: keras.Model, head: str | None, seed: int, stack: ExitStack
) -> Checkpoint:
    """Return a checkpoint with random weights of order one, in a temporary folder."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    perturb_checkpoint(given, model, head, folder, seed)
    return stack.enter_context(Checkpoint(folder, ignore_fields=[*given.ignored]))


def _unmeasured(model: keras.Model, report: Report) -> list[str]:
    """Return the layers that hold variables and that the reference has no counterpart of."""
    measured = {measure.layer for measure in report.measures}
    layers = dict.fromkeys(name.rpartition("/")[0] for name in named_variables(model))
    return [layer for layer in layers if layer not in measured]


def _coverage(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> tuple[Coverage, ...]:
    """Return the coverage; none where the gradient of a large model finds no memory."""
    try:
        return _all_coverage(model, inputs)
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        warn("the coverage of the inputs isn't measured: its gradient ran out of memory")
        return ()


def verify_golden(
    path: str | os.PathLike,
    progress: Progress = lambda step: None,
    *,
    measures_coverage: bool = True,
) -> Report:
    """Verify an architecture against its golden file: the backbone and every head in it.

    Args:
        path: of the file.
        progress: called with the name of each part before it begins.
        measures_coverage: whether to find what the inputs reach, which takes as long as all else.

    Raises:
        CheckpointFileError: the file isn't there, or isn't a golden file.
        ConfigError, WeightMapError: the checkpoint in it can't be loaded.
    """
    path = Path(path)
    golden = Golden.read(path)
    reports: dict[str, Report] = {}
    coverage: tuple[Coverage, ...] = ()
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
                        covering = _covering_report(model, golden.covering, str(path))
                        if measures_coverage:
                            coverage = _golden_coverage(model, golden, checkpoint)
        except CheckpointError as e:
            raise type(e)(str(e).replace(folder, str(path))) from e
    merged = _merged(reports)
    # What is wrong in other runs too shows at the outputs of this one, far from its place.
    findings = merged.findings or covering.findings
    merged = replace(merged, measures=merged.measures + covering.measures, findings=findings)
    about = {**merged.about, **golden.about, f"sha256 of {path.name}": sha256(path)}
    return replace(merged, about=about, coverage=coverage, requires_coverage=measures_coverage)


def _all_coverage(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> tuple[Coverage, ...]:
    return table_coverage(model, inputs) + branch_coverage(model, inputs)


def _covering_report(model: keras.Model, run: Reference, source: str) -> Report:
    """Return the report of the run that completes the coverage of a golden file."""
    report = verify(model, run, source=source, diagnose=Doctor(model, run))
    return _renamed(report, lambda m: replace(m, role=f"{m.role} of all rows"))


def _golden_coverage(
    model: keras.Model, golden: Golden, checkpoint: Checkpoint
) -> tuple[Coverage, ...]:
    """Return the coverage of a golden file by both of its runs."""
    return joined_coverage(
        _all_coverage(model, golden.runs[""].inputs),
        _all_coverage(model, golden.covering.inputs),
        checkpoint.architecture.of_format(golden.model_type).unreached,
    )


def _renamed(report: Report, rename: Callable[[Measure], Measure]) -> Report:
    return replace(
        report,
        measures=tuple(map(rename, report.measures)),
        findings=tuple(replace(f, measure=rename(f.measure)) for f in report.findings),
    )


def _merged(reports: dict[str, Report]) -> Report:
    """Merge reports: the backbone's, and of each head what the backbone doesn't have."""
    whole = reports[""]
    seen = {(m.layer, m.call, m.role) for m in whole.measures}
    measures, findings = list(whole.measures), list(whole.findings)
    outputs: dict[str, HeadAgreement] = {}
    for head, given in reports.items():
        if not head:
            continue
        report = _renamed(given, partial(_of_head, head))
        for name, agreement in report.outputs.items():
            outputs[head if len(report.outputs) == 1 else f"{head} {name}"] = agreement
        measures += [m for m in report.measures if (m.layer, m.call, m.role) not in seen]
        findings += [
            f for f in report.findings
            if (f.measure.layer, f.measure.call, f.measure.role) not in seen
        ]  # fmt: skip
        seen |= {(m.layer, m.call, m.role) for m in report.measures}
    measures.sort(key=lambda m: not m.layer)  # the outputs last
    return replace(whole, measures=tuple(measures), findings=tuple(findings), outputs=outputs)


def _of_head(head: str, measure: Measure) -> Measure:
    return measure if measure.layer else replace(measure, role=f"{head} {measure.role}")


def golden_of(architecture: Architecture) -> Golden:
    """Compute a fresh golden of an architecture, by transformers.

    Raises:
        MissingExtraError, ReferenceModelError: the reference isn't installed, or doesn't know it.
    """
    return make_golden(architecture, GOLDEN_HEADS, build)
