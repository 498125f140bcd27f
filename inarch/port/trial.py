"""Compare a draft with its reference on a tiny perturbed model of the reference's own.

The trial's config has another activation and another epsilon than usual, so that constants of the
reference's code show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError
from inarch.models.loading import Checkpoint
from inarch.models.registry import Architecture
from inarch.port.arguments import find_activation, find_field
from inarch.port.draft import Draft
from inarch.port.folder import mounted, write_folder
from inarch.port.write_files import files_of
from inarch.verify.compare import verify
from inarch.verify.golden import ROWS
from inarch.verify.inputs import make_inputs
from inarch.verify.tiny_reference import write_tiny_checkpoint
from inarch.verify.transformers_reference import reference_of
from inarch.workflows.verification import build

EPSILON = 1e-3
# Letters of an error that an outcome keeps.
MAX_TEXT = 300


@dataclass(frozen=True)
class Outcome:
    """Result of a trial.

    Attributes:
        wrong: number of layers with a finding; None where ours couldn't be built or compared.
        ratio: the largest noise ratio.
        first: where it begins, or why it couldn't be compared.
        is_refused: whether the draft's config map refuses the config, whatever its graph is.
    """

    wrong: int | None
    ratio: float
    first: str = ""
    is_refused: bool = False

    @property
    def passed(self) -> bool:
        """Return whether every layer computes what the reference's does."""
        return self.wrong == 0

    @property
    def rank(self) -> tuple[float, float]:
        """Order of outcomes, the best first."""
        return (float("inf") if self.wrong is None else self.wrong, self.ratio)


def attempt(
    draft: Draft, head: str | None = None, changes: Mapping[str, Any] | None = None
) -> Outcome:
    """Return how far a draft is from its reference, on a tiny perturbed model of its own.

    Args:
        head: the head that both have, if any.
        changes: fields of the config with other values.
    """
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        write_folder(parent, draft.name, files_of(draft))
        try:
            with mounted(parent, draft.name) as architecture:
                return _compared(draft, architecture, head, parent, changes or {})
        except Exception as e:  # of ours or of theirs: whatever a wrong draft brings about
            text = " ".join(str(e).replace(f"{parent}/", "").split()) or type(e).__name__
            text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."
            return Outcome(None, float("inf"), text, isinstance(e, ConfigError))


def _compared(
    draft: Draft,
    architecture: Architecture,
    head: str | None,
    folder: Path,
    changes: Mapping[str, Any],
) -> Outcome:
    place = folder / "checkpoint"
    write_tiny_checkpoint(architecture, head, place, {**_other_values(draft), **changes})
    with Checkpoint(place) as checkpoint:
        model = build(checkpoint, head)
        reference = reference_of(checkpoint, model, head, make_inputs(model, 0, ROWS))
        report = verify(model, reference)
    ratios = [m.ratio for m in report.measures if m.ratio is not None]
    first = report.first.where if report.first is not None else "the outputs"
    wrong = 0 if report.passed else max(1, len(report.findings))
    return Outcome(wrong, max(ratios, default=0.0), first)


def _other_values(draft: Draft) -> dict[str, Any]:
    """Return fields with values that aren't their defaults."""
    found: dict[str, Any] = {}
    if (field := find_activation(draft.usual)) is not None:
        gate = "gated-" if str(draft.usual[field]).startswith("gated-") else ""
        found[field] = gate + ("silu" if draft.usual[field] != "silu" else "gelu")
    if (field := find_field("layer_norm_epsilon", draft.usual)) is not None:
        found[field] = EPSILON
    if field := draft.graph.score_field:
        found[field] = draft.usual[field] + 3
    for field in {head.activation_field for head in draft.heads if head.activation_field}:
        found[field] = "tanh" if draft.usual[field] != "tanh" else "relu"
    return found
