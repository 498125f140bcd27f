"""Arguments of a drafted backbone that its heads read, each of which is a field of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.arguments import Argument
from inarch.port.code import choice_lines, code
from inarch.port.find_heads import POOLINGS
from inarch.port.heads import HeadDraft

# Of a backbone whose classifiers sum up what all its layers give.
LAYER_OUTPUTS = "layer_outputs"


def head_arguments(heads: Sequence[HeadDraft], usual: Mapping[str, Any]) -> list[Argument]:
    """Return the arguments that heads read, by the names of their fields.

    Args:
        usual: config whose values are the defaults.
    """
    found: dict[str, Argument] = {}
    for head in heads:
        if head.layer_sum:
            default = code(bool(usual.get(head.layer_sum[0])))
            text = "whether what every layer gives is an output."
            found[LAYER_OUTPUTS] = Argument(LAYER_OUTPUTS, "bool", default, text)
        for field in head.switches:
            default = code(bool(usual.get(field)))
            text = f"whether heads have the layers and biases that `{field}` gives them."
            found[field] = Argument(field, "bool", default, text)
        if field := head.activation_field:
            text = "of the dense layer that heads begin with."
            found[field] = Argument(field, "str", code(ACTIVATIONS[usual[field]]), text)
        if field := head.inner_dropout:
            text = "rate before the dense layer that classifiers begin with."
            found[field] = Argument(field, "float", code(float(usual[field])), text)
        if field := head.pooling:
            text = 'vector that texts are classified by, `"mean"` of all tokens or `"cls"`.'
            found[field] = Argument(field, "str", code(usual[field]), text)
    return [found[name] for name in sorted(found)]


def argument_lines(
    heads: Sequence[HeadDraft], usual: Mapping[str, Any]
) -> tuple[list[str], set[str]]:
    """Return the lines of the config map for those arguments, and their fields."""
    lines = []
    acting, rates, pooling = (
        {getattr(head, name) for head in heads}
        for name in ("activation_field", "inner_dropout", "pooling")
    )
    summed = {head.layer_sum[0] for head in heads if head.layer_sum}
    fields = [argument.name for argument in head_arguments(heads, usual)]
    fields = [name for name in fields if name != LAYER_OUTPUTS]
    for field in sorted(summed):
        lines.append(f'field("{field}", "{LAYER_OUTPUTS}", {bool(usual.get(field))}),')
    for field in fields:
        default = code(usual.get(field))
        if field in acting:
            lines.append(f'choice("{field}", "{field}", {default}, values=ACTIVATIONS),')
        elif field in rates:
            lines.append(f'probability("{field}", "{field}", {default}),')
        elif field in pooling:
            values = {name: name for name in POOLINGS}
            lines += choice_lines(field, field, usual.get(field), values)
        else:
            lines.append(f'field("{field}", "{field}", {bool(usual.get(field))}),')
    return lines, {*fields, *summed}
