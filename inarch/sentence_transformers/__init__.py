"""Folders of sentence-transformers' kinds of models, read and written without the library."""

import inarch.installed_backend  # noqa: F401
