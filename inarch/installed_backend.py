"""Keras imported with the backend of `settle_backend`, for every package that uses it."""

import importlib

from inarch.backend import optional_parts_later, settle_backend

settle_backend()
with optional_parts_later():
    importlib.import_module("keras")
