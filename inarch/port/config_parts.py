"""Tensors that a reference's model has with some values of its config's fields alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.arguments import find_field
from inarch.port.patterns import index_names

Tensors = Mapping[str, TensorInfo]
# Makes a model of a config with other values of some fields, and returns its tensors.
Make = Callable[[Mapping[str, Any]], Tensors]

# Switches of all models, for none of which a layer is drafted.
OF_ALL_MODELS = ("tie_word_embeddings", "is_decoder", "add_cross_attention", "is_encoder_decoder",
    "return_dict", "output_attentions", "output_hidden_states", "use_cache")  # fmt: skip
# A size in the place of 0, which leaves a layer out.
SOME = 3


@dataclass(frozen=True)
class Parts:
    """Tensors that depend on fields, and those fields.

    Attributes:
        values: for each field, its value in the tiny model and another one.
        added: tensors that models with the other value of a field have, and the tiny one lacks.
        conditions: for each tensor, with an index for a number, the fields that it depends on,
            each with the value with which it is there.
    """

    values: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    added: Tensors = field(default_factory=dict)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def find_parts(make: Make, trials: Mapping[str, tuple[Any, Any]]) -> Parts:
    """Return the tensors that depend on fields.

    Args:
        trials: for each field that may matter, its value in the tiny model and another one.
    """
    base = make({})
    models = {}
    for name, (_, other) in trials.items():
        with contextlib.suppress(Exception):  # a value that its code refuses
            found = make({name: other})
            if found.keys() != base.keys():
                models[name] = found
    added: dict[str, TensorInfo] = {}
    conditions: dict[str, dict[str, Any]] = {}
    for start, tensors in {"": base, **models}.items():
        fresh = tensors.keys() - base.keys() if start else base.keys()
        own = {start: trials[start][1]} if start else {}
        if not fresh:
            continue
        added |= {name: tensors[name] for name in tensors if name in fresh and start}
        for name in fresh:
            conditions.setdefault(index_names(name), {}).update(own)
        for other in (n for n in models if n != start):
            with contextlib.suppress(Exception):  # two values that don't go together
                held = make({**own, other: trials[other][1]}) if own else models[other]
                for name in fresh - held.keys():
                    conditions[index_names(name)][other] = trials[other][0]
    conditions = {name: fields for name, fields in conditions.items() if fields}
    acting = {name for fields in conditions.values() for name in fields}
    return Parts({n: v for n, v in trials.items() if n in acting}, added, conditions)


def trials_of(
    config: Mapping[str, Any], usual: Mapping[str, Any], given: Mapping[str, Any],
    absent: Mapping[str, Any],
) -> Iterator[tuple[str, tuple[Any, Any]]]:  # fmt: skip
    """Iterate over the fields that may decide about layers, with two values of each.

    Args:
        config: of the tiny model.
        usual: the config's defaults.
        given: a checkpoint's config.
        absent: fields that the reference reads and that its config lacks, with their defaults.
    """
    for name in {**config, **absent}:
        value = config.get(name, absent.get(name))
        default = usual.get(name, absent.get(name))
        if name in OF_ALL_MODELS or name.endswith("_id") or name.startswith("_"):
            continue
        if isinstance(value, bool):
            yield name, (value, not value)
        elif isinstance(value, str | list) and name in given and value != default:
            yield name, (value, default)
        elif value == 0 and isinstance(value, int):
            yield name, (value, SOME)


def followed_widths(
    make: Make, config: Mapping[str, Any], usual: Mapping[str, Any], absent: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the fields that are the width of the model unless they are given.

    Args:
        config: of the tiny model, whose sizes other than those are given.
        usual: the config's defaults.
        absent: fields that the reference reads and that its config lacks, with their defaults.
    """
    hidden = find_field("hidden_dim", config)
    if hidden is None:
        return ()
    width = config[hidden]
    found = [
        name
        for name, value in config.items()
        if name != hidden and value == width != usual.get(hidden) == usual.get(name)
    ]
    base = make({})
    for name in (n for n, default in absent.items() if default is None and "dropout" not in n):
        with contextlib.suppress(Exception):  # a size that doesn't go with the others
            if make({name: width}) == base != make({name: 2 * width}):
                found.append(name)
    return tuple(found)
