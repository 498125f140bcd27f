"""An encoder that hears and a decoder that says, as they get written wrongly.

Both normalise before each half. The encoder reads no mask; the decoder sees what was said before,
and all that was heard.
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import keras
import numpy as np
from keras import ops

from .fault import (
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
    exchanged,
    gives,
    with_layers,
)
from .faults_of_attention import (
    attend,
    in_float16,
    interleaved,
    masked,
    merged_interleaved,
    steps,
    unscaled,
    untransposed,
    weigh,
    with_heads,
)
from .faults_of_graph import (
    ACTIVATIONS,
    WORDS,
    add,
    later,
    precision,
    rms_norm,
    twice,
    unbiased_norm,
    without_positions,
)
from .faults_of_weights import OTHER_WEIGHTS, no_bias, nudged, sines, spoilt, transposed

ENCODER, DECODER = "encoder_layer_1", "decoder_layer_1"
HEARING, SAYING, CROSS = (
    at(*(f"{side}_layer_{i}/{name}" for i in range(2)))
    for side, name in (
        ("encoder", "attention"), ("decoder", "attention"), ("decoder", "cross_attention")
    )
)  # fmt: skip
SELF, ACROSS = f"{DECODER}/attention", f"{DECODER}/cross_attention"
UP, DOWN = f"{ENCODER}/feed_forward/up", f"{ENCODER}/feed_forward/down"
NORM, OUTPUT_NORM = f"{ENCODER}/attention_norm", f"{ENCODER}/feed_forward_norm"
FIRST, SECOND = "encoder_conv_1", "encoder_conv_2"
TABLE = "decoder_embedding/token_embedding"
HEARD, SAID = "encoder_position_embedding", "decoder_embedding/position_embedding"
PARTS = ("query", "key", "value", "output")
LEAVES = {
    "encoder": [*(f"attention/{p}" for p in PARTS), "attention_norm"],
    "decoder": [f"{a}/{p}" for a in ("attention", "cross_attention") for p in PARTS]
    + ["attention_norm", "cross_attention_norm"],
}


def leaves(side: str, *layers: int) -> frozenset[str]:
    found = [*LEAVES[side], "feed_forward/up", "feed_forward/down", "feed_forward_norm"]
    return at(*(f"{side}_layer_{i}/{leaf}" for i in layers for leaf in found))


# --- values in the wrong variables ---------------------------------------------------------------


def with_key_bias(x: Any) -> Any:
    """Softmax doesn't feel it; whoever trains on does."""
    return x + ops.arange(x.shape[-1], dtype=x.dtype) / 10


BIASES = [
    Fault(f"{name} bias dropped", no_bias(path), at(path), "bias")
    for name, path in {
        "First convolution's": FIRST, "Second convolution's": SECOND,
        "Cross-attention's query": f"{ACROSS}/query", "Cross-attention's value": f"{ACROSS}/value",
        "Cross-attention's output": f"{ACROSS}/output", "First feed-forward": UP,
        "Second feed-forward": DOWN,
    }.items()
]  # fmt: skip

WEIGHTS = [
    Fault("Bias added to keys", gives(f"{ACROSS}/key", with_key_bias), at(f"{ACROSS}/key"), "bias",
        fast=True),
    Fault("Cross-attention's query kernel transposed", transposed(f"{ACROSS}/query"),
        at(f"{ACROSS}/query"), "transposed"),
    Fault("Encoder's output kernel transposed", transposed(f"{ENCODER}/attention/output"),
        at(f"{ENCODER}/attention/output"), "transposed"),
    Fault("Cross-attention's query and key swapped",
        exchanged((f"{ACROSS}/query/kernel", f"{ACROSS}/key/kernel")),
        at(f"{ACROSS}/query", f"{ACROSS}/key"), OTHER_WEIGHTS),
    Fault("Cross-attention's key and value swapped",
        exchanged((f"{ACROSS}/key/kernel", f"{ACROSS}/value/kernel")),
        at(f"{ACROSS}/key", f"{ACROSS}/value"), OTHER_WEIGHTS),
    Fault("Self- and cross-attention swapped", exchanged((SELF, ACROSS)),
        at(*(f"{path}/{part}" for path in (SELF, ACROSS) for part in PARTS)), OTHER_WEIGHTS),
    Fault("One weight of a kernel off by 1%", changed(f"{UP}/kernel", nudged), at(UP), "holds"),
    Fault("One weight of a kernel not a number", changed(f"{UP}/kernel", spoilt), at(UP), "number"),
    Fault("Encoder's layers in the wrong order", exchanged(("encoder_layer_0", ENCODER)),
        leaves("encoder", 0, 1), OTHER_WEIGHTS),
    Fault("Decoder's layers in the wrong order", exchanged(("decoder_layer_0", DECODER)),
        leaves("decoder", 0, 1), OTHER_WEIGHTS),
    Fault("One decoder layer's weights in two layers", copied("decoder_layer_0", DECODER),
        leaves("decoder", 1), OTHER_WEIGHTS),
    Fault("The two norms of an encoder layer swapped", exchanged((NORM, OUTPUT_NORM)),
        at(NORM, OUTPUT_NORM), OTHER_WEIGHTS),
    Fault("Norms of self- and cross-attention swapped",
        exchanged((f"{SELF}_norm", f"{ACROSS}_norm")), at(f"{SELF}_norm", f"{ACROSS}_norm"),
        OTHER_WEIGHTS),
    Fault("Last norms of encoder and decoder swapped", exchanged(("encoder_norm", "decoder_norm")),
        at("encoder_norm", "decoder_norm"), OTHER_WEIGHTS),
    Fault("Gamma and beta swapped", exchanged((f"{NORM}/gamma", f"{NORM}/beta")), at(NORM),
        "gamma|beta"),
    Fault("Gamma never loaded", changed(f"{NORM}/gamma", np.ones_like), at(NORM), "gamma"),
    Fault("Beta never loaded", changed(f"{NORM}/beta", np.zeros_like), at(NORM), "beta"),
]  # fmt: skip


# --- what is heard -------------------------------------------------------------------------------


def padded(before: int, after: int) -> Any:
    """Zeros elsewhere than as many before as after."""

    def convolve(layer: Any, x: Any) -> Any:
        return keras.layers.Conv1D.call(layer, ops.pad(x, ((0, 0), (before, after), (0, 0))))

    return convolve


def reversed_in_time(kernel: np.ndarray) -> np.ndarray:
    return kernel[::-1]


def graph(name: str, change: Any) -> Injection:
    """A layer without weights runs `change(call, ...)` in place of `call(...)`."""

    def inject(model: keras.Model) -> None:
        around(getattr(model, "backbone", model).get_layer(name), change)

    return inject


CONVOLUTIONS = [
    Fault("Convolution reversed in time", changed(f"{FIRST}/kernel", reversed_in_time), at(FIRST),
        "reversed in time", fast=True),
    Fault("Convolution of the past alone", computes(at(FIRST), padded(2, 0)), at(FIRST), "windows"),
    Fault("Strided convolution padded as Keras's 'same'", computes(at(SECOND), padded(0, 1)),
        at(SECOND), "windows"),
    Fault("Stride begins a frame early", computes(at(SECOND), padded(2, 0)), at(SECOND), "windows"),
    Fault("One weight of a convolution off by 1%", changed(f"{SECOND}/kernel", nudged), at(SECOND),
        "holds"),
    Fault("GELU through tanh after a convolution",
        graph("encoder_gelu_1", lambda call, x: ops.gelu(x, approximate=True)), at(SECOND), "tanh"),
    Fault("No activation after a convolution", graph("encoder_gelu_1", lambda call, x: x),
        at(SECOND), "no activation|sum|path|reference has"),
    Fault("ReLU after a convolution", graph("encoder_gelu_1", lambda call, x: ops.relu(x)),
        at(SECOND), "ReLU"),
    Fault("Encoder's positions not added",
        graph("encoder_embeddings", lambda call, terms: terms[0]), at("encoder_layer_0")),
]  # fmt: skip

POSITIONS = [
    Fault("Encoder's positions shifted by a row",
        changed(f"{HEARD}/embeddings", lambda t: np.roll(t, 1, axis=0)), at(HEARD), "rows are -1"),
    Fault("Encoder's sinusoids interleaved", changed(f"{HEARD}/embeddings", sines), at(HEARD),
        "holds|table|rows"),
    Fault("Encoder's positions backwards", gives(HEARD, lambda x: ops.flip(x, axis=1)), at(HEARD),
        "row"),
    Fault("Decoder's positions start one too late", calls(at(SAID), later), at(SAID),
        r"rows are \+1 off"),
    Fault("Decoder's positions left out", computes(at("decoder_embedding"), without_positions),
        at(SAID, "decoder_layer_0"), NEVER_CALLED),
    Fault("Decoder's embeddings scaled by the root of their width",
        gives("decoder_embedding", lambda x: x * sqrt(x.shape[-1])), at("decoder_layer_0"),
        "times|scale|factor"),
]  # fmt: skip


# --- attention -----------------------------------------------------------------------------------


def seen_both_ways(mask: Any) -> Any:
    return ops.logical_or(mask, ops.swapaxes(mask, 1, 2))


def next_seen(mask: Any) -> Any:
    shifted = ops.logical_and(ops.roll(mask, 1, axis=-1), seen_both_ways(mask))
    return ops.logical_or(mask, shifted)


def causal(call: Any, query: Any, value: Any, **others: Any) -> Any:
    """As if what is heard had to wait for what is said."""
    mask = np.tri(query.shape[1], value.shape[1]).astype(bool)
    return call(query, value, **{**others, "attention_mask": ops.convert_to_tensor(mask)})


def of_itself(call: Any, query: Any, value: Any, **others: Any) -> Any:
    return call(query, query, **others)


def exchanging(one: str, other: str) -> Any:
    """Two projections take each other's part."""

    def attended(layer: Any, query: Any, value: Any, **others: Any) -> Any:
        right = getattr(layer, one), getattr(layer, other)
        setattr(layer, one, right[1])
        setattr(layer, other, right[0])
        try:
            return attend(layer, query, value, **others)
        finally:
            setattr(layer, one, right[0])
            setattr(layer, other, right[1])

    return attended


def uniform(queries: Any, keys: Any, mask: Any) -> Any:
    return weigh(0 * queries, keys, mask)


UNSCALED = partial(weigh, scale=unscaled)
ATTENTION = [
    Fault("Causal mask missing", masked(seen_both_ways, SAYING), SAYING, "mask", fast=True),
    Fault("Causal mask off by one: the next token visible", masked(next_seen, SAYING), SAYING,
        "mask"),
    Fault("Causal mask the wrong way round", masked(lambda mask: ops.swapaxes(mask, 1, 2), SAYING),
        SAYING, "mask"),
    Fault("Causal mask in the encoder", calls(HEARING, causal), HEARING, "mask"),
    Fault("Causal mask in cross-attention", calls(CROSS, causal), CROSS, "mask", fast=True),
    Fault("Cross-attention of the decoder itself", calls(CROSS, of_itself), CROSS, "shape"),
    Fault("Cross-attention takes keys for values",
        computes(CROSS, exchanging("key_dense", "value_dense")), CROSS, "projections"),
    Fault("Encoder takes queries for values",
        computes(HEARING, exchanging("query_dense", "value_dense")), HEARING, "projections"),
    Fault("Cross-attention unscaled", steps(CROSS, weigh=UNSCALED), CROSS, "scale"),
    Fault("Encoder's attention unscaled", steps(HEARING, weigh=UNSCALED), HEARING, "scale"),
    Fault("Decoder's attention unscaled", steps(SAYING, weigh=UNSCALED), SAYING, "scale"),
    Fault("Cross-attention's heads in the wrong order", steps(CROSS, split=interleaved), CROSS,
        r"heads?\b.*order"),
    Fault("Encoder's heads split without transposing", steps(HEARING, split=untransposed), HEARING,
        "heads?"),
    Fault("Decoder's heads merged in the wrong order", steps(SAYING, merge=merged_interleaved),
        SAYING, r"heads?\b.*order"),
    Fault("Cross-attention with twice as many heads", with_heads(lambda n: 2 * n, CROSS), CROSS,
        r"\d heads"),
    Fault("Encoder with one head too few", with_heads(lambda n: n - 1, HEARING), HEARING,
        r"\d heads"),
    Fault("Cross-attention's softmax over queries", steps(CROSS, weigh=partial(weigh, axis=-2)),
        CROSS, "softmax"),
    Fault("Softmax in float16", steps(SAYING, weigh=in_float16), SAYING, "float16|precision"),
    Fault("Cross-attention uniform", steps(CROSS, weigh=uniform), CROSS, "uniform|mean"),
]  # fmt: skip


# --- layers, their norms and residuals -----------------------------------------------------------


def hear(
    layer: Any, inputs: Any, training: bool | None = None, first: Any = add, second: Any = add
) -> Any:
    """What an encoder layer computes, if no sum is replaced."""
    x = layer.attention_norm(inputs)
    x = first(inputs, layer.attention(x, x, attention_mask=None), inputs)
    return second(
        x, layer.feed_forward.down(layer.feed_forward.up(layer.feed_forward_norm(x))), inputs
    )


def sums(**replaced: Any) -> Injection:
    return computes(at(ENCODER), hear, **replaced)


def one_norm_for_both(layer: Any, inputs: Any, training: bool | None = None) -> Any:
    """A line copied and not changed: `feed_forward_norm` is never called."""
    x = layer.attention_norm(inputs)
    x = inputs + layer.attention(x, x, attention_mask=None)
    return x + layer.feed_forward.down(layer.feed_forward.up(layer.attention_norm(x)))


def normalised_residual(layer: Any, inputs: Any, training: bool | None = None) -> Any:
    normal = layer.attention_norm(inputs)
    x = normal + layer.attention(normal, normal, attention_mask=None)
    return x + layer.feed_forward.down(layer.feed_forward.up(layer.feed_forward_norm(x)))


def without_crossing(layer: Any) -> None:
    around(layer.cross_attention_drop, lambda call, x, training=None: 0 * x)


def as_it_is(call: Any, x: Any, *args: Any, **others: Any) -> Any:
    return x


def drop(layer: Any) -> None:
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Dropout):
            around(inner, lambda call, x, training=None: keras.random.dropout(x, 0.1))


def epsilon(value: float, *paths: str) -> Injection:
    return attribute(at(*paths), "epsilon", value)


# What the second half reads passes by it too, so that a wrong first sum is in both.
BOTH = at(OUTPUT_NORM, ENCODER)
LAYERS = [
    Fault("Residual missing around attention", sums(first=lambda x, y, start: y), BOTH,
        "residual|lacks|missing"),
    Fault("Residual missing around the feed-forward half", sums(second=lambda x, y, start: y),
        at(ENCODER), "residual|lacks|missing"),
    Fault("Residual added twice", sums(first=lambda x, y, start: 2 * x + y), BOTH,
        r"residual|twice|\b2 x"),
    Fault("Residual of the feed-forward half from the layer's input",
        sums(second=lambda x, y, start: start + y), at(ENCODER), "residual"),
    Fault("Residual from after the norm", computes(at(ENCODER), normalised_residual), BOTH,
        "residual|norm"),
    Fault("Norms after each half, not before", attribute(at(ENCODER), "normalize_first", False),
        at(ENCODER)),
    Fault("One norm in both halves", computes(at(ENCODER), one_norm_for_both), at(ENCODER),
        NEVER_CALLED),
    Fault("Cross-attention adds nothing", with_layers(at(DECODER), without_crossing),
        at(f"{DECODER}/feed_forward_norm", DECODER), "missing"),
    Fault("Last encoder layer skipped", calls(at(ENCODER), as_it_is), at(ENCODER), NEVER_CALLED),
    Fault("Last decoder layer skipped", calls(at(DECODER), as_it_is), at(DECODER), NEVER_CALLED),
    Fault("First encoder layer applied twice", calls(at("encoder_layer_0"), twice),
        at("encoder_layer_0"), "runs 2 times"),
    Fault("Encoder's last norm skipped", calls(at("encoder_norm"), as_it_is), at("encoder_norm"),
        "no normalization"),
    Fault("Decoder's last norm skipped", calls(at("decoder_norm"), as_it_is), at("decoder_norm"),
        "no normalization"),
    Fault("Epsilon 1e-3 in a norm", epsilon(1e-3, NORM), at(NORM), "epsilon"),
    Fault("Epsilon 1e-3 in the decoder's last norm", epsilon(1e-3, "decoder_norm"),
        at("decoder_norm"), "epsilon"),
    Fault("RMS norm for layer norm", computes(at(NORM), rms_norm), at(NORM), "mean|RMS"),
    Fault("Unbiased variance in a norm", computes(at(NORM), unbiased_norm), at(NORM),
        "unbiased|variance"),
    *(Fault(name, attribute(at(UP), "activation", function), at(UP), f"(?i){word}")
      for (name, function), word in zip(ACTIVATIONS.items(), WORDS, strict=True)),
    Fault("One dense layer in bfloat16", precision("bfloat16", DOWN), at(DOWN),
        "bfloat16|precision"),
    Fault("A whole layer in float16", precision("float16", ENCODER), at(ENCODER),
        "float16|precision", mixed=True),
    Fault("Dropout left on", with_layers(at(ENCODER), drop), at(ENCODER), "dropout"),
]  # fmt: skip


# --- the head, which is the table of tokens read the other way round -----------------------------


def head(change: Any) -> Injection:
    """Logits are `change(layer, call, hidden)`; embedding tokens is left as it is."""

    def wrap(layer: Any) -> None:
        def call(inner: Any, x: Any, reverse: bool = False) -> Any:
            return change(layer, lambda h: inner(h, reverse=True), x) if reverse else inner(x)

        around(layer, call)

    return with_layers(at(TABLE), wrap)


def of_its_own(layer: Any, logits: Any, x: Any) -> Any:
    shape = (x.shape[-1], layer.input_dim)
    return ops.matmul(x, np.random.default_rng(0).normal(size=shape).astype("float32"))


def said_before(layer: Any, logits: Any, x: Any) -> Any:
    return logits(ops.roll(x, 1, axis=1))


def head_fault(name: str, change: Any, diagnosis: str | None) -> Fault:
    return Fault(name, head(change), at(TABLE), diagnosis, "speech_to_text")


HEAD = [
    head_fault("Tied head of speech untied", of_its_own, "tied|table|embedding"),
    head_fault("Head of speech divides by a temperature", lambda _, logits, x: logits(x) / 1.5,
        "times|scale|factor"),
    head_fault("Head of speech gives probabilities", lambda _, logits, x: ops.softmax(logits(x)),
        None),
    head_fault("Head of speech reads the token before", said_before, None),
    head_fault("Head of speech is a row of the table off",
        lambda _, logits, x: ops.roll(logits(x), 1, axis=-1),
        "ours by something else"),
    head_fault("Head of speech in bfloat16",
        lambda _, logits, x: ops.cast(ops.cast(logits(x), "bfloat16"), "float32"),
        "bfloat16|precision"),
]  # fmt: skip


def faults(layers: set[str]) -> list[Fault]:
    if "encoder_layer_0" not in layers:
        return []
    return [*BIASES, *WEIGHTS, *CONVOLUTIONS, *POSITIONS, *ATTENTION, *LAYERS, *HEAD]
