"""Targets, objectives and batches of raw examples for Keras's training loop."""

import inarch.installed_backend  # noqa: F401
