"""Tokens that are mixed by another transform than the reference's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inarch.verify.doctor.evidence import Evidence

Mixing = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _real(transform: Callable[[np.ndarray], np.ndarray]) -> Mixing:
    return lambda x, real: transform(x).real


def _cut(x: np.ndarray, axis: int) -> np.ndarray:
    """Zeros up to a power of two, and as many frequencies as there were values."""
    size = x.shape[axis]
    padded = np.fft.fft(x, 1 << (size - 1).bit_length(), axis=axis)
    return np.fft.fft(np.take(padded, range(size), axis), axis=3 - axis)


RIGHT = "the real part over length and width"
MIXINGS: dict[str, Mixing] = {
    RIGHT: _real(np.fft.fft2),
    "the imaginary part": lambda x, real: np.fft.fft2(x).imag,
    "the negative imaginary part": lambda x, real: -np.fft.fft2(x).imag,
    "the magnitude": lambda x, real: np.abs(np.fft.fft2(x)),
    "the sum of real and imaginary part": lambda x, real: np.fft.fft2(x).real + np.fft.fft2(x).imag,
    "the difference of real and imaginary part (Hartley's transform)":
        lambda x, real: np.fft.fft2(x).real - np.fft.fft2(x).imag,
    "over the length alone": _real(lambda x: np.fft.fft(x, axis=1)),
    "over the width alone": _real(lambda x: np.fft.fft(x, axis=2)),
    "over the batch too": _real(np.fft.fftn),
    "over batch and width": _real(lambda x: np.fft.fftn(x, axes=(0, 2))),
    "over batch and length": _real(lambda x: np.fft.fftn(x, axes=(0, 1))),
    "the real part taken after each axis":
        _real(lambda x: np.fft.fft(np.fft.fft(x, axis=2).real, axis=1)),
    "scaled to keep lengths (ortho)": _real(lambda x: np.fft.fft2(x, norm="ortho")),
    "the inverse, divided by length and width": _real(np.fft.ifft2),
    "divided by the length": _real(lambda x: np.fft.fft2(x) / x.shape[1]),
    "divided by the width": _real(lambda x: np.fft.fft2(x) / x.shape[2]),
    "over the length padded to a power of two": _real(lambda x: _cut(x, 1)),
    "over the width padded to a power of two": _real(lambda x: _cut(x, 2)),
    "with the padding masked out": lambda x, real: np.fft.fft2(x * real[..., None]).real,
    "with its frequencies shifted along the length":
        lambda x, real: np.fft.fftshift(np.fft.fft2(x).real, axes=1),
    "with its frequencies shifted along the width":
        lambda x, real: np.fft.fftshift(np.fft.fft2(x).real, axes=2),
    "applied twice": lambda x, real: np.fft.fft2(np.fft.fft2(x).real).real,
}  # fmt: skip
RESIDUALS = {1: "", 0: "with no residual", 2: "with the residual twice"}


def diagnose(evidence: Evidence) -> str | None:
    """What is wrong with `x + transform(x)`, by what ours turns out to be."""
    x = evidence.known("input", evidence.finding.layer)
    mask = evidence.reference.inputs.get("padding_mask")
    if x is None or mask is None or x.ndim != 3 or x.shape != evidence.theirs.shape:
        return None
    if not evidence.same(x + MIXINGS[RIGHT](x, mask != 0), evidence.theirs):
        return None
    if evidence.same(x, evidence.ours):
        return (
            "the norm gets the layer's input as it is: the Fourier transform is left out, or comes "
            f"after the norm; the reference has {RIGHT} added to that input"
        )
    for name, mixing in MIXINGS.items():
        mixed = mixing(x, mask != 0)
        for times, residual in RESIDUALS.items():
            if evidence.same(times * x + mixed, evidence.ours):
                said = [part for part in (name if name != RIGHT else "", residual) if part]
                return (
                    f"the Fourier transform: ours is {', '.join(said)}; the reference's is "
                    f"{RIGHT}, and one residual, which restores its values"
                )
    return None
