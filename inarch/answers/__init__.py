"""Answers made of a model's outputs: entities, spans, class names, scores, similarities."""

import inarch.installed_backend  # noqa: F401
