"""Imported by every room that imports Keras, before it does: see `settle_backend`."""

from inarch.backend import settle_backend

settle_backend()
