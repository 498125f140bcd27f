"""Ways to get dot-product attention wrong (`inarch.layers.alternatives`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import keras

from inarch.layers.alternatives import (
    BIASES,
    MASKS,
    SOFTMAXES,
    Alternatives,
    argument_alternatives,
    changed_call,
    interleave,
)

ops: Any = keras.ops  # Typed, every result may be None.


def attention_alternatives(layer: Any, of_itself: bool = False) -> Alternatives:
    """Return what dot-product attention in several heads gets wrong.

    Args:
        layer: has `call`, `num_heads`, `_scale`, `_split_heads`, `_softmax` and dense layers.
        of_itself: whether the keys are those of the first argument of `call`, not of the second.
    """
    split, output, width = layer._split_heads, layer.output_dense, layer.query_dense.units
    dense = {name: getattr(layer, f"{name}_dense") for name in ("query", "key", "value")}
    heads, dim = layer.num_heads, width // layer.num_heads

    def attend(change: Any, query: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        mask = kwargs.pop("attention_mask", None)
        if mask is None:
            mask = ops.ones((query.shape[1], (query if of_itself else value).shape[1]), "bool")
        mask = change(ops.cast(mask, "bool"))
        return type(layer).call(layer, query, value, *args, attention_mask=mask, **kwargs)

    return {
        **{name: {"call": partial(attend, change)} for name, change in MASKS.items()},
        **{name: {"_softmax": f, "_fusible": False} for name, f in SOFTMAXES.items()},
        **_scale_alternatives(layer, width),
        **_head_count_alternatives(layer, width),
        "the heads' order (d h) at the split": {
            "_split_heads": lambda x, *more: split(interleave(x, dim), *more)
        },
        "heads that are split without transposing": {
            "_split_heads": lambda x, *more: split(
                _reorder(x, (-1, x.shape[-1] // dim, x.shape[1], dim)), *more
            )
        },
        "the heads' order (d h) at the merge": {
            "output_dense": lambda x: output(interleave(x, heads))
        },
        "heads that are merged without transposing": {
            "output_dense": lambda x: output(_reorder(x, (-1, x.shape[1], heads, dim)))
        },
        **{
            f"{one} and {other} projected by each other's layer": {
                f"{one}_dense": dense[other],
                f"{other}_dense": dense[one],
            }
            for one, other in combinations(dense, 2)
            if dense[one].units == dense[other].units
        },
    }


def _scale_alternatives(layer: Any, width: int) -> Alternatives:
    """Return other scales of the scores, for queries of a width in all heads."""
    heads, dim = layer.num_heads, width // layer.num_heads
    squares = {1, heads, dim**0.5, dim, 2 * dim, 3 * dim, dim**2, width}
    return {
        **{
            f"scores with the scale 1 / sqrt({square:g})": {"_scale": square**-0.5}
            for square in sorted(squares)
            if abs(square**-0.5 - layer._scale) > 1e-6
        },
        "uniform weights, and so the mean of the values": {"_scale": 0.0},
    }


def _head_count_alternatives(layer: Any, width: int) -> Alternatives:
    """Return other numbers of heads, for queries of a width in all heads."""
    has_angles = getattr(getattr(layer, "position", None), "takes_angles", False)
    has_width = has_angles or getattr(layer, "has_weights_by_head", False)
    norm = getattr(layer, "query_key_norm", None)
    has_width = has_width or getattr(layer, "distance_bias", None) is not None
    if has_width or (norm is not None and getattr(norm, "num_axes", 1) == 1):
        return {}  # angles, biases, and norms of single heads, have the width of a head
    # Heads of queries that share keys and values.
    shared = width // layer.key_dense.units
    is_of_width = getattr(layer, "scale", None) is None
    return {
        f"{number} heads": {
            "num_heads": number,
            "_key_value_heads": number // shared,
            **_sizes_of_heads(layer, number, shared, width),
            "_scale": layer._scale * ((number / layer.num_heads) ** 0.5 if is_of_width else 1),
        }
        for number in range(shared, width + 1, shared)
        if width % number == 0 and number != layer.num_heads
    }


def _sizes_of_heads(layer: Any, heads: int, shared: int, width: int) -> dict[str, Any]:
    """Return the arguments that keep the shapes of a layer's weights with so many heads."""
    sizes = {"key_dim": width // heads, "num_key_value_heads": heads // shared}
    return {name: size for name, size in sizes.items() if getattr(layer, name, None) is not None}


def multi_head_alternatives(layer: Any) -> Alternatives:
    """Return what attention gets wrong in itself, its bias, its window and its position brick."""
    return {
        **attention_alternatives(layer),
        **argument_alternatives(layer, "attention_bias", BIASES),
        **window_alternatives(layer),
        **soft_cap_alternatives(layer),
        **position_alternatives(layer),
        **shared_key_alternatives(layer),
        **head_norm_alternatives(layer),
    }


def attention_branches(layer: Any) -> Alternatives:
    """Return what the arguments of attention switch on, each with the attributes without it."""

    def same(x: Any, **options: Any) -> Any:
        return x

    found: dict[str, dict[str, Any]] = {}
    if layer.window is not None:
        found["window"] = {"window": None}
    if layer.soft_cap is not None:
        found["soft_cap"] = {"soft_cap": None}
    if layer.distance_bias is not None:
        found["score_bias"] = {"distance_bias": None}
    if layer.position is not None:
        found["position"] = dict.fromkeys(("query_position", "key_position"), same)
        parts = (part.branches() for part in (layer.query_position, layer.key_position))
        of_both = _change_both_positions(layer, *parts)
        found |= {f"position {name}": without for name, without in of_both.items()}
    if layer.query_key_norm is not None:
        found["query_key_norm"] = dict.fromkeys(("query_norm", "key_norm"), same)
    return found


def window_alternatives(layer: Any) -> Alternatives:
    """Return other windows of attention, where it has one."""
    if layer.window is None:
        return {}
    widths = {1, layer.window - 1, layer.window + 1, 2 * layer.window} - {0, layer.window}
    windows = {
        f"keys at most {width} token{'s' * (width != 1)} away": {"window": width}
        for width in sorted(widths)
    }
    return {"no window": {"window": None}, **windows}


def soft_cap_alternatives(layer: Any) -> Alternatives:
    """Return other caps of the scores, where they are capped."""
    if layer.soft_cap is None:
        return {}
    cap, softmax = layer.soft_cap, layer._softmax

    def clipped(logits: Any, mask: Any) -> Any:
        return softmax(ops.clip(logits, -cap, cap), mask)

    def of_tanh(logits: Any, mask: Any) -> Any:
        return softmax(logits / cap, mask)

    return {
        "no soft cap": {"soft_cap": None},
        **{f"scores with the soft cap {c:g}": {"soft_cap": c} for c in (cap / 2, 2 * cap)},
        "scores that are clipped in place of capped softly": {
            "soft_cap": None, "_softmax": clipped, "_fusible": False,
        },
        "capped scores that aren't multiplied with the cap": {
            "_softmax": of_tanh, "_fusible": False,
        },
    }  # fmt: skip


def position_alternatives(layer: Any) -> Alternatives:
    """Return what its position layer gets wrong, of queries and keys at once."""
    if layer.position is None:
        return {}
    parts = (part.alternatives() for part in (layer.query_position, layer.key_position))
    return _change_both_positions(layer, *parts)


def _change_both_positions(
    layer: Any, of_queries: Alternatives, of_keys: Alternatives
) -> dict[str, dict[str, Any]]:
    """Return changes of the position layer as changes of attention, to queries and keys at once."""
    changes = zip(of_queries.items(), of_keys.values(), strict=True)
    return {
        name: {
            "query_position": changed_call(layer.query_position, of_query),
            "key_position": changed_call(layer.key_position, of_key),
        }
        for (name, of_query), of_key in changes
    }


def shared_key_alternatives(layer: Any) -> Alternatives:
    """Return what heads of queries that share keys and values get wrong."""
    shared = layer.num_heads // layer._key_value_heads
    if shared == 1:
        return {}

    def in_turn(x: Any) -> Any:
        return ops.tile(x, (1, 1, shared, 1))

    def first(x: Any) -> Any:
        return ops.repeat(x[:, :, :1], layer.num_heads, axis=2)

    return {
        "keys and values that heads take in turn": {"_repeat_heads": in_turn},
        "the first head's keys and values for all heads": {"_repeat_heads": first},
    }


def head_norm_alternatives(layer: Any) -> Alternatives:
    """Return what the norms of queries and keys get wrong, where there are any."""
    if layer.query_key_norm is None:
        return {}
    norms = {"query": layer.query_norm, "key": layer.key_norm}
    positions = {name: getattr(layer, f"{name}_position") for name in norms}

    swapped = {"query_norm": norms["key"], "key_norm": norms["query"]}
    shapes = [[weight.shape for weight in norm.weights] for norm in norms.values()]

    def skip(x: Any) -> Any:
        return x

    def after(name: str) -> Callable[..., Any]:
        return lambda x, **options: norms[name](positions[name](x, **options))

    return {
        "no norms of queries and keys": {f"{name}_norm": skip for name in norms},
        **{f"no norm of the {name}": {f"{name}_norm": skip} for name in norms},
        **(
            {"norms of queries and keys that are swapped": swapped}
            if shapes[0] == shapes[1]  # norms of all heads differ where keys have fewer of them
            else {}
        ),
        "norms of queries and keys after their positions": {
            **{f"{name}_norm": skip for name in norms},
            **{f"{name}_position": after(name) for name in norms},
        },
    }


def _reorder(x: Any, shape: Any) -> Any:
    """Exchange the middle axes of `x` in another shape."""
    return ops.reshape(ops.swapaxes(ops.reshape(x, shape), 1, 2), ops.shape(x))
