"""Layers that are called wrongly, and the model's own graph: sums, slices, precision, heads."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.keras_private import all_layers
from inarch.layers import Block, MaskedLMHead, VocabularyHead
from inarch.layers.alternatives import ACTIVATIONS
from inarch.models.variables import to_numpy
from inarch.verify.faults.fault import NEVER_CALLED, Fault, Subject, after

SLICES = {
    "the last position": lambda x: x[:, -1],
    "the second token": lambda x: x[:, 1],
    "the mean over all positions": lambda x: ops.mean(x, axis=1),
}
LOGITS = {
    "logits divided by a temperature": (lambda x: x / 1.5, "times|scale|factor"),
    "probabilities for logits": (ops.softmax, "softmax|ours by something else"),
    "logits in bfloat16": (lambda x: ops.cast(ops.cast(x, "bfloat16"), x.dtype), "bfloat16"),
}


def faults(subject: Subject) -> list[Fault]:
    """Return the faults of a model's calls and graph."""
    return [
        *_blocks(subject),
        *_precision(subject),
        *_embeddings(subject),
        *_graph(subject),
        *_heads(subject),
    ]


def _blocks(subject: Subject) -> list[Fault]:
    found = []
    for paths in subject.roles(Block).values():
        one, other = paths[0], paths[-1]
        first, last = subject.layers[one], subject.layers[other]
        twice = {
            "call": lambda x, *args, call=first.call, **more: call(
                call(x, *args, **more), *args, **more
            )
        }
        training = {
            "call": lambda *args, call=last.call, **more: call(*args, **{**more, "training": True})
        }
        found += [
            subject.fault(
                f"{other} skipped",
                [other],
                NEVER_CALLED,
                (last, {"call": lambda x, *args, **more: x}),
            ),
            subject.fault(f"{one} applied twice", [one], "runs 2 times", (first, twice)),
        ]
        if any(isinstance(x, keras.layers.Dropout) and x.rate for x in all_layers(last)):
            name = f"Dropout left on in {other}"
            found.append(subject.fault(name, [other], "dropout", (last, training)))
    return found


def _precision(subject: Subject) -> list[Fault]:
    chosen = {"float16": [paths[-1] for paths in subject.roles(Block).values()]}
    for kind in (keras.layers.Dense, keras.layers.LayerNormalization):
        chosen["bfloat16"] = (
            chosen.get("bfloat16", []) + [paths[-1] for paths in subject.roles(kind).values()][-1:]
        )
    return [
        subject.fault(
            f"{path} in {name}", [path], f"{name}|precision",
            *(
                (layer, {"_dtype_policy": keras.dtype_policies.get(f"mixed_{name}")})
                for layer in subject.layers[path]._flatten_layers()
            ),
            mixed=True,
        )
        for name, paths in chosen.items()
        for path in paths
    ]  # fmt: skip


def _embeddings(subject: Subject) -> list[Fault]:
    found = []
    for path, *_ in subject.roles(keras.layers.Embedding).values():
        table = subject.layers[path]
        changes = {
            "ids that are one too large": (
                lambda call, ids, size=table.input_dim: call((ids + 1) % size),
                r"rows are \+1 off|gives row",
            ),
            "ids that never arrive": (lambda call, ids: call(0 * ids), "always gives row 0"),
            "zeros": (lambda call, ids: 0 * call(ids), "zeros|never"),
        }
        for name, (change, diagnosis) in changes.items():
            found.append(
                subject.fault(f"{path}: {name}", [path], diagnosis, _called(table, change))
            )
    return found


def _called(table: Any, change: Any, reverse: bool = False) -> Any:
    """Return a table that is looked up otherwise, or read otherwise the other way round."""
    call = table.call

    def changed(x: Any, *args: Any, **more: Any) -> Any:
        is_reverse = bool(args or more.get("reverse"))
        return (
            change(lambda y: call(y, *args, **more), x)
            if is_reverse == reverse
            else call(x, *args, **more)
        )

    return table, {"call": changed}


def _graph(subject: Subject) -> list[Fault]:
    found = []
    for add in operations(subject, "Add"):
        places, first = following(subject, add), {"call": lambda terms: terms[0]}
        found.append(
            subject.fault(
                f"{add.name}: only its first term",
                places,
                "missing|path|reference has",
                (add, first),
            )
        )
    for slicing in operations(subject, "GetItem"):
        for name, change in SLICES.items():
            (place,) = following(subject, slicing)
            taken = {"call": lambda x, *key, change=change: change(x)}
            found.append(
                subject.fault(
                    f"{place} takes {name}", [place], "token|mean|position", (slicing, taken)
                )
            )
    x = np.linspace(-3, 3, 24, dtype="float32").reshape(2, 12)
    for turn, activation in enumerate(operations(subject, "Activation")):
        places = following(subject, activation)
        for name, function in [*ACTIVATIONS.items()][turn::2] if len(places) == 1 else ():
            if not np.allclose(function(x), activation.activation(x)):
                changed = (activation, {"call": function})
                found.append(subject.fault(f"{activation.name}: {name}", places, name, changed))
    return found


def _heads(subject: Subject) -> list[Fault]:
    """Return the faults of logits: a head's own, or those that a table gives, read in reverse."""
    layers, found = subject.layers, []
    if not subject.head:
        return []
    of_vocabulary = (subject.roles(kind) for kind in (MaskedLMHead, VocabularyHead))
    for path in (p for roles in of_vocabulary for paths in roles.values() for p in paths):
        layer = layers[path]
        faults = _logits(subject, path, path, lambda change, layer=layer: after(layer, change))
        faults = [fault for fault in faults if "probabilities" not in fault.name]
        if layer.token_embedding is None:
            turned = ((layer.output_kernel, np.fliplr(to_numpy(layer.output_kernel))),)
            name = f"{path}: tokens in the wrong order"
            return [subject.fault(name, [path], "holds other", values=turned), *faults]
        rows = to_numpy(layer.token_embedding.embeddings)
        padding = subject.model.backbone.arguments.get("padding_id", 0)
        zeroed = np.where(np.arange(len(rows))[:, None] == padding, 0, rows)
        values = {
            "padding's row of the table zeroed": (layer.token_embedding._embeddings, zeroed, None),
        }
        found += [
            subject.fault(f"{path}: {name}", [path], diagnosis, values=((variable, value),))
            for name, (variable, value, diagnosis) in values.items()
        ]
        untied = _called(layer.token_embedding, _own_kernel(rows.shape), reverse=True)
        found.append(subject.fault(f"{path}: untied", [path], "tied|table|embedding", untied))
        return found + faults
    for path in (p for p in subject.own if p == "logits"):
        layer = layers[path]
        turned = ((layer.kernel, np.fliplr(to_numpy(layer.kernel))),)
        found.append(
            subject.fault("logits: labels in the wrong order", [path], "holds other", values=turned)
        )
        return found + _logits(subject, path, path, lambda change: after(layer, change))
    *_, path = (  # the decoder's, where it has a table of its own
        p for p, layer in layers.items() if isinstance(layer, keras.layers.ReversibleEmbedding)
    )
    table = layers[path]
    changes = {
        "untied": _own_kernel(table.embeddings.shape),
        "the token before": lambda call, x: call(ops.roll(x, 1, axis=1)),
        "a row of the table off": lambda call, x: ops.roll(call(x), 1, axis=-1),
    }
    found = [
        subject.fault(
            f"logits: {name}",
            [path],
            "tied|table|ours by something else",
            _called(table, change, True),
        )
        for name, change in changes.items()
    ]
    return found + _logits(
        subject,
        "logits",
        path,
        lambda change: _called(table, lambda call, x: change(call(x)), True),
    )


def _logits(subject: Subject, name: str, place: str, changed: Any) -> list[Fault]:
    return [
        subject.fault(f"{name}: {what}", [place], diagnosis, changed(change))
        for what, (change, diagnosis) in LOGITS.items()
    ]


def _own_kernel(shape: Any) -> Any:
    """Return a product with a kernel in place of a table `[rows, width]` of this shape."""
    kernel = np.random.default_rng(0).normal(size=tuple(shape)[::-1], scale=0.02).astype("float32")
    return lambda call, x: ops.matmul(x, kernel)


def operations(subject: Subject, kind: str) -> list[Any]:
    """Return the operations of the model's own graph that are of a class."""
    return [o for o in subject.model.operations if type(o).__name__ == kind]


def following(subject: Subject, operation: Any) -> list[str]:
    """Return the first layers with weights that read what an operation gives."""
    found: dict[str, None] = {}
    for node in operation._outbound_nodes:
        name = node.operation.name
        known = name in subject.layers
        found |= dict.fromkeys([name] if known else following(subject, node.operation))
    return [*found]
