"""Layers joined or configured wrongly: embeddings, norms, activations, residuals, precision."""

from __future__ import annotations

from math import sqrt
from typing import Any

import keras
from keras import ops

from inarch.layers.mask import self_attention_mask
from inarch.verify.trace import layers_of

from .fault import (
    NEVER_CALLED,
    Fault,
    Injection,
    around,
    at,
    attribute,
    calls,
    computes,
    gives,
    takes,
    together,
    with_layers,
)

LAYER = "layer_1"
UP, DOWN = f"{LAYER}/feed_forward/up", f"{LAYER}/feed_forward/down"
NORM, OUTPUT_NORM = f"{LAYER}/attention_norm", f"{LAYER}/feed_forward_norm"
TOKENS = "token_embedding"
POSITIONS, EMBEDDINGS_NORM = "embeddings/position_embedding", "embeddings_norm"


# --- embeddings ----------------------------------------------------------------------------------


def later(call: Any, x: Any, start_index: Any = 0, positions: Any = None, **others: Any) -> Any:
    if positions is not None:
        positions = positions + 1
    return call(x, start_index=start_index + 1, positions=positions, **others)


def without_positions(layer: Any, inputs: Any, **others: Any) -> Any:
    return layer.token_embedding(inputs)


def next_words(model: keras.Model) -> None:
    table = next(layer for path, layer in layers_of(model).items() if path.endswith(TOKENS))
    around(table, lambda call, ids, **others: call((ids + 1) % table.input_dim, **others))


def segments_not_added(model: keras.Model) -> None:
    """The sum that the segments go into passes on its first term alone."""
    segments = layers_of(model)["segment_embedding"]
    around(segments._outbound_nodes[0].operation, lambda call, terms: terms[0])


POSITION = [
    Fault("Positions start one too late", calls(at(POSITIONS), later), at(POSITIONS),
        r"rows are \+1 off", fast=True),
    # The layer that is never called, and the sum that lacks it.
    Fault("Position embedding left out", computes(at("embeddings"), without_positions),
        at(POSITIONS, EMBEDDINGS_NORM), NEVER_CALLED),
    Fault("Position embedding gives zeros", gives(POSITIONS, ops.zeros_like), at(POSITIONS),
        "zeros|never"),
    Fault("Embeddings scaled by the root of their width",
        gives("embeddings", lambda x: x * sqrt(x.shape[-1])), at(EMBEDDINGS_NORM),
        "times|scale|factor"),
]  # fmt: skip


def embeddings(tokens: str) -> list[Fault]:
    """Faults of the token embedding, which is at the path `tokens`, and of the norm after it."""
    return [
        Fault("Token ids off by one", next_words, at(tokens), r"rows are \+1 off"),
        Fault("Embeddings not normalised", calls(at(EMBEDDINGS_NORM), lambda call, x: x),
            at(EMBEDDINGS_NORM), "ours is no normalization"),
    ]  # fmt: skip


SEGMENTS = [
    Fault("Segment ids ignored", takes("segment_embedding", ops.zeros_like),
        at("segment_embedding"), "always gives row 0"),
    Fault("Segment embedding not added", segments_not_added, at(EMBEDDINGS_NORM),
        "segment_embedding is missing"),
]  # fmt: skip


# --- norms and activations -----------------------------------------------------------------------


def rms_norm(layer: Any, x: Any) -> Any:
    size = ops.sqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + layer.epsilon)
    return x / size * layer.gamma + layer.beta


def unbiased_norm(layer: Any, x: Any) -> Any:
    width = x.shape[-1]
    variance = ops.var(x, axis=-1, keepdims=True) * (width / (width - 1))
    x = (x - ops.mean(x, axis=-1, keepdims=True)) / ops.sqrt(variance + layer.epsilon)
    return x * layer.gamma + layer.beta


def epsilon(value: float, *paths: str) -> Injection:
    return attribute(at(*paths), "epsilon", value)


def activation(name: str) -> Injection:
    return attribute(at(UP), "activation", ACTIVATIONS[name])


def quick_gelu(x: Any) -> Any:
    return x * ops.sigmoid(1.702 * x)


ACTIVATIONS = {
    "GELU through tanh": lambda x: ops.gelu(x, approximate=True),
    "GELU through a sigmoid": quick_gelu,
    "SiLU for GELU": ops.silu,
    "ReLU for GELU": ops.relu,
    "Feed-forward activation missing": keras.activations.linear,
}
WORDS = ("tanh", "sigmoid|quick", "silu|swish", "relu", "linear|no activation|missing|identity")

NORMS = [
    Fault("Epsilon 1e-5 in one norm", epsilon(1e-5, NORM), at(NORM), "epsilon", fast=True),
    Fault("Epsilon 1e-5 in a layer's norms", epsilon(1e-5, NORM, OUTPUT_NORM),
        at(NORM, OUTPUT_NORM), "epsilon"),
    Fault("Epsilon 1e-5 in the embeddings' norm", epsilon(1e-5, EMBEDDINGS_NORM),
        at(EMBEDDINGS_NORM), "epsilon"),
    Fault("Epsilon 1e-3 in one norm", epsilon(1e-3, NORM), at(NORM), "epsilon"),
    Fault("RMS norm for layer norm", computes(at(NORM), rms_norm), at(NORM), "mean|RMS"),
    Fault("Unbiased variance in a norm", computes(at(NORM), unbiased_norm), at(NORM),
        "unbiased|variance"),
]  # fmt: skip

ACTIVATION = [
    Fault(name, activation(name), at(UP), f"(?i){word}", fast=word == "tanh")
    for name, word in zip(ACTIVATIONS, WORDS, strict=True)
]

# Where GELU through tanh is right, the exact one isn't.
ACTIVATION_AFTER_TANH = [
    Fault("Exact GELU for the one through tanh",
        attribute(at(UP), "activation", lambda x: ops.gelu(x, approximate=False)), at(UP), "tanh"),
    *ACTIVATION[1:],
]  # fmt: skip


# --- an encoder layer, and its residuals ---------------------------------------------------------


def add(x: Any, y: Any, start: Any) -> Any:
    return x + y


def attended(layer: Any, x: Any, *table: Any, padding_mask: Any) -> Any:
    """Attention over the sequence, and over a table of relative positions where there is one."""
    return layer.attention(x, *(table or (x,)), attention_mask=self_attention_mask(padding_mask))


def encode(
    layer: Any,
    inputs: Any,
    *table: Any,
    padding_mask: Any = None,
    training: bool | None = None,
    first: Any = add,
    second: Any = add,
) -> Any:
    """What an encoder layer computes, if no sum is replaced."""
    y = attended(layer, inputs, *table, padding_mask=padding_mask)
    x = layer.attention_norm(first(inputs, y, inputs))
    return layer.feed_forward_norm(
        second(x, layer.feed_forward.down(layer.feed_forward.up(x)), inputs)
    )


def sums(**replaced: Any) -> Injection:
    return computes(at(LAYER), encode, **replaced)


def normalised_before_the_sum(
    layer: Any, x: Any, *table: Any, padding_mask: Any = None, training: bool | None = None
) -> Any:
    y = attended(layer, x, *table, padding_mask=padding_mask)
    x = x + layer.attention_norm(y)
    return x + layer.feed_forward_norm(layer.feed_forward.down(layer.feed_forward.up(x)))


def one_norm_for_both(
    layer: Any, x: Any, *table: Any, padding_mask: Any = None, training: bool | None = None
) -> Any:
    """A line copied and not changed: `feed_forward_norm` is never called."""
    y = attended(layer, x, *table, padding_mask=padding_mask)
    x = layer.attention_norm(x + y)
    return layer.attention_norm(x + layer.feed_forward.down(layer.feed_forward.up(x)))


def twice(call: Any, x: Any, *table: Any, **others: Any) -> Any:
    return call(call(x, *table, **others), *table, **others)


RESIDUALS = [
    Fault("Residual missing around attention", sums(first=lambda x, y, start: y), at(NORM),
        "residual|lacks|missing", fast=True),
    Fault("Residual missing around the feed-forward half", sums(second=lambda x, y, start: y),
        at(OUTPUT_NORM), "residual|lacks|missing"),
    Fault("Residual added twice", sums(first=lambda x, y, start: 2 * x + y), at(NORM),
        r"residual|twice|\b2 x"),
    Fault("Residual halved", sums(second=lambda x, y, start: (x + y) / 2), at(OUTPUT_NORM),
        "half|halved|0\\.5|1/2|factor|times"),
    Fault("Residual of the feed-forward half from the layer's input",
        sums(second=lambda x, y, start: start + y), at(OUTPUT_NORM),
        "residual: .*ours the input of layer_1"),
    Fault("Residual from before the norm", sums(second=lambda x, y, start: start + x + y),
        at(OUTPUT_NORM), "residual too many"),
    Fault("Norms before each half, not after", attribute(at(LAYER), "normalize_first", True),
        at(LAYER), "norm.*before the sum"),
    Fault("Norms before the sums", computes(at(LAYER), normalised_before_the_sum), at(LAYER)),
    Fault("One norm in both halves", computes(at(LAYER), one_norm_for_both), at(LAYER),
        NEVER_CALLED),
    Fault("Last layer skipped", calls(at(LAYER), lambda call, x, *table, **others: x), at(LAYER),
        NEVER_CALLED),
    Fault("First layer applied twice", calls(at("layer_0"), twice), at("layer_0"), "runs 2 times"),
]  # fmt: skip


# --- numbers -------------------------------------------------------------------------------------


def precision(dtype: str, *paths: str) -> Injection:
    def lower(layer: Any) -> None:
        for inner in layer._flatten_layers():
            inner.dtype_policy = f"mixed_{dtype}"

    return with_layers(at(*paths), lower)


def always_drop(layer: Any) -> None:
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Dropout):
            around(inner, lambda call, x, training=None: call(x, training=True))


def in_training(call: Any, *args: Any, **others: Any) -> Any:
    return call(*args, **{**others, "training": True})


DROPOUT = together(
    calls(at(f"{LAYER}/attention"), in_training), with_layers(at(LAYER), always_drop)
)

NUMBERS = [
    Fault("One dense layer in bfloat16", precision("bfloat16", DOWN), at(DOWN),
        "bfloat16|precision"),
    Fault("One norm in bfloat16", precision("bfloat16", NORM), at(NORM), "bfloat16|precision",
        mixed=True),
    Fault("A whole layer in float16", precision("float16", LAYER), at(LAYER),
        "float16|precision", mixed=True),
    Fault("Dropout left on", DROPOUT, at(f"{LAYER}/attention", NORM, OUTPUT_NORM), "dropout"),
]  # fmt: skip


def faults(layers: set[str], tanh: bool = False) -> list[Fault]:
    """Those that the layers can have.

    Args:
        tanh: whether the right activation is GELU through tanh.
    """
    (tokens,) = (layer for layer in layers if layer.endswith("token_embedding"))
    found = [*embeddings(tokens), *(POSITION if POSITIONS in layers else []), *NORMS]
    found += ACTIVATION_AFTER_TANH if tanh else ACTIVATION
    found += RESIDUALS if f"{LAYER}/attention" in layers else []
    found += NUMBERS
    found += SEGMENTS if "segment_embedding" in layers else []
    return [fault for fault in found if fault.places <= layers]
