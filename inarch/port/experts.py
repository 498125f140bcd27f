"""Mixtures of experts: whether a brick here computes one, and which tensors are its kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.port.brick import field_of
from inarch.port.modules import TheirModule
from inarch.port.patterns import HIDDEN, INDICES, TensorPattern, first, flatten_sizes
from inarch.port.roles import Recognized

ROUTER, EXPERT, SHARED_EXPERT = "router", "expert", "shared expert"
# Number of an expert in names of tensors.
NUMBER = "{e}"
# Fields of a config that say how many experts a token passes.
CHOSEN = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k",
    "moe_top_k", "num_selected_experts",
)  # fmt: skip
# Fields of other ways to choose than a softmax over all experts.
SCORING = ("scoring_func", "score_function", "score_func", "moe_router_score_function")
GROUPS = ("n_group", "num_expert_group", "n_expert_groups")
SCALES = ("routed_scaling_factor", "moe_router_scaling_factor", "router_scaling_factor")
# Kernels by the names of their tensors, those of two in one in front.
_KERNELS = (
    (("gate", "up"), r"gate_?(?:and_?)?up\w*|input_linear|w13"),
    (("down",), r"\w*down\w*|output_linear|w2|wo|fc2|linear2"),
    (("gate",), r"\w*gate\w*|w1|wi_0"),
    (("up",), r"\w*up\w*|w3|wi_1|fc1|v1|linear1"),
)


@dataclass(frozen=True)
class Projection:
    """A tensor of a layer that holds kernels of experts.

    Attributes:
        theirs: its name within a layer, with `{e}` where there is one for each expert.
        ours: `"gate"`, `"up"` or `"down"`, or the first two, in their order in the tensor.
        transposed: whether the axis of the inputs comes before that of the outputs, as in ours.
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    @property
    def is_single(self) -> bool:
        """Return whether it is of one expert."""
        return NUMBER in self.theirs

    @property
    def pattern(self) -> str:
        """Axes of the tensor and of ours, as a rule has them."""
        outputs = "(o + o)" if len(self.ours) > 1 else "o"
        kernel = f"i {outputs}" if self.transposed else f"{outputs} i"
        if self.is_single:
            return f"{kernel} -> " + ", ".join(f"{NUMBER} i o" for _ in self.ours)
        return f"e {kernel} -> " + ", ".join("e i o" for _ in self.ours)


@dataclass(frozen=True)
class Mixture:
    """Experts of the layers of a stack, and the router that chooses among them.

    Attributes:
        router: name of its kernel within a layer.
        projections: tensors of the experts' kernels.
        count: number of experts.
        width: inner width of each.
        transposed: whether the router's kernel lies as ours does.
        is_mixed: whether some layers have a feed-forward network without experts.
        normalizes: whether the probabilities of a token's experts are divided by their sum, where
            no field says it.
    """

    router: str
    projections: tuple[Projection, ...]
    count: int
    width: int
    transposed: bool = False
    is_mixed: bool = False
    normalizes: bool = True

    @property
    def fused(self) -> Projection | None:
        """Tensor that holds gates and what they multiply; None where they are apart."""
        return next((one for one in self.projections if len(one.ours) > 1), None)

    def with_gates_exchanged(self) -> Mixture:
        """Return the mixture whose gates are what they multiplied, and the other way."""
        names = {"gate": "up", "up": "gate", "down": "down"}
        found = (
            replace(one, ours=one.ours[::-1] if len(one.ours) > 1 else (names[one.ours[0]],))
            for one in self.projections
        )
        return replace(self, projections=tuple(found))


@dataclass(frozen=True)
class HeldExpert:
    """A tensor of one expert in a file, by what holds it in the reference's model.

    Attributes:
        holder: stack of all experts, with an index for the number of a layer.
        half: 0 or 1 where it is the first or the second half of an expert's there; None for all.
        transposed: whether its axes are in the other order there.
    """

    holder: str
    half: int | None = None
    transposed: bool = False


def odd_parts(
    experts: Sequence[TensorPattern], routers: Sequence[TensorPattern],
    shared: Sequence[TensorPattern], config: Mapping[str, Any],
) -> list[str]:  # fmt: skip
    """Return what a mixture has that `MixtureOfExperts` hasn't, in words."""
    leaves = {pattern.name.removesuffix(".weight").rpartition(".")[2] for pattern in experts}
    # Gate, up and down by themselves, or the first two in one tensor.
    is_gated = len(leaves) > 2 or any(re.search("gate|input_linear", leaf) for leaf in leaves)
    scoring = next((v for n in SCORING if (v := field_of(config, n)) is not None), "softmax")
    groups = next((v for n in GROUPS if (v := field_of(config, n)) is not None), 1)
    scale = next((v for n in SCALES if (v := field_of(config, n)) is not None), 1)
    biased = r"bias|(?:^|[._])(?:beta|b)$"
    odd = {
        "shared experts": bool(shared),
        "biases": any(re.search(biased, pattern.name) for pattern in [*experts, *routers]),
        "no gates": bool(experts) and not is_gated,
        f"{scoring} in place of a softmax": scoring != "softmax",
        "groups of experts that are chosen first": groups != 1,
        f"weights times {scale}": scale != 1,
    }
    return [words for words, is_there in odd.items() if is_there]


def find_mixture(
    modules: Sequence[TheirModule], others: Sequence[Recognized], config: Mapping[str, Any],
    stack: str,
) -> tuple[Mixture | None, str]:  # fmt: skip
    """Return the mixture of experts of a stack, and why no brick here computes it.

    Returns:
        the mixture, None where there is none or no brick has it; and `""` or the reason.
    """
    by_role: dict[str, list[TensorPattern]] = {ROUTER: [], EXPERT: [], SHARED_EXPERT: []}
    for role, pattern in _tensors(modules, others):
        if role in by_role and pattern.name.startswith(stack):
            by_role[role].append(pattern)
    routers, experts, shared = by_role.values()
    if not experts:
        return None, ""
    if odd := odd_parts(experts, routers, shared, config):
        return None, f"a mixture of experts with {', '.join(odd)}, which no brick has"
    projections = _projections(experts, config, stack)
    if len(routers) != 1 or projections is None:
        return None, (
            "a mixture of experts whose tensors aren't a router's kernel and the experts' gate, up "
            "and down, which alone a brick has (MixtureOfExperts)"
        )
    if first(flatten_sizes(config), CHOSEN) is None:
        return None, (
            "a mixture of experts, and no field that is known has how many of them a token passes "
            "(MixtureOfExperts, if all are gated and a softmax chooses)"
        )
    (router,) = routers
    down = next(one for one in experts if _kernels(one) == ("down",))
    hidden = _width(config)
    inner = [size for size in down.shapes[0][-2:] if size != hidden] or [hidden]
    shape = router.shapes[0]
    count = max(experts[0].indices[1][2] if len(experts[0].indices) > 1 else down.shapes[0][0], 1)
    layers = max(one.layers for one in modules if one.stack == stack)
    return Mixture(
        router.name.removeprefix(f"{stack}."), projections, count, inner[0],
        transposed=shape[0] == hidden != shape[-1], is_mixed=router.indices[0][2] < layers,
    ), ""  # fmt: skip


def without_experts(
    modules: Iterable[TheirModule], others: Iterable[Recognized], stack: str
) -> tuple[list[TheirModule], list[Recognized]]:
    """Return the modules and the tensors that aren't of a stack's mixture of experts."""
    roles = (ROUTER, EXPERT)
    own = [m for m in modules if m.role not in roles or m.stack != stack]
    return own, [
        one for one in others if one.role not in roles or not one.pattern.name.startswith(stack)
    ]


def in_files(mixture: Mixture, stack: str, held: Mapping[str, HeldExpert]) -> Mixture:
    """Return a mixture in the names of files that have a tensor for each expert.

    Args:
        stack: the layers' stack, up to their number.
        held: tensors of files, with indices for the numbers of a layer and of an expert.
    """
    by_holder = {f"{stack}.{one.theirs}": one for one in mixture.projections}
    found = [
        Projection(
            name.removeprefix(f"{stack}."),
            whole.ours if part.half is None else (whole.ours[part.half],),
            whole.transposed != part.transposed,
        )
        for name, part in held.items()
        if (whole := by_holder.get(part.holder)) is not None and name.startswith(stack)
    ]
    kernels = sorted(name for one in found for name in one.ours)
    if kernels != ["down", "gate", "up"]:
        return mixture
    rank = ("gate", "up", "down")
    return replace(mixture, projections=tuple(sorted(found, key=lambda p: rank.index(p.ours[0]))))


def _tensors(
    modules: Iterable[TheirModule], others: Iterable[Recognized]
) -> Iterable[tuple[str, TensorPattern]]:
    for module in modules:
        yield from ((module.role, tensor) for tensor in module.tensors)
    yield from ((one.role or "", one.pattern) for one in others)


def _width(config: Mapping[str, Any]) -> int:
    fields = flatten_sizes(config)
    return fields.get(str(first(fields, HIDDEN)), 0)


def _kernels(pattern: TensorPattern) -> tuple[str, ...]:
    """Return the kernels that a tensor holds by its name; none where that doesn't say it."""
    leaf = pattern.name.removesuffix(".weight").rpartition(".")[2].lower()
    return next((ours for ours, names in _KERNELS if re.fullmatch(names, leaf)), ())


def _projections(
    experts: Sequence[TensorPattern], config: Mapping[str, Any], stack: str
) -> tuple[Projection, ...] | None:
    """Return the tensors of the experts' kernels; None where they aren't gate, up and down."""
    hidden, found = _width(config), []
    for pattern in experts:
        numbers, kernel = len(pattern.indices), pattern.shapes[0][-2:]
        if len(pattern.shapes) > 1 or len(pattern.shapes[0]) != 4 - numbers:
            return None
        if not (ours := _kernels(pattern)):
            return None
        inputs = 0 if ours == ("down",) else 1  # the axis of the model's width
        is_other = hidden in kernel and kernel[inputs] != hidden
        theirs = pattern.name.removeprefix(f"{stack}.").replace(f"{{{INDICES[1]}}}", NUMBER)
        found.append(Projection(theirs, ours, is_other))
    if sorted(name for one in found for name in one.ours) != ["down", "gate", "up"]:
        return None
    if len(found) == 2 and any(one.is_single and len(one.ours) > 1 for one in found):
        return None  # halves of a tensor of each expert
    return tuple(found)
