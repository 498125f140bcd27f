"""Wrong poolers, classifiers and masked-LM heads."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.verify.trace import layers_of

from .fault import Fault, Injection, around, at, attribute, changed, computes, gives

TRANSFORM, TRANSFORM_NORM = "masked_lm_head/transform", "masked_lm_head/transform_norm"
MASKED_LM, CLASSIFIER = "masked_lm", "text_classifier"
LOGITS = "logits"


# --- what reads one token ------------------------------------------------------------------------


def reads(change: Any) -> Injection:
    """The model reads something else than its first token."""

    def inject(model: keras.Model) -> None:
        models = [model, *(m for m in model.layers if isinstance(m, keras.Model))]
        operations = [operation for m in models for operation in m.operations]
        # A head's own comes before that of a pooler below it.
        slicing = next(o for o in operations if type(o).__name__ == "GetItem")
        around(slicing, lambda call, x, key: change(x))

    return inject


def readers(name: str, path: str, head: str, after: str, right: str = "tanh") -> list[Fault]:
    """Faults of a dense layer that reads the first token.

    Args:
        after: the place that shows what its activation gives.
        right: its activation.
    """
    other, wrong = ("ReLU", ops.relu) if right == "tanh" else ("tanh", ops.tanh)
    return [
        Fault(f"{name} takes the last token", reads(lambda x: x[:, -1]), at(path), "token",
            head, fast=True),
        Fault(f"{name} takes the second token", reads(lambda x: x[:, 1]), at(path), "token",
            head),
        Fault(f"{name} takes the mean", reads(lambda x: ops.mean(x, axis=1)), at(path),
            "token|mean", head),
        Fault(f"{name} kernel transposed", changed(f"{path}/kernel", np.transpose), at(path),
            "transposed", head),
        Fault(f"{name} bias dropped", changed(f"{path}/bias", np.zeros_like), at(path), "bias",
            head),
        Fault(f"{name} activation missing",
            attribute(at(path), "activation", keras.activations.linear), at(after),
            f"(?i){right}", head),
        Fault(f"{name} activation is {other}", attribute(at(path), "activation", wrong),
            at(after), f"(?i){right}|{other}", head),
    ]  # fmt: skip


# --- classifiers ---------------------------------------------------------------------------------

CLASSIFIERS = [
    Fault("Classifier bias dropped", changed("logits/bias", np.zeros_like), at(LOGITS), "bias",
        CLASSIFIER),
    Fault("Labels in the wrong order", changed("logits/kernel", np.fliplr), at(LOGITS),
        "holds other values", CLASSIFIER),
    Fault("Classifier's logits divided by a temperature", gives(LOGITS, lambda x: x / 1.5),
        at(LOGITS), "times|scale|factor", CLASSIFIER),
    Fault("Classifier gives probabilities", gives(LOGITS, ops.softmax), at(LOGITS), "softmax",
        CLASSIFIER),
]  # fmt: skip


# --- masked language models ----------------------------------------------------------------------


def untied(layer: Any, x: Any) -> Any:
    """The head has a kernel of its own, at its initial values."""
    x = layer.transform_norm(layer.transform(x))
    shape = (x.shape[-1], layer.vocabulary_size)
    kernel = np.random.default_rng(0).normal(size=shape, scale=0.02).astype("float32")
    return ops.matmul(x, kernel) + layer.output_bias


def without_padding_row(model: keras.Model) -> None:
    """Padding's row of the tied table is 0, as an embedding with a padding index begins with."""
    layers = layers_of(model)
    (embeddings,) = (v.embeddings for n, v in layers.items() if n.endswith("token_embedding"))
    value = np.array(ops.convert_to_numpy(embeddings))
    value[model.backbone.arguments.get("padding_id", 0)] = 0
    embeddings.assign(value)


def transform_activation(function: Any) -> Injection:
    return attribute(at(TRANSFORM), "activation", function)


def of_masked_lm(head: str, activated: str, tanh: bool) -> list[Fault]:
    """Faults of a masked-LM head.

    Args:
        head: the place of its logits.
        activated: the place that shows what its activation gives.
        tanh: whether GELU through tanh is the right one.
    """
    other = "exact" if tanh else "tanh"
    return [
        Fault(f"Masked-LM transform through {other} GELU",
            transform_activation(lambda x: ops.gelu(x, approximate=not tanh)), at(activated),
            "tanh", MASKED_LM),
        Fault("Masked-LM transform with ReLU", transform_activation(ops.relu), at(activated),
            "(?i)relu", MASKED_LM),
        Fault("Masked-LM transform kernel transposed",
            changed(f"{TRANSFORM}/kernel", np.transpose), at(TRANSFORM), "transposed", MASKED_LM),
        Fault("Epsilon 1e-5 in the masked-LM transform's norm",
            attribute(at(TRANSFORM_NORM), "epsilon", 1e-5), at(TRANSFORM_NORM), "epsilon",
            MASKED_LM),
        Fault("Tied masked-LM head untied", computes(at("masked_lm_head"), untied), at(head),
            "tied|table|embedding", MASKED_LM, fast=True),
        Fault("Masked-LM bias dropped",
            changed("masked_lm_head/output_bias", np.zeros_like), at(head), "bias", MASKED_LM),
        Fault("Masked-LM logits divided by a temperature",
            gives("masked_lm_head", lambda x: x / 1.5), at(head), "times|scale|factor",
            MASKED_LM),
        Fault("Padding row of the tied table zeroed", without_padding_row, at(head), None,
            MASKED_LM),
    ]  # fmt: skip


def faults(layers: set[str], ends: set[str], tanh: bool = False) -> list[Fault]:
    """Those that the layers can have; of `ends` the reference shows what they give.

    Args:
        tanh: whether the right activation is GELU through tanh.
    """
    found = []
    if "pooler" in layers:
        found += readers("Pooler", "pooler", "", after="pooler")
    if "pre_classifier" in layers:
        found += readers("Classifier's layer", "pre_classifier", CLASSIFIER, LOGITS, "relu")
    if "pooled_dense" in ends:  # a module around it shows what its activation gives
        found += readers("Classifier's layer", "pooled_dense", CLASSIFIER, "pooled_dense", "gelu")
    elif "pooled_dense" in layers:
        found += readers("Classifier's layer", "pooled_dense", CLASSIFIER, after=LOGITS)
    if LOGITS in layers:
        found += CLASSIFIERS
    if TRANSFORM in layers:
        # Where the reference has no module of the head's extent, its logits are the model's.
        head = "masked_lm_head" if "masked_lm_head" in layers else ""
        found += of_masked_lm(head, TRANSFORM if TRANSFORM in ends else TRANSFORM_NORM, tanh)
    return found
