"""Faults that are put into a right model, so that what verification says of them is known.

A certificate names those that were tried; the tests try these and more, and `docs/faults.md` is the
table of them.
"""

from inarch.verify.faults import of_bricks, of_weights
from inarch.verify.faults.fault import Subject, Trial, made


def layer_trials(subject: Subject) -> list[Trial]:
    """Return the faults of a model's layers: wrong weights, and each way that one declares."""
    return [*map(made, of_weights.faults(subject)), *of_bricks.trials(subject)]
