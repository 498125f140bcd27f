"""Comparison of a certificate with the same figures, computed again."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inarch.errors import InarchError, InputError
from inarch.models.loading import Checkpoint
from inarch.verify.certificate import Certificate, differing, differing_faults, differing_noise
from inarch.verify.report import Report
from inarch.verify.report_text import headline
from inarch.workflows.certification import Progress, compute, describe_checkpoint
from inarch.workflows.verification import verify_golden


@dataclass(frozen=True)
class Part:
    """A part of a certificate that was computed again.

    Attributes:
        name: of the part.
        summary: what was compared, in a line; why it wasn't, where it wasn't.
        differences: where it differs from what was computed, a line each.
        was_run: whether it was compared.
    """

    name: str
    summary: str
    differences: tuple[str, ...] = ()
    was_run: bool = True


@dataclass(frozen=True)
class Recheck:
    """Result of a re-check.

    Attributes:
        stated: the certificate.
        parts: all that was compared.
    """

    stated: Certificate
    parts: tuple[Part, ...]

    @property
    def passed(self) -> bool:
        """Return whether all that was compared is as the certificate has it."""
        return not any(part.differences for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return it in plain values."""
        return {
            "passed": self.passed,
            "architecture": self.stated.architecture,
            "parts": [asdict(part) for part in self.parts],
        }


def recheck(
    path: str | os.PathLike,
    preset: str | os.PathLike | None = None,
    progress: Progress = lambda step: None,
) -> Recheck:
    """Compute all again that a certificate says, and compare; no reference is needed.

    Args:
        path: the certificate.
        preset: the checkpoint that it is of, if it is of one.
        progress: called with each step before it begins.

    Raises:
        CheckpointFileError: the file isn't there, or is no certificate.
        ConfigError, WeightMapError: the golden file in it can't be loaded here.
        InputError: a checkpoint is given, and the certificate is of none.
    """
    stated = Certificate.read(Path(path))
    if preset is not None and not stated.checkpoint:
        raise InputError(
            f"{os.fspath(path)} is of the architecture {stated.architecture} and of no checkpoint; "
            f"leave {os.fspath(preset)} out"
        )
    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / f"{Path(path).stem}.safetensors"
        golden.write_bytes(stated.golden)
        progress("the verification")
        try:
            report = verify_golden(golden)
            now = compute(golden, report, None, None, [*stated.faults], progress)
        except InarchError as e:
            raise type(e)(str(e).replace(str(golden), f"the golden file in {path}")) from e
    changed = () if stated.is_intact else ("the file was changed after it was written",)
    digest = Part("file", "its digest is that of its content", changed)
    parts = [digest, *_parts(stated, now, report), _recheck_checkpoint(stated, preset)]
    return Recheck(stated, tuple(parts))


def _parts(stated: Certificate, now: Certificate, report: Report) -> list[Part]:
    names = ("architecture", "class_name", "model_type", "tensors")
    subject = differing(
        "the certificate's",
        {name: getattr(stated, name) for name in names},
        {name: getattr(now, name) for name in names},
    )
    # Measures are compared as ratios, since each backend rounds otherwise.
    inputs = [
        {name: value for name, value in each.sha256.items() if name != "measures"}
        for each in (stated, now)
    ]
    noise = differing_noise(stated, now)
    if not report.passed:
        noise.insert(0, f"verification fails here: {headline(report)}")
    largest = max((row["ratio"] for row in now.noise.values()), default=0.0)
    versions = differing("version", stated.versions, now.versions)
    note = f"; {'; '.join(versions)}" if versions else ""
    return [
        Part("subject", f"{now.class_name} ({now.model_type})", tuple(subject)),
        Part("digests", ", ".join(inputs[1]), tuple(differing("sha256 of", *inputs))),
        Part(
            "sources", f"{len(now.sources)} files of inarch/models/{now.architecture}",
            tuple(differing("file", stated.sources, now.sources)),
        ),
        Part(
            "proof", f"of {len(now.proofs)} models",
            tuple(differing("proof of head", stated.proofs, now.proofs)),
        ),
        Part(
            "noise", f"{len(now.noise)} layers, largest {largest:.3g}{note}", tuple(noise),
        ),
        Part(
            "faults", f"{len(now.faults)} put in and caught, of {now.fault_kinds} kinds",
            tuple(differing_faults(stated, now)),
        ),
    ]  # fmt: skip


def _recheck_checkpoint(stated: Certificate, preset: str | os.PathLike | None) -> Part:
    if not stated.checkpoint:
        return Part("checkpoint", "the certificate is of none", was_run=False)
    if preset is None:
        return Part("checkpoint", "not named, so not compared", was_run=False)
    with Checkpoint(preset) as checkpoint:
        known = checkpoint.architecture
    now = describe_checkpoint(preset, known)
    lines = []
    if known.name != stated.architecture:
        lines.append(f"it is of {known.name}, and the certificate of {stated.architecture}")
    lines += differing("checkpoint's", stated.checkpoint, now)
    return Part("checkpoint", f"{len(now['files'])} files, proven", tuple(lines))
