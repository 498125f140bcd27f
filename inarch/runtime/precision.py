"""Precisions for which a backend has kernels on this hardware."""

from __future__ import annotations

from typing import Any

import keras

from inarch.errors import InputError


def check_kernels(precision: str, variable: Any) -> None:
    """Raise InputError where computing in a precision would only be slower than in float32.

    Args:
        precision: "int8", "bfloat16" or "float16".
        variable: of the model that computes, on whose device it does.
    """
    backend = keras.backend.backend()
    device = _device(variable.value, backend)
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


def _device(value: Any, backend: str) -> str:
    """Return the kind of device that a backend tensor is on, such as "cpu", "gpu" or "mps"."""
    if backend == "jax":
        return next(iter(value.devices())).platform.lower()
    if backend == "tensorflow":
        import tensorflow as tf

        return (tf.DeviceSpec.from_string(value.device).device_type or "cpu").lower()
    if backend == "torch":
        return "gpu" if value.is_cuda else value.device.type
    return "cpu"


def _has_instructions(precision: str) -> bool:
    """Return whether a CPU multiplies numbers of a 16-bit dtype, as torch finds it."""
    import torch

    # An older torch, which doesn't say, is taken to have found none.
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    names = {"bfloat16": ("avx512_bf16", "amx_bf16"), "float16": ("avx512_fp16", "amx_fp16")}
    return any(found.get(name, False) for name in names[precision])
