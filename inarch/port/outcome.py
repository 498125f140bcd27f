"""Findings of the steps of a check, and their counts for its score."""

from __future__ import annotations

from dataclasses import dataclass, field

from inarch.verify.report import Report


@dataclass(frozen=True)
class Outcome:
    """Findings of a step.

    Attributes:
        summary: in a line, what was looked at.
        faults: what is wrong, a line each; none where all is right.
    """

    summary: str
    faults: tuple[str, ...] = ()


@dataclass
class Count:
    """Number of things of one kind, and of those that are right."""

    right: int = 0
    total: int = 0


@dataclass
class Tally:
    """Counts of all steps, for the score.

    Attributes:
        fields: fields that the reference reads and entries of the config map, accounted for.
        tensors: tensors of the checkpoints that have a place, for each head.
        layers: layers that compute what the reference computes.
        cause: of the first layer that doesn't.
        reports: of the verifications, by the names of checkpoints.
    """

    fields: Count = field(default_factory=Count)
    tensors: Count = field(default_factory=Count)
    layers: Count = field(default_factory=Count)
    cause: str | None = None
    reports: dict[str, Report] = field(default_factory=dict)
