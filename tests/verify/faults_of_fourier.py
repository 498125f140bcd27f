"""Mixing by Fourier transforms as it gets written wrongly, and what is around it in FNet.

Every encoder layer runs the same code, so every one of them mixes wrongly.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.verify.golden import ROWS
from inarch.verify.trace import layers_of

from .fault import (
    ENCODERS,
    NEVER_CALLED,
    Fault,
    Injection,
    around,
    at,
    attribute,
    calls,
    changed,
    computes,
    copied,
    everywhere,
    exchanged,
)
from .faults_of_graph import add, always_drop, precision, rms_norm, twice, unbiased_norm
from .faults_of_weights import OTHER_WEIGHTS, no_bias, nudged, transposed

PLACES = everywhere("attention_norm")
LAYER = "layer_1"
NORM, OUTPUT_NORM = f"{LAYER}/attention_norm", f"{LAYER}/feed_forward_norm"
PROJECTION = "embeddings_projection"
LEAVES = ("attention_norm", "feed_forward/up", "feed_forward/down", "feed_forward_norm")


# --- transforms ----------------------------------------------------------------------------------


def whole(x: Any) -> tuple[Any, Any]:
    """Real and imaginary part over length and width."""
    return ops.fft2((x, ops.zeros_like(x)))


def right(x: Any) -> Any:
    return whole(x)[0]


def over(axis: int, real: Any, imaginary: Any, size: int = 0) -> tuple[Any, Any]:
    """Real and imaginary part over one axis, filled up to `size` and cut again."""
    length = real.shape[axis]
    turns = np.outer(np.arange(length), np.arange(length)) / (size or length)
    cosines, sines = (f(2 * np.pi * turns).astype("float32") for f in (np.cos, np.sin))
    along = {0: "bij,bk->kij", 1: "bij,ik->bkj", 2: "bij,jk->bik"}[axis]

    def times(x: Any, matrix: Any) -> Any:
        return ops.einsum(along, x, matrix)

    return (
        times(real, cosines) + times(imaginary, sines),
        times(imaginary, cosines) - times(real, sines),
    )


def padded(axis: int) -> Any:
    def mix(x: Any) -> Any:
        first = over(axis, x, 0 * x, 1 << (x.shape[axis] - 1).bit_length())
        return over(3 - axis, *first)[0]

    return mix


def shifted(axis: int) -> Any:
    return lambda x: ops.roll(right(x), x.shape[axis] // 2, axis=axis)


def without_padding(x: Any) -> Any:
    tokens = (np.arange(x.shape[1]) < np.array(ROWS)[:, None]).astype("float32")
    return right(x * ops.convert_to_tensor(tokens[..., None]))


# --- an encoder layer ----------------------------------------------------------------------------


def mix_and_feed_forward(
    layer: Any,
    inputs: Any,
    training: bool | None = None,
    mix: Any = right,
    first: Any = add,
    second: Any = add,
) -> Any:
    """What `FNetEncoder` computes, if nothing is replaced."""
    x = layer.attention_norm(first(inputs, mix(inputs), inputs))
    return layer.feed_forward_norm(
        second(x, layer.feed_forward.down(layer.feed_forward.up(x)), inputs)
    )


def mixes(mix: Any) -> Injection:
    return computes(at(*ENCODERS), mix_and_feed_forward, mix=mix)


def sums(**replaced: Any) -> Injection:
    return computes(at(LAYER), mix_and_feed_forward, **replaced)


def norms_before_the_halves(layer: Any, x: Any, training: bool | None = None) -> Any:
    x = x + right(layer.attention_norm(x))
    return x + layer.feed_forward.down(layer.feed_forward.up(layer.feed_forward_norm(x)))


def one_norm_for_both(layer: Any, x: Any, training: bool | None = None) -> Any:
    """A line copied and not changed: `feed_forward_norm` is never called."""
    x = layer.attention_norm(x + right(x))
    return layer.attention_norm(x + layer.feed_forward.down(layer.feed_forward.up(x)))


def in_float16(x: Any, y: Any, start: Any) -> Any:
    return ops.cast(ops.cast(x + y, "float16"), x.dtype)


MIXING = [
    Fault("Imaginary part for the real one", mixes(lambda x: whole(x)[1]), PLACES,
        "the imaginary part", fast=True),
    Fault("Magnitude for the real part",
        mixes(lambda x: ops.sqrt(whole(x)[0] ** 2 + whole(x)[1] ** 2)), PLACES, "magnitude"),
    Fault("Real and imaginary part added", mixes(lambda x: sum(whole(x))), PLACES, "sum of real"),
    Fault("Hartley's transform for Fourier's", mixes(lambda x: whole(x)[0] - whole(x)[1]), PLACES,
        "Hartley"),
    Fault("Transform over the length alone", mixes(lambda x: over(1, x, 0 * x)[0]), PLACES,
        "length alone", fast=True),
    Fault("Transform over the width alone", mixes(lambda x: over(2, x, 0 * x)[0]), PLACES,
        "width alone"),
    Fault("Transform over the batch too", mixes(lambda x: over(0, *whole(x))[0]), PLACES,
        "batch too"),
    Fault("Transform over batch and width",
        mixes(lambda x: over(0, *over(2, x, 0 * x))[0]), PLACES, "batch and width"),
    Fault("Real part taken after each axis",
        mixes(lambda x: over(1, over(2, x, 0 * x)[0], 0 * x)[0]), PLACES, "after each axis",
        fast=True),
    Fault("Transform scaled to keep lengths",
        mixes(lambda x: right(x) / sqrt(x.shape[1] * x.shape[2])), PLACES, "ortho"),
    Fault("Inverse transform", mixes(lambda x: right(x) / (x.shape[1] * x.shape[2])), PLACES,
        "inverse"),
    Fault("Transform divided by the length", mixes(lambda x: right(x) / x.shape[1]), PLACES,
        "divided by the length"),
    Fault("Length padded to a power of two", mixes(padded(1)), PLACES, "length padded",
        fast=True),
    Fault("Width padded to a power of two", mixes(padded(2)), PLACES, "width padded"),
    Fault("Padding masked out before mixing", mixes(without_padding), PLACES, "masked",
        fast=True),
    Fault("Frequencies shifted along the length", mixes(shifted(1)), PLACES, "shifted"),
    Fault("Mixing left out", mixes(ops.zeros_like), PLACES, "left out"),
    Fault("Transformed twice", mixes(lambda x: right(right(x))), PLACES, "twice"),
    Fault("Mixed sum in float16", sums(first=in_float16), at(NORM), "float16"),
]  # fmt: skip

RESIDUALS = [
    Fault("Residual missing around mixing", sums(first=lambda x, y, start: y), at(NORM),
        "no residual", fast=True),
    Fault("Residual around mixing added twice", sums(first=lambda x, y, start: 2 * x + y),
        at(NORM), "residual twice"),
    Fault("Residual missing around the feed-forward half", sums(second=lambda x, y, start: y),
        at(OUTPUT_NORM), "residual|missing"),
    Fault("Residual of the feed-forward half from the layer's input",
        sums(second=lambda x, y, start: start + y), at(OUTPUT_NORM),
        "residual: .*ours the input of layer_1"),
    Fault("Norms before each half, not after", computes(at(LAYER), norms_before_the_halves),
        at(LAYER), "after the norm"),
    Fault("One norm in both halves", computes(at(LAYER), one_norm_for_both), at(LAYER),
        NEVER_CALLED),
    Fault("Last layer skipped", calls(at(LAYER), lambda call, x, **others: x), at(LAYER),
        NEVER_CALLED),
    Fault("First layer applied twice", calls(at("layer_0"), twice), at("layer_0"), "runs 2 times"),
]  # fmt: skip


# --- norms, the projection, weights --------------------------------------------------------------


def projected_before_the_norm(model: keras.Model) -> None:
    """The two layers after the embeddings the other way round."""
    layers = layers_of(model)
    norm, projection = layers["embeddings_norm"], layers[PROJECTION]
    first, second = norm.call, projection.call
    around(norm, lambda call, x, **others: second(x))
    around(projection, lambda call, x, **others: first(x))


def dropped(model: keras.Model) -> None:
    always_drop(layers_of(model)[LAYER])


REST = [
    Fault("Projection of the embeddings left out",
        calls(at(PROJECTION), lambda call, x, **others: x), at(PROJECTION), "left out"),
    Fault("Projection's kernel transposed", transposed(PROJECTION), at(PROJECTION), "transposed"),
    Fault("Projection's bias dropped", no_bias(PROJECTION), at(PROJECTION), "bias"),
    Fault("Projection before the norm", projected_before_the_norm,
        at("embeddings_norm", PROJECTION)),
    Fault("One weight of the projection off by 1%", changed(f"{PROJECTION}/kernel", nudged),
        at(PROJECTION), "kernel|holds"),
    Fault("The two norms of a layer swapped", exchanged((NORM, OUTPUT_NORM)),
        at(NORM, OUTPUT_NORM), OTHER_WEIGHTS),
    Fault("Gamma and beta swapped", exchanged((f"{NORM}/gamma", f"{NORM}/beta")), at(NORM),
        "gamma|beta"),
    Fault("Gamma never loaded", changed(f"{NORM}/gamma", np.ones_like), at(NORM), "gamma"),
    Fault("Beta never loaded", changed(f"{NORM}/beta", np.zeros_like), at(NORM), "beta"),
    Fault("Epsilon 1e-1 in the norm after mixing", attribute(at(NORM), "epsilon", 0.1), at(NORM),
        "epsilon"),
    Fault("Epsilon 1e-5 in the norm after the feed-forward half",
        attribute(at(OUTPUT_NORM), "epsilon", 1e-5), at(OUTPUT_NORM), "epsilon"),
    Fault("RMS norm for layer norm", computes(at(NORM), rms_norm), at(NORM), "mean|RMS"),
    Fault("Unbiased variance in a norm", computes(at(NORM), unbiased_norm), at(NORM),
        "unbiased|variance"),
    Fault("One norm in bfloat16", precision("bfloat16", NORM), at(NORM), "bfloat16|precision",
        mixed=True),
    Fault("Layers' weights in the wrong order", exchanged(ENCODERS),
        at(*(f"{layer}/{leaf}" for layer in ENCODERS for leaf in LEAVES)), OTHER_WEIGHTS),
    Fault("One layer's weights in two layers", copied(*ENCODERS),
        at(*(f"{LAYER}/{leaf}" for leaf in LEAVES)), OTHER_WEIGHTS),
    Fault("Dropout left on", dropped, at(OUTPUT_NORM), "dropout"),
]  # fmt: skip


def faults(layers: set[str]) -> list[Fault]:
    mixes = layers >= PLACES and f"{LAYER}/attention" not in layers
    return [*MIXING, *RESIDUALS, *REST] if mixes else []
