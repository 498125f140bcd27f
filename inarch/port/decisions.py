"""Decisions of a draft: those that are open, and the evidence of the others."""

from __future__ import annotations

from dataclasses import dataclass

# A quirk to follow or to refuse; a choice that nothing measured; and one that a run has settled.
DECIDE, GUESS, SETTLED = "DECIDE", "GUESS", "SETTLED"


@dataclass(frozen=True)
class Decision:
    """A line for the person who ports.

    Attributes:
        kind: `DECIDE`, `GUESS` or `SETTLED`.
        subject: field, tensor or part of the graph.
        text: what is to be decided, or was assumed, with the evidence.
        alternatives: what else it could be.
    """

    kind: str
    subject: str
    text: str
    alternatives: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return the line without its kind."""
        others = f"; or: {', '.join(self.alternatives)}" if self.alternatives else ""
        return f"{self.subject}: {self.text}{others}"


def decide(subject: str, text: str, *alternatives: str) -> Decision:
    """Return a quirk that a person has to follow or to refuse."""
    return Decision(DECIDE, subject, text, alternatives)


def guess(subject: str, text: str, *alternatives: str) -> Decision:
    """Return a choice that nothing has measured, with its evidence."""
    return Decision(GUESS, subject, text, alternatives)


def settled(subject: str, text: str) -> Decision:
    """Return a choice that a run of the reference has settled."""
    return Decision(SETTLED, subject, text)
