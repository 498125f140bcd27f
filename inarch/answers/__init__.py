"""A model's outputs as what a person asked for: entities, spans, scores, similarities."""

import inarch.installed_backend  # noqa: F401
