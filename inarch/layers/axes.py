"""Logical axes of weights, from which their layout over several devices is derived.

A layer names the axes of its weights once, next to its code (`Layer.axes`):

- `EMBED`: the width of the vectors of tokens, which goes from layer to layer;
- `HEADS`: the heads of attention, side by side;
- `MLP`: the inner width of a feed-forward network;
- `VOCABULARY`: the tokens;
- `EXPERTS`: the experts of a mixture;
- `None`: an axis of its own, such as positions or the window of a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from inarch.keras_private import all_layers

Axes = tuple[str | None, ...]

EMBED, HEADS, MLP, VOCABULARY = "embed", "heads", "mlp", "vocabulary"
EXPERTS = "experts"

ATTENTION_AXES: Mapping[str, Axes] = {
    **dict.fromkeys(("query", "key", "value", "position_query", "position_key"), (EMBED, HEADS)),
    "output": (HEADS, EMBED),
    # Norms of one head, which all heads share, or of all heads together.
    **dict.fromkeys(("query_norm/gamma", "key_norm/gamma"), (None,)),
}

# Of Keras's own layers, where no layer around them has named their axes.
_KERAS_AXES: Mapping[type, Mapping[str, Axes]] = {
    keras.layers.Dense: {"kernel": (EMBED, EMBED), "bias": (EMBED,)},
    keras.layers.Conv1D: {"kernel": (None, EMBED, EMBED), "bias": (EMBED,)},
    keras.layers.Embedding: {"embeddings": (None, EMBED)},
    keras.layers.ReversibleEmbedding: {
        "embeddings": (VOCABULARY, EMBED),
        "reverse_embeddings": (EMBED, VOCABULARY),
    },
    keras.layers.LayerNormalization: {"gamma": (EMBED,), "beta": (EMBED,)},
}


def logical_axes(model: keras.Model) -> dict[str, Axes | None]:
    """Return the axes of each weight of a model, by its path; None where no layer names them."""
    found: dict[str, Axes | None] = {weight.path: None for weight in model.weights}
    # Those of our own layers last, the outer ones after those in them, which they know the use of.
    layers = list(all_layers(model, include_self=False))[::-1]
    for declared in (_axes_of_keras, lambda layer: getattr(type(layer), "axes", {})):
        for layer in layers:
            found.update(_axes_in(layer, declared(layer)))
    return found


def _axes_of_keras(layer: Any) -> Mapping[str, Axes]:
    return next((_KERAS_AXES[kind] for kind in type(layer).mro() if kind in _KERAS_AXES), {})


def _axes_in(layer: Any, declared: Any) -> Iterator[tuple[str, Axes]]:
    """Yield path and axes of each weight in a layer that it has named them of."""
    if not isinstance(declared, Mapping):  # a property of another library's layer
        return
    for weight in layer.weights if declared else ():
        name = weight.path.removeprefix(f"{layer.path}/")
        below, _, kind = name.rpartition("/")
        # A dense layer's bias has the last of the axes of its kernel.
        axes = declared.get(name) or (declared.get(below) if kind in ("kernel", "bias") else None)
        if axes:
            yield weight.path, axes[-len(weight.shape) :]
