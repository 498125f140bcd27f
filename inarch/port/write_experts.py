"""Write the experts of a draft: the layer, its rules, and which layers of a stack have any."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.code import call, code, layer_lines
from inarch.port.config_rotary import Found
from inarch.port.decisions import decide, guess
from inarch.port.draft import Draft
from inarch.port.experts import NUMBER, Projection
from inarch.port.find_slots import DOWN, GATE, UP
from inarch.port.graph import Slot
from inarch.port.sparse_layers import SparseLayers

NETWORK = {GATE, UP, DOWN}
SPARSE, DENSE = "num_layers[sparse_layers]", "num_layers[not sparse_layers]"


def expert_lines(draft: Draft, dense: Sequence[str]) -> list[str]:
    """Return the lines that make experts, and the network of layers that have none.

    Args:
        dense: lines that make that network, as `feed_forward`.
    """
    mixture = draft.graph.mixture
    assert mixture is not None
    width = "moe_intermediate_dim" if draft.has("moe_intermediate_dim") else draft.intermediate
    options = ["num_experts", "experts_per_token", width, draft.activation]
    if draft.has("normalize_weights"):
        options.append("normalize_weights")
    elif not mixture.normalizes:
        options.append("normalize_weights=False")
    options.append("kernel_initializer=init")
    if not mixture.is_mixed:
        return layer_lines("feed_forward = MixtureOfExperts", options)
    return [
        'is_sparse = values_per_layer("sparse_layers", sparse_layers, num_layers)',
        *(line.replace("feed_forward = ", "dense = ", 1) for line in dense),
        *layer_lines("experts = MixtureOfExperts", options),
    ]


def chosen_lines(draft: Draft) -> list[str]:
    """Return the line that chooses the network of a layer, where some have no experts."""
    mixture = draft.graph.mixture
    if mixture is None or not mixture.is_mixed:
        return []
    return ["feed_forward = experts if is_sparse[i] else dense"]


def expert_rules(draft: Draft) -> list[str]:
    """Return the lines of the weight map on the experts of a layer and their router."""
    mixture = draft.graph.mixture
    if mixture is None:
        return []
    (stack,) = draft.graph.stacks
    axes = "i e -> i e" if mixture.transposed else "e i -> i e"
    inner = call("rule(", f'"{mixture.router}"', '"router/kernel"', f'"{axes}"')
    for one in (one for one in mixture.projections if not one.is_single):
        names = [f'"experts/{name}"' for name in one.ours]
        ours = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        inner += call("rule(", f'"{one.theirs}"', ours, f'"{one.pattern}"')
    inner += _single_rules([one for one in mixture.projections if one.is_single])
    if mixture.is_mixed:
        inner.append(f'i="{SPARSE}",')
    inner[-1] = inner[-1].rstrip(",") + "),"
    return [f'under("{stack}", "layer_{{i}}/feed_forward",', *(f"    {line}" for line in inner)]


def _single_rules(projections: Sequence[Projection]) -> list[str]:
    """Return the lines of tensors of which each expert has one of its own."""
    lines = []
    for module in dict.fromkeys(_module(one) for one in projections):
        own = [one for one in projections if _module(one) == module]
        lines.append(f'under("{module}", "experts",')
        for one in own:
            theirs = one.theirs.removeprefix(f"{module}.")
            lines += [f'    rule("{theirs}", "{one.ours[0]}", "{one.pattern}"),']
        lines.append('    e="num_experts"),')
    return lines


def _module(projection: Projection) -> str:
    """Return the name of an expert, which precedes those of its tensors."""
    before, number, _ = projection.theirs.partition(NUMBER)
    return before + number


def is_of_dense_layers(draft: Draft, slot: Slot) -> bool:
    """Return whether layers without experts alone have a slot."""
    mixture = draft.graph.mixture
    return mixture is not None and mixture.is_mixed and not NETWORK.isdisjoint(slot.ours)


def dense_rules(stack: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of the network of layers that have no experts, within the weight map."""
    inner = [*lines, f'i="{DENSE}")),']
    head = f'when("sparse_layers", under("{stack}", "layer_{{i}}",'
    return [head, *(f"    {line}" for line in inner)]


def sparse_lines(draft: Draft) -> Found:
    """Return the lines of the config map on which layers have experts."""
    found = draft.evidence.sparse if draft.evidence else SparseLayers.by_names(draft.given)
    decisions = []
    if found is None or not found.others:
        text = "some layers alone have experts; which, no field that is known says"
        decisions.append(decide("sparse_layers", text))
        return ['constant("sparse_layers", None),  # DECIDE'], set(), decisions
    if draft.evidence is None:
        named = " and ".join(filter(None, [found.others, found.step]))
        decisions.append(guess("sparse_layers", f"the layers that {named} leave, by their names"))
    step = [code(found.step or None), "True", "False", code(found.default), "is_last=True"]
    return (
        [
            f'EveryNthBut("{found.others}", "sparse_layers", None, layers=LAYERS,',
            f"    step=every_nth({', '.join(step)})),",
        ],
        {found.others, found.step} - {""},
        decisions,
    )
