"""Import of `settle_backend`'s choice, for every package that imports Keras, before it does."""

from inarch.backend import settle_backend

settle_backend()
