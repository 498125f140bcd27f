"""Interrupting a run leaves the weights where they were."""

from __future__ import annotations

from typing import Any

import keras


class Resumable:
    """Mixin for `keras.Model`: a `fit`, `evaluate` or `predict` that is interrupted loses nothing.

    On JAX Keras takes the variables' values away while it runs and gives them back at the end;
    an exception in between would leave them empty.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("fit", *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("evaluate", *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("predict", *args, **kwargs)

    def _run(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(super(), name)(*args, **kwargs)
        finally:
            if keras.backend.backend() == "jax":
                self.jax_state_sync()  # type: ignore[attr-defined]
