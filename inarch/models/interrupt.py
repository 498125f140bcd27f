"""Keyboard interrupts held back until the weights are whole."""

from __future__ import annotations

import signal
import threading
from typing import Any, Self

import keras


class SafeInterrupt(keras.callbacks.Callback):
    """Context that delays `KeyboardInterrupt` until a batch has ended.

    On JAX a running step has taken the weights' buffers; they are the model's again only between
    steps. On TensorFlow a function that is cut off while it is traced stays broken.

    Use as a context manager around a run, and as one of its callbacks. An interrupt is raised where
    the next batch begins: a callback at the end of each would have Keras wait for it on JAX, in
    place of preparing the next one meanwhile.
    """

    def __enter__(self) -> Self:
        self._pending = False
        main = threading.current_thread() is threading.main_thread()
        ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._before = signal.signal(signal.SIGINT, self._note) if ours else None
        return self

    def __exit__(self, kind: Any, *exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self._raise_if_pending()

    def _note(self, *_: object) -> None:
        self._pending = True

    def _raise_if_pending(self) -> None:
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._raise_if_pending()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._raise_if_pending()

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._raise_if_pending()
