"""Values in the wrong variables, as a wrong weight map or a careless loader puts them."""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np

from inarch.layers import SinePositions
from inarch.verify.trace import layers_of

from .fault import Fault, Injection, at, changed, copied, exchanged, together

LAYER = "layer_1"
ATTENTION = f"{LAYER}/attention"
QUERY, KEY, VALUE, OUTPUT = (f"{ATTENTION}/{n}" for n in ("query", "key", "value", "output"))
LEAVES = (
    "attention/query", "attention/key", "attention/value", "attention/output", "attention_norm",
    "feed_forward/up", "feed_forward/down", "feed_forward_norm",
)  # fmt: skip
POSITIONS = "embeddings/position_embedding"

OTHER_WEIGHTS = r"swapped|holds"


def transposed(path: str) -> Injection:
    return changed(f"{path}/kernel", np.transpose)


def no_bias(path: str, name: str = "bias") -> Injection:
    return changed(f"{path}/{name}", np.zeros_like)


def heads_interleaved(path: str, axis: int) -> Injection:
    """The features of all heads by turns, `(d h)`, where `(h d)` is right."""

    def inject(model: keras.Model) -> None:
        heads = layers_of(model)[ATTENTION].num_heads

        def reorder(value: np.ndarray) -> np.ndarray:
            order = np.arange(value.shape[axis]).reshape(heads, -1).T.ravel()
            return np.take(value, order, axis)

        changed(f"{path}/kernel", reorder)(model)
        if axis == -1:
            changed(f"{path}/bias", reorder)(model)

    return inject


def nudged(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value[0, 0] *= 1.01
    return value


def spoilt(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value[0, 0] = np.nan
    return value


def rounded(value: np.ndarray) -> np.ndarray:
    return value.astype(ml_dtypes.bfloat16).astype(value.dtype)


def sines(value: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(SinePositions()(value.shape, dtype="float32"))


KERNELS = [
    Fault("Query kernel transposed", transposed(QUERY), at(QUERY), "transposed", fast=True),
    Fault("Attention's output kernel transposed", transposed(OUTPUT), at(OUTPUT), "transposed"),
    Fault("Query and key swapped", exchanged((QUERY, KEY)), at(QUERY, KEY), OTHER_WEIGHTS,
        fast=True),
    Fault("Key and value swapped", exchanged((KEY, VALUE)), at(KEY, VALUE), OTHER_WEIGHTS),
    Fault("Query and value swapped", exchanged((QUERY, VALUE)), at(QUERY, VALUE), OTHER_WEIGHTS),
    Fault("Heads of query and key interleaved",
        together(heads_interleaved(QUERY, -1), heads_interleaved(KEY, -1)), at(QUERY, KEY),
        r"heads?\b.*order", fast=True),
    Fault("One weight of a kernel off by 1%", changed(f"{LAYER}/feed_forward/up/kernel", nudged),
        at(f"{LAYER}/feed_forward/up"), "holds other values"),
    Fault("One weight of a kernel not a number", changed(f"{LAYER}/feed_forward/up/kernel", spoilt),
        at(f"{LAYER}/feed_forward/up"), "number"),
    Fault("Rows of attention's output kernel interleaved", heads_interleaved(OUTPUT, 0),
        at(OUTPUT), r"heads?\b.*order"),
]  # fmt: skip

BIASES = [
    Fault(f"{name} bias dropped", no_bias(path), at(path), "bias", fast=path == VALUE)
    for name, path in {
        "Query": QUERY, "Key": KEY, "Value": VALUE, "Attention's output": OUTPUT,
        "First feed-forward": f"{LAYER}/feed_forward/up",
        "Second feed-forward": f"{LAYER}/feed_forward/down",
    }.items()
]  # fmt: skip

NORM, OTHER_NORM = f"{LAYER}/attention_norm", f"{LAYER}/feed_forward_norm"
NORMS = [
    Fault("The two norms of a layer swapped", exchanged((NORM, OTHER_NORM)),
        at(NORM, OTHER_NORM), OTHER_WEIGHTS),
    Fault("Gamma and beta swapped", exchanged((f"{NORM}/gamma", f"{NORM}/beta")), at(NORM),
        "gamma|beta"),
    Fault("Gamma never loaded", changed(f"{NORM}/gamma", np.ones_like), at(NORM), "gamma"),
    Fault("Beta never loaded", changed(f"{NORM}/beta", np.zeros_like), at(NORM), "beta"),
    Fault("Gamma taken as 1 + gamma", changed(f"{NORM}/gamma", lambda g: 1 + g), at(NORM),
        "gamma"),
]  # fmt: skip

LAYERS = [
    Fault("Layers' weights in the wrong order", exchanged(("layer_0", "layer_1")),
        at(*(f"{layer}/{leaf}" for layer in ("layer_0", "layer_1") for leaf in LEAVES)),
        OTHER_WEIGHTS),
    Fault("One layer's weights in two layers", copied("layer_0", "layer_1"),
        at(*(f"layer_1/{leaf}" for leaf in LEAVES)), OTHER_WEIGHTS),
]  # fmt: skip

POSITION = [
    Fault("Position table shifted by a row",
        changed(f"{POSITIONS}/embeddings", lambda t: np.roll(t, 1, axis=0)), at(POSITIONS),
        "rows are -1 off"),
    Fault("Sines in place of trained positions", changed(f"{POSITIONS}/embeddings", sines),
        at(POSITIONS), "holds|table|rows"),
]  # fmt: skip


def tables(tokens: str) -> list[Fault]:
    """Faults of the token table at the path `tokens`."""
    return [
        Fault("Token table shifted by a row",
            changed(f"{tokens}/embeddings", lambda t: np.roll(t, 1, axis=0)), at(tokens),
            "rows are -1 off"),
        Fault("Token table rounded to bfloat16", changed(f"{tokens}/embeddings", rounded),
            at(tokens), "bfloat16|precision|round|holds other values"),
    ]  # fmt: skip


SEGMENTS = [
    Fault("Segments swapped",
        changed("segment_embedding/embeddings", lambda t: t[::-1]), at("segment_embedding"),
        r"rows are -1 off|gives row \d of \S+ where the reference gives row \d"),
]  # fmt: skip


def faults(layers: set[str]) -> list[Fault]:
    (tokens,) = (layer for layer in layers if layer.endswith("token_embedding"))
    found = [*KERNELS, *BIASES, *NORMS, *LAYERS, *tables(tokens), *POSITION]
    found += SEGMENTS if "segment_embedding" in layers else []
    return [fault for fault in found if fault.places <= layers]
