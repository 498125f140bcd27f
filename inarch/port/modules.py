"""Modules of a checkpoint: its tensors by the layer that holds them, and what each layer is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from inarch.port.patterns import INDICES, TensorPattern, lower_words
from inarch.port.roles import BY_NAME, Recognized

WEIGHTS = ("weight", "gamma", "kernel", "embedding")
BIASES = ("bias", "beta")
# Layers of a stack that names them by numbers: `encoder.layer.{i}`.
LAYER = "{i}"
# Roles of what feed-forward networks have, with experts and without.
FEED_FORWARDS = ("gate", "up", "down", "gate and up", "expert", "router")
# Sublayers that a layer counts; more of a kind are experts or heads.
MAX_SUBLAYERS = 4
_FUSED = re.compile(r"(.*)\.(in_proj)_(weight|bias)$")


@dataclass(frozen=True)
class TheirModule:
    """A layer of theirs, with indices in place of numbers.

    Attributes:
        name: without the name of the model that the file's tensors begin with.
        role: of its weight, as `inspect` has it; `""` where nothing explains it.
        weight: its first tensor.
        bias: its second one; None without it.
        by: how the role is known, `"name"` or `"shape"`.
        joint: what joins its name with those of its tensors.
    """

    name: str
    role: str
    weight: TensorPattern
    bias: TensorPattern | None = None
    by: str = BY_NAME
    joint: str = "."

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its weight."""
        return self.weight.shapes[0]

    def tensor_name(self, leaf: str) -> str:
        """Return the name of its tensor `"weight"` or `"bias"`."""
        return f"{self.name}{self.joint}{leaf}"

    @property
    def tensors(self) -> tuple[TensorPattern, ...]:
        """Its tensors."""
        return (self.weight, *([] if self.bias is None else [self.bias]))

    @property
    def stack(self) -> str:
        """Name of the stack that it is in, up to its number; `""` outside of one."""
        before, found, _ = self.name.partition(LAYER)
        return before + found if found else ""

    @property
    def layers(self) -> int:
        """Number of layers of its stack that have it; 1 outside of one."""
        return self.weight.indices[0][2] if self.weight.indices else 1

    @property
    def is_late(self) -> bool:
        """Return whether the first layer of its stack lacks it."""
        return bool(self.stack) and self.weight.indices[0][0] == 1

    @property
    def inner(self) -> str:
        """Name within a layer of its stack; all of it outside of one."""
        return self.name.removeprefix(self.stack).lstrip(".")

    @property
    def inner_words(self) -> str:
        """Name within a layer in lower case, with dots between."""
        return lower_words(self.inner)

    @property
    def words(self) -> str:
        """Name in lower case, with dots between."""
        return lower_words(self.name)


def group_modules(
    parts: Iterable[Recognized], prefix: str = ""
) -> tuple[list[TheirModule], list[Recognized]]:
    """Return the layers that hold tensors, in the order of the parts, and the tensors of none.

    A layer has a weight and perhaps a bias. Parameters by themselves are in none, nor are buffers.

    Args:
        prefix: the name of the model, which is taken away where a name has it.
    """
    by_module: dict[str, dict[str, Recognized]] = {}
    others: list[Recognized] = []
    joints: dict[str, str] = {}
    parts = [single for part in parts for single in _split_inner(part)]
    deep = {_stem(part.pattern) for part in parts if part.pattern.indices[:1] and
            part.pattern.indices[0][2] > 1}  # fmt: skip
    last = {stem: max(part.pattern.indices[0][1] for part in parts if part.pattern.indices and
            _stem(part.pattern) == stem) for stem in deep}  # fmt: skip
    has_experts = any(part.role == "expert" for part in parts)
    for part in parts:
        # What all layers but the first have is of the stack, also where those are one.
        is_late = bool(part.pattern.indices) and part.pattern.indices[0][:2] == (
            1, last.get(_stem(part.pattern)),
        )  # fmt: skip
        is_deep = _stem(part.pattern) in deep and not is_late
        # Of layers of which some have experts, one alone may have none, or be the only one.
        is_deep = is_deep and not (has_experts and part.role in FEED_FORWARDS)
        name = _numbered_once(part.pattern, is_deep).removeprefix(prefix)
        module, leaf, joint = _split(name)
        if leaf not in (*WEIGHTS, *BIASES) or part.role == "buffer":
            others.append(part)
            continue
        kind = "weight" if leaf in WEIGHTS else "bias"
        by_module.setdefault(module, {})[kind] = part
        joints[module] = joint
    found = []
    for module, members in by_module.items():
        if "weight" not in members:
            others += members.values()
            continue
        weight, bias = members["weight"], members.get("bias")
        found.append(
            TheirModule(
                module, weight.role or "", weight.pattern,
                None if bias is None else bias.pattern, weight.by, joints[module],
            )
        )  # fmt: skip
    return found, others


def _stem(pattern: TensorPattern) -> str:
    """Return a name up to its first index."""
    return pattern.name.partition(LAYER)[0]


def _split_inner(part: Recognized) -> list[Recognized]:
    """Return a pattern for each value of its second index, where every layer has the same few.

    So T5's `block.{i}.layer.{j}.layer_norm` is a norm for each sublayer.
    """
    pattern = part.pattern
    if part.role == "expert" or len(pattern.indices) != 2 or len(pattern.shapes) > 1:
        return [part]
    layers, (least, most, count) = pattern.indices
    if not 1 < count <= MAX_SUBLAYERS or count not in (2, most - least + 1):
        return [part]
    if pattern.count != layers[2] * count:
        return [part]
    names = (pattern.name.replace(f"{{{INDICES[1]}}}", str(j)) for j in sorted({least, most}
             if count == 2 else range(least, most + 1)))  # fmt: skip
    return [
        replace(part, pattern=replace(pattern, name=name, count=layers[2], indices=(layers,)))
        for name in names
    ]


def _numbered_once(pattern: TensorPattern, is_deep: bool) -> str:
    """Return a name whose further indices are numbers, where they have one value alone.

    Args:
        is_deep: whether other patterns of the same stack have several layers, so that a tensor of
            one alone is of no layer.
    """
    name = pattern.name
    for letter, (least, _, count) in list(zip(INDICES, pattern.indices, strict=False))[
        0 if is_deep else 1 :
    ]:
        if count == 1:
            name = name.replace(f"{{{letter}}}", str(least))
    return name


def _split(name: str) -> tuple[str, str, str]:
    """Return the name of a module, that of a tensor in it, and what joins them."""
    if fused := _FUSED.match(name):  # torch.nn.MultiheadAttention
        return f"{fused[1]}.{fused[2]}", fused[3], "_"
    module, _, leaf = name.rpartition(".")
    return module, leaf, "."
