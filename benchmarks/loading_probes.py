"""Probes of imports, loading, proof and saving: `python loading_probes.py FUNCTION ARGUMENTS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probe import memory, report, timed


def import_keras() -> dict[str, float]:
    def work() -> None:
        import keras  # noqa: F401

    return {"seconds": timed(work)[1]}


def import_inarch() -> dict[str, float]:
    def work() -> None:
        import inarch  # noqa: F401

    return {"seconds": timed(work)[1]}


def import_all_architectures() -> dict[str, float]:
    def work() -> None:
        from inarch.models.registry import architectures

        architectures()

    return {"seconds": timed(work)[1]}


def make(folder: str) -> dict[str, float]:
    """Write a BERT of the base size with random weights."""
    from inarch import BertBackbone

    model = BertBackbone(30522, 12, 12, 768, 3072)
    return {"seconds": timed(lambda: model.save_to_preset(folder))[1]}


def read_file(folder: str) -> dict[str, float]:
    """Read only the file into arrays of JAX, by safetensors' own function: the floor."""
    from safetensors.flax import load_file

    return _loading(lambda: load_file(f"{folder}/model.safetensors"))


def load_inarch(folder: str) -> dict[str, float]:
    from inarch import Backbone

    return _loading(lambda: [v.value for v in Backbone.from_preset(folder).variables])


def load_keras_hub(folder: str) -> dict[str, float]:
    import keras_hub

    model: Any = keras_hub.models.BertBackbone
    return _loading(lambda: [v.value for v in model.from_preset(folder).variables])


def _loading(work: Callable[[], Any]) -> dict[str, float]:
    """Return seconds, and peak MiB above what imports and the started backend need."""
    import jax
    import keras  # noqa: F401  so that every baseline holds the same imports

    jax.block_until_ready(jax.numpy.zeros(1))
    before = memory("VmRSS")
    _, seconds = timed(lambda: jax.block_until_ready(work()))
    return {"seconds": seconds, "peak": memory("VmHWM") - before}


def save_inarch(folder: str, destination: str) -> dict[str, float]:
    from inarch import Backbone

    model = Backbone.from_preset(folder)
    return {"seconds": timed(lambda: model.save_to_preset(destination))[1]}


def prove(folder: str) -> dict[str, float]:
    from inarch import Checkpoint

    def work() -> None:
        with Checkpoint(folder) as checkpoint:
            checkpoint.prove()

    return {"seconds": timed(work)[1]}


if __name__ == "__main__":
    report(globals())
