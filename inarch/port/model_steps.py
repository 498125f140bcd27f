"""Steps of a check that build the models of an architecture: from the proof to the tokenizer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inarch import workflows
from inarch.checkpoints.formats.compare import Comparison, compare
from inarch.checkpoints.maps.proof import placed_tensors
from inarch.errors import WeightMapError
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import build_without_values, named_variables
from inarch.port.outcome import Outcome, Tally
from inarch.port.subjects import NotRun, Subject, Subjects
from inarch.port.tiny_models import tiny_task
from inarch.text import Tokenizer
from inarch.text.discovery import has_tokenizer
from inarch.validation import listed
from inarch.verify.report_text import WRONG, headline, state
from inarch.verify.tokenizer import compare_tokenizers
from inarch.verify.transformers_reference import has_reference
from inarch.workflows.verification import build, verify_checkpoint, verify_golden


def prove(subjects: Subjects, tally: Tally) -> Outcome:
    """Prove the weight map on each checkpoint and head; count the tensors that have a place."""
    lines: list[str] = []
    for subject in subjects.all:
        with Checkpoint(subject.folder) as checkpoint:
            for head in subject.heads or (None,):
                tensors = len(checkpoint.weights.header)
                tally.tensors.total += tensors
                try:
                    if head is None:
                        workflows.prove(checkpoint)
                    else:
                        checkpoint.prove(_builder(checkpoint, head), head or None)
                    tally.tensors.right += tensors
                except WeightMapError as e:
                    tally.tensors.right += len(_placed(checkpoint, head or None))
                    message = str(e).replace(str(subject.folder), subject.name)
                    lines += message.splitlines()
    count = tally.tensors
    return Outcome(f"{count.total} tensors of {_names(subjects)} have a place", _once(lines))


def _builder(checkpoint: Checkpoint, head: str) -> Callable[[], Any]:
    """Return a function that builds the model of a head, or the bare backbone for `""`."""
    if head:
        return lambda: workflows.tasks_by_head()[head].build_untrained(checkpoint)
    return lambda: checkpoint.backbone(**checkpoint.arguments())


def _placed(checkpoint: Checkpoint, head: str | None) -> set[str]:
    model, _ = build_without_values(_builder(checkpoint, head or ""))
    ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
    arguments = getattr(model, "backbone", model).arguments
    return placed_tensors(
        checkpoint.source, checkpoint.weights.header, ours, arguments, head,
        checkpoint.tie_word_embeddings,
    )  # fmt: skip


def load(subjects: Subjects, tally: Tally) -> Outcome:
    """Load each checkpoint as the model of each of its heads."""
    lines = []
    for subject, head, model in _models(subjects):
        fresh = getattr(model, "fresh_weights", ())
        if fresh:
            lines.append(f"{subject.name}: {head} has no values for {listed(fresh)}")
    return Outcome(f"loaded: {_names(subjects)}", tuple(lines))


def _models(subjects: Subjects) -> Iterator[tuple[Subject, str, Any]]:
    for subject in subjects.all:
        with Checkpoint(subject.folder) as checkpoint:
            for head in subject.heads or ("",):
                yield subject, head, build(checkpoint, head or None)


def verify(subjects: Subjects, tally: Tally) -> Outcome:
    """Compare each layer with the reference; what the doctor says of a wrong one is a fault."""
    for subject in subjects.all:
        if subject.golden is not None:
            subjects.progress(f"verification of {subject.name}")
            tally.reports[subject.name] = verify_golden(subject.golden)
        elif has_reference():
            subjects.progress(f"verification of {subject.name}")
            tally.reports[subject.name] = verify_checkpoint(subject.folder, with_tokenizer=False)
    if not tally.reports:
        raise NotRun("there is no golden file, and torch and transformers aren't installed")
    lines = []
    for name, report in tally.reports.items():
        layers = {m.layer for m in report.measures}
        wrong = {m.layer for m in report.measures if state(m, report) == WRONG}
        wrong |= {f.layer for f in report.findings}
        tally.layers.total += len(layers)
        tally.layers.right += len(layers - wrong)
        lines += [f"{name}: {f.where}: {f.diagnosis or 'no cause is known'}"
                  for f in report.findings]  # fmt: skip
        # The tokenizer has a step of its own.
        if not report.findings and report.unreached:
            lines.append(f"{name}: {headline(report)}")
    tally.cause = lines[0] if lines else None
    worst = max(report.worst for report in tally.reports.values())
    return Outcome(f"{tally.layers.total} layers, largest noise ratio {worst:.3g}", tuple(lines))


def export(subjects: Subjects, tally: Tally) -> Outcome:
    """Write each checkpoint back, whole and as the bare backbone, and compare byte by byte."""
    lines, total = [], 0
    for subject in subjects.all:
        with tempfile.TemporaryDirectory(dir=subjects.work) as folder:
            # Tokenizers have a step of their own.
            whole = workflows.load(subject.folder, preprocessor=None)
            whole.save_to_preset(Path(folder) / "whole")
            through = f"{subject.name} through {type(whole).__name__}"
            lines += _differences(through, compare(subject.folder, Path(folder) / "whole"))
            Backbone.from_preset(subject.folder).save_to_preset(Path(folder) / "bare")
            found = compare(subject.folder, Path(folder) / "bare")
            lines += _differences(f"{subject.name} through the backbone", found)
            total += found.total
    return Outcome(f"{total} tensors come back byte-equal", tuple(lines))


def _differences(what: str, found: Comparison) -> list[str]:
    named = {"is another": found.different, "is gone": found.missing, "is new": found.added}
    return [f"{what}: {name} {how}" for how, names in named.items() for name in names]


def heads(subjects: Subjects, tally: Tally) -> Outcome:
    """Save a tiny model of each head, tied and untied, load it, and save it again."""
    known = subjects.architecture
    source, tasks = known.sources[0], workflows.tasks_by_head()
    lines = []
    for name, head in source.heads.items():
        if name not in tasks:
            continue
        for tie in (True, False) if head.untied else (True,):
            own = {} if tie else {"tie_word_embeddings": False}
            what = name if tie else f"{name}, untied"
            with tempfile.TemporaryDirectory(dir=subjects.work) as folder:
                one, two = Path(folder) / "one", Path(folder) / "two"
                tiny_task(known, tasks[name], name, **own).save_to_preset(one)
                again = tasks[name].from_preset(one, preprocessor=None)
                if again.fresh_weights:
                    lines.append(f"{what}: no values for {listed(again.fresh_weights)}")
                again.save_to_preset(two)
                lines += _differences(what, compare(one, two))
    unused = [name for name in source.heads if name not in tasks]
    if not source.heads.keys() - {*unused}:
        return Outcome("", ("the map has no head that a task here has",))
    more = f"; no task here has {', '.join(unused)}" if unused else ""
    known_heads = ", ".join(name for name in source.heads if name in tasks)
    return Outcome(f"{known_heads} come back{more}", tuple(lines))


def tokenizer(subjects: Subjects, tally: Tally) -> Outcome:
    """Compare the tokenizer of the given checkpoint with transformers'."""
    given = subjects.checkpoint
    if given is None or not has_tokenizer(given):
        raise NotRun("no checkpoint with a tokenizer is given (--checkpoint FOLDER)")
    ours = Tokenizer.from_folder(given)
    if not has_reference():
        raise NotRun("ours reads it; torch and transformers aren't installed")
    found = compare_tokenizers(given, ours)
    lines = [f"{d.text!r}: {d.what} {d.ours}, the reference's {d.theirs}"
             for d in found.differences]  # fmt: skip
    return Outcome(f"{found.texts} texts read alike", tuple(lines))


def _names(subjects: Subjects) -> str:
    names = [subject.name for subject in subjects.all]
    return names[0] if len(names) == 1 else f"{len(names)} checkpoints"


def _once(lines: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.strip() for line in lines))
