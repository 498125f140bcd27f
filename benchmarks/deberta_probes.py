"""Probes of DeBERTaV3: `python deberta_probes.py FUNCTION ARGUMENTS`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probe import memory, report, timed


def make_deberta(folder: str) -> dict[str, float]:
    """Write a DeBERTaV3 of the base size, but for its vocabulary, with random weights."""
    from inarch import DebertaV3Backbone

    model = DebertaV3Backbone(1000, 12, 12, 768, 3072)
    return {"seconds": timed(lambda: model.save_to_preset(folder))[1]}


def deberta_inarch(folder: str, batch: str, length: str) -> dict[str, float]:
    """Time a compiled forward pass by inarch on JAX."""
    import jax
    import numpy as np

    from inarch import Backbone

    def work() -> Callable[[], Any]:
        model: Any = Backbone.from_preset(folder)
        trained = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        inputs = {
            "token_ids": np.full((int(batch), int(length)), 7, "int32"),
            "padding_mask": np.ones((int(batch), int(length)), "int32"),
        }

        @jax.jit
        def forward(trained: Any, inputs: Any) -> Any:
            return model.stateless_call(trained, others, inputs)[0]["sequence_output"]

        return lambda: jax.block_until_ready(forward(trained, inputs))

    return _forward(work)


def deberta_transformers(folder: str, batch: str, length: str) -> dict[str, float]:
    """Time it by transformers on torch, on as many threads as JAX takes: one for each core."""
    import os

    import torch
    from transformers import AutoModel

    torch.set_num_threads(len(os.sched_getaffinity(0)))

    def work() -> Callable[[], Any]:
        model = AutoModel.from_pretrained(folder).eval()
        tokens = torch.full((int(batch), int(length)), 7)
        mask = torch.ones_like(tokens)

        def forward() -> Any:
            with torch.inference_mode():
                return model(tokens, attention_mask=mask)

        return forward

    return _forward(work)


def _forward(work: Callable[[], Callable[[], Any]]) -> dict[str, float]:
    """Return seconds of the median pass after the first, and the peak MiB above the imports.

    Each compiler or allocator has one pass first. The peak is that of the passes, weights
    included, where the system can reset the peak.
    """
    before = memory("VmRSS")
    forward = work()
    forward()
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    seconds = [timed(forward)[1] for _ in range(5)]
    return {"seconds": statistics.median(seconds), "peak": memory("VmHWM") - before}


if __name__ == "__main__":
    report(globals())
