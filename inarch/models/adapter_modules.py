"""Modules of the reference whose weights can have a low-rank update, and what they are of ours.

Format: huggingface/peft, utils/save_and_load.py and tuners/lora/layer.py. A linear module of the
reference has `lora_A` `[rank, in]` and `lora_B` `[out, rank]`, a table `lora_embedding_A`
`[rank, rows]` and `lora_embedding_B` `[dim, rank]`; its weight grows by their product, scaled by
`lora_alpha / r`.

Which module is which of our layers follows from the weight map alone. Where the reference has
several of our kernels in one, its rows are theirs: one update of the reference is one of each of
ours, with the same first factor; several of ours are one of the reference, of the sum of the ranks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.checkpoints.maps.entries import Rule
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import export_rules
from inarch.errors import InputError
from inarch.models.adapter_tensors import PREFIX
from inarch.models.lora_layers import layers_of
from inarch.models.origin import backbone_of, head_name, source_of

TABLE = "embeddings"


@dataclass(frozen=True)
class Module:
    """A module of the reference whose weight is one or several kernels of ours.

    Attributes:
        name: of the module, such as `encoder.layer.0.attention.self.query`.
        ours: names of the kernels or the table, in the order of the weight.
        pattern: their axes and ours.
        in_first: whether the first axis of the reference's weight is the one of the inputs.
    """

    name: str
    ours: tuple[str, ...]
    pattern: Pattern
    in_first: bool

    @property
    def is_table(self) -> bool:
        return self.ours[0].endswith(TABLE)

    def tensor_names(self) -> tuple[str, str]:
        """Return the names of the two factors in the file."""
        kinds = ("lora_embedding_A", "lora_embedding_B") if self.is_table else (
            "lora_A.weight", "lora_B.weight",
        )  # fmt: skip
        return f"{PREFIX}{self.name}.{kinds[0]}", f"{PREFIX}{self.name}.{kinds[1]}"

    def joined(self, factors: list[np.ndarray]) -> np.ndarray:
        """Return `lora_B` `[out, rank]` from our second factors `[rank, out]`."""
        sizes = self.pattern.sizes(None, [f.shape for f in factors])
        (whole,) = self.pattern.export(
            factors, self.pattern.their_shapes(sizes), [f.shape for f in factors]
        )
        return whole.T if self.in_first else whole

    def apart(self, whole: np.ndarray, widths: list[int]) -> list[np.ndarray]:
        """Return our second factors `[rank, width]` from `lora_B` `[out, rank]`."""
        array = whole.T if self.in_first else whole
        shapes = [(whole.shape[1], width) for width in widths]
        return [np.array(f) for f in self.pattern.load([array], [array.shape], shapes)]


def rules_of(model: Any) -> list[Rule]:
    """Return the rules of a model in the names of the reference's class for it."""
    arguments = backbone_of(model).arguments
    tie = getattr(model, "ties_embeddings", True)
    return export_rules(source_of(model).by_modules, arguments, head_name(model), tie)[0]


def modules_of(model: Any) -> dict[str, Module]:
    """Return the modules that can have a low-rank update, by each of their variables' names."""
    layers = layers_of(model)
    found: dict[str, Module] = {}
    for rule in rules_of(model):
        module = _module(rule) if layers.keys() >= {*rule.ours} else None
        found |= dict.fromkeys(rule.ours, module) if module else {}
    return found


def _module(rule: Rule) -> Module | None:
    """Return the module of a rule; None where its weight isn't a matrix of inputs by outputs."""
    pattern, name = Pattern.parse(rule.pattern), rule.theirs[0]
    axes = {spec[0] for spec in pattern.ours if len(spec) == 2}
    if len(pattern.theirs) != 1 or len(pattern.theirs[0]) != 2 or not name.endswith(".weight"):
        return None
    if len(axes) != 1 or any(len(spec) != 2 for spec in pattern.ours):
        return None
    (inputs,) = axes
    if len(inputs.names) != 1 or inputs not in pattern.theirs[0]:
        return None
    in_first = pattern.theirs[0].index(inputs) == 0
    return Module(name.removesuffix(".weight"), rule.ours, pattern, in_first)


def refuse_tied(model: Any, names: Collection[str], way_on: str) -> None:
    """Raise InputError where one of these variables is a table and a head's kernel in one.

    An update in PEFT's files is of the table alone, so that it is another function than here.
    """
    head, table = head_name(model), next((name for name in names if name.endswith(TABLE)), None)
    if table and head and source_of(model).heads[head].tied and model.ties_embeddings:
        raise InputError(
            f"{table} is also the kernel of the {head} head, and an update in PEFT's files changes "
            f"the table alone; {way_on}"
        )


def output_width(layer: Any) -> int:
    """Return the width of a layer's outputs."""
    return getattr(layer, "units", None) or layer.output_dim


def module_of(tensor: str) -> str:
    """Return the name of the module that a tensor is of."""
    return tensor.rpartition(".")[0]
