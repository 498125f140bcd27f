"""Functions shared by the probes of speech that run on one core and in one thread.

Seconds are those of the processor: a busy machine lengthens them little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


def use_one_core() -> None:
    """Restrict the process to one core and one thread; call it before any library is loaded."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    os.environ |= dict.fromkeys(names, "1")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work` and the processor seconds that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def prepare_backend() -> None:
    """Set one thread on torch; on JAX, start the backend before memory is counted."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        wait_for(keras.ops.zeros(1))


def wait_for(tensor: Any) -> Any:
    return tensor.block_until_ready() if hasattr(tensor, "block_until_ready") else tensor
