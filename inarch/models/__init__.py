"""Architectures, one folder each, and what they have in common."""

import inarch.installed_backend  # noqa: F401
