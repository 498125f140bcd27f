"""Precisions for which a backend has kernels on this hardware."""

from __future__ import annotations

import keras

from inarch.errors import InputError


def check_kernels(precision: str) -> None:
    """Raise InputError where computing in a precision would only be slower than in float32.

    Args:
        precision: "int8", "bfloat16" or "float16".
    """
    backend = keras.backend.backend()
    device = _device(backend)
    if precision == "int8":
        fits, needed = (
            (backend, device) == ("torch", "cpu"),
            "torch on a CPU (KERAS_BACKEND=torch, without a GPU)",
        )
    elif device == "cpu":
        fits = backend == "torch" and _has_instructions(precision)
        needed = f"a GPU, or torch on a CPU with instructions for {precision}"
    else:
        fits, needed = True, ""
    if not fits:
        raise InputError(
            f"precision is {precision!r}, and {backend} has no fast kernels for it on this "
            f"{device}; use {needed}, or stay in float32"
        )


def _device(backend: str) -> str:
    """Return the kind of device that models are computed on: "cpu", "gpu" or "tpu"."""
    if backend == "jax":
        import jax

        return jax.default_backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def _has_instructions(precision: str) -> bool:
    """Return whether a CPU multiplies numbers of a 16-bit dtype, as torch finds it."""
    import torch

    found = torch.cpu.get_capabilities()
    names = {"bfloat16": ("avx512_bf16", "amx_bf16"), "float16": ("avx512_fp16", "amx_fp16")}
    return any(found.get(name, False) for name in names[precision])
