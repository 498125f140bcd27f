"""Settle what a draft leaves open: run a perturbed tiny reference, and try the alternatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from inarch.port.alternatives import alternatives, head_variants, mixers, other_values
from inarch.port.arguments import find_field, nested_rotary
from inarch.port.decisions import GUESS, SETTLED, Decision, decide, guess, settled
from inarch.port.draft import Draft
from inarch.port.find_heads import POOLINGS
from inarch.port.find_parts import is_yes
from inarch.port.heads import OWN, PAIRS, HeadDraft
from inarch.port.known_arguments import GATING, SHARED
from inarch.port.trial import Outcome, attempt
from inarch.port.write_table import SIZES, TINY_SHARE
from inarch.workflows.verification import GOLDEN_HEADS

SCALED = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 7}
# At most so many changes follow one another.
MAX_ROUNDS = 4


def settle(draft: Draft, progress: Callable[[str], Any] = lambda step: None) -> Draft:
    """Return the draft that computes the nearest to its reference, with what the runs show.

    Args:
        draft: with evidence.
        progress: called with each step before it begins.
    """
    draft = _with_mixer(draft, progress)
    if draft.graph.missing:
        line = decide("graph", "not compared with the reference: layers must be written first")
        return _noted(_with_open_options(draft), None, line)
    graph, outcome, changes = _settle_graph(draft, progress)
    draft = replace(draft, graph=graph.graph)
    if not outcome.passed:
        text = f"the draft doesn't compute what the reference does, from {outcome.first} on"
        if outcome.wrong is None:
            text = f"the draft can't be compared with the reference: {outcome.first}"
        return _noted(_with_open_options(draft), None, decide("graph", text))
    is_scaled = nested_rotary(draft.usual, "rope_type") or draft.scaled_kind
    if graph.graph.positions == "rotary" and is_scaled:
        draft = _settle_scaling(draft, progress)
    draft = _settle_embeddings(_settle_directions(draft, progress), progress)
    for field, (switch, value) in _switches(draft).items():
        draft = _settle_switch(draft, field, switch, value, progress)
    draft = _settle_positions(_settle_parts(draft, progress), progress)
    words = f"every layer is the reference's, noise ratio {outcome.ratio:.2g} of at most 8"
    draft = _noted(draft, changes, settled("graph", words))
    for head in (one for one in draft.heads if one.name in GOLDEN_HEADS):
        draft = _settle_head(draft, head, progress)
    return _settle_shared_table(draft, progress)


def _settle_shared_table(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft without the field of one table of tokens, if tables apart aren't computed.

    The language model's logits are compared, since they are the decoder's table's.
    """
    head = OWN[PAIRS]
    field = draft.graph.switches.get("shared_embeddings")
    if field is None or head not in {one.name for one in draft.heads}:
        return draft
    sizes = {}
    if draft.has("decoder_vocabulary_size"):
        words = str(find_field("decoder_vocabulary_size", draft.usual))
        sizes[words] = SIZES["vocabulary_size"] + 2
    line = _line_of_other(draft, field, False, progress, head, sizes)
    if line.kind != SETTLED:
        switches = {n: name for n, name in draft.graph.switches.items() if name != field}
        draft = draft.with_graph(switches=switches)
    return _noted(draft, None, line)


def _with_mixer(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with a layer without weights that mixes tokens, where one is right."""
    for words, other in mixers(draft):
        found, outcome, _ = _settle_graph(other, progress)
        if outcome.passed:
            return _noted(found, None, settled("attention", f"{words}, by trial"))
    return draft


def _with_open_options(draft: Draft) -> Draft:
    """Return the draft with a line for each field that a run would settle."""
    lines = [guess(name, "decides about layers, by names alone") for name in _options(draft)]
    return draft.replace(decisions=(*draft.decisions, *lines))


def _settle_graph(draft: Draft, progress: Callable[[str], Any]) -> tuple[Draft, Outcome, list[str]]:
    """Return the best draft by the graph without a head, its outcome, and what was changed."""
    progress("a run of the draft and of the reference")
    best, outcome = draft, attempt(draft)
    changes: list[str] = []
    for _ in range(MAX_ROUNDS):
        if outcome.passed or outcome.is_refused:
            break
        better = None
        for words, other in alternatives(best):
            progress(f"a run with {words}")
            found = attempt(other)
            if found.rank < outcome.rank:
                better, outcome, change = other, found, words
            if found.passed:
                break
        if better is None:
            break
        best = better
        changes.append(change)
    return best, outcome, changes


def _settle_scaling(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with scaled rotary positions, where a scaling gives the same layers."""
    progress("a run with scaled rotary positions")
    scaled = draft.with_graph(scaled=True)
    values = {**draft.usual["rope_parameters"]}
    kind = draft.scaled_kind
    field = f"rope_parameters.{kind}.rope_type" if kind else "rope_parameters.rope_type"
    values |= {kind: {**values[kind], **SCALED}} if kind else SCALED
    if "partial_rotary_factor" in values:
        values["partial_rotary_factor"] = TINY_SHARE
    found = attempt(scaled, changes={"rope_parameters": values})
    if not found.passed:
        text = f"scalings aren't those of RotaryEmbedding ({found.first}); they are refused"
        return _noted(draft, None, decide(field, text))
    words = "scaled as RotaryEmbedding does it, by a run with YaRN's scaling"
    return _noted(scaled, None, settled(field, words))


def _settle_embeddings(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with lines on fields of the embeddings, by runs of other values."""
    graph = draft.graph
    if (field := graph.switches.get("zero_mask_tokens")) is not None and draft.evidence:
        other: Any = not draft.evidence.config[field]
        draft = _noted(draft, None, _line_of_other(draft, field, other, progress))
    if (field := graph.switches.get("positions")) is not None and draft.evidence:
        _, other = draft.evidence.parts.values[field]
        draft = _noted(draft, None, _line_of_other(draft, field, other, progress))
    return draft


def _settle_directions(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with the field by which tokens attend to those after them too, if any."""
    graph, usual = draft.graph, draft.usual
    read = draft.evidence.model_reads if draft.evidence and graph.causal else ()
    known = {*graph.switches.values(), *graph.parts.values(), *SHARED}
    windows = ["", f"{graph.window.split()[0]} // 2"] if graph.window else [""]
    for field in (n for n in read if usual.get(n) is False and n not in known):
        for window in windows:
            progress(f"a run with another {field}")
            switches = {**graph.switches, "bidirectional": field}
            found = draft.with_graph(two_way_window=window, switches=switches)
            if attempt(found).passed and attempt(found, changes={field: True}).passed:
                words = "attention in both directions, by a run with True"
                return _noted(found, None, settled(field, words))
    return draft


def _switches(draft: Draft) -> dict[str, tuple[str, Any]]:
    """Return the fields that change the graph, each with the switch of ours and another value."""
    found: dict[str, tuple[str, Any]] = {}
    usual = draft.usual.get("scale_embedding")
    is_there = draft.graph.is_pair or draft.graph.scaled_tokens
    if is_there and isinstance(usual, bool):
        found["scale_embedding"] = ("scaling", not usual)
    if (field := draft.graph.switches.get("normalize_first")) is not None:
        found[field] = ("ordering", not draft.usual[field])
    if draft.graph.switched:
        is_gated = draft.usual[GATING].startswith("gated-")
        found[GATING] = ("gating", "relu" if is_gated else "gated-silu")
    return found


def _settle_switch(
    draft: Draft, field: str, switch: str, change: Any, progress: Callable[[str], Any]
) -> Draft:
    """Return the draft in which an argument decides about part of the graph, where that is so."""
    ways: list[dict[str, Any]] = [{switch: True}]
    if switch == "scaling" and draft.graph.positions == "sinusoidal":
        ways.append({switch: True, "scales_input": True})
    failed = Outcome(None, 0.0)
    for way in ways:
        progress(f"a run with another {field}")
        other = draft.with_graph(**way)
        outcomes = [attempt(other), attempt(other, changes={field: change})]
        if all(outcome.passed for outcome in outcomes):
            return _noted(other, None, settled(field, f"by a run with {change!r}"))
        failed = next(outcome for outcome in outcomes if not outcome.passed)
    text = f"the draft doesn't compute what {change!r} does ({failed.first})"
    return _noted(draft, None, decide(field, text))


def _settle_parts(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft without the arguments whose other value doesn't give the same layers."""
    evidence = draft.evidence
    for argument, field in draft.graph.parts.items() if evidence is not None else ():
        assert evidence is not None
        value, other = evidence.parts.values[field]
        line = _line_of_other(draft, field, other, progress)
        if line.kind != SETTLED:
            is_on = is_yes(evidence, field, value)
            draft = draft.replace(graph=draft.graph.without(argument, is_on))
        draft = _noted(draft, None, line)
    return draft


def _settle_positions(draft: Draft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with a line for each field of what makes positions, by a run of it."""
    for argument, other in other_values(draft).items():
        field = draft.graph.switches.get(argument) or find_field(argument, draft.usual)
        if field is None or not draft.has(argument) or argument in draft.graph.parts:
            continue
        draft = _noted(draft, None, _line_of_other(draft, field, other, progress))
    return draft


def _line_of_other(
    draft: Draft, field: str, other: Any, progress: Callable[[str], Any], head: str = "",
    sizes: Mapping[str, int] | None = None,
) -> Decision:  # fmt: skip
    """Return what a run with another value of a field shows: that it is computed, or isn't.

    Args:
        head: that is compared; `""` for the model without one.
        sizes: other fields that have other values in the run.
    """
    run = f"a run of {head}" if head else "a run"
    progress(f"{run} with another {field}")
    found = attempt(draft, head or None, {**(sizes or {}), field: other})
    if found.passed:
        return settled(field, f"by {run} with {other!r}")
    return decide(field, f"the draft doesn't compute what {other!r} does ({found.first})")


def _settle_head(draft: Draft, head: HeadDraft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft with the variant of a head that computes what the reference's does."""
    best: tuple[HeadDraft, Outcome] | None = None
    for variant in head_variants(draft, head):
        progress(f"a run of {head.name}")
        found = attempt(_with_head(draft, variant), head.name)
        if best is None or found.rank < best[1].rank:
            best = variant, found
        if found.passed:
            break
    assert best is not None
    variant, outcome = best
    if outcome.passed:
        words = f"its logits are the reference's, noise ratio {outcome.ratio:.2g}"
        draft = _noted(_with_head(draft, variant), None, settled(head.name, words))
        return _settle_options(draft, variant, progress)
    text = f"the draft doesn't compute the reference's logits: {outcome.first}"
    return _noted(_with_head(draft, variant), None, decide(head.name, text))


def _options(draft: Draft) -> list[str]:
    """Return the fields that decide about heads."""
    found = [(*head.switches, head.pooling) for head in draft.heads]
    found += [tuple(draft.graph.parts.values())]
    return list(dict.fromkeys(name for names in found for name in names if name))


def _settle_options(draft: Draft, head: HeadDraft, progress: Callable[[str], Any]) -> Draft:
    """Return the draft without the fields of a head whose other value isn't computed."""
    known = {one.subject for one in draft.decisions if one.kind == SETTLED}
    for field in (*head.switches, *head.layer_sum[:1], *filter(None, [head.pooling])):
        if field in known:  # by another head
            continue
        usual = draft.usual[field]
        other = next((v for v in POOLINGS if v != usual), None) if field == head.pooling else (
            not usual
        )  # fmt: skip
        line = _line_of_other(draft, field, other, progress, head.name)
        if line.kind != SETTLED:
            heads = tuple(
                replace(h, pooling="") if field == h.pooling else h.without(field, bool(usual))
                for h in draft.heads
            )
            draft = draft.replace(heads=heads)
        draft = _noted(draft, None, line)
    return draft


def _with_head(draft: Draft, head: HeadDraft) -> Draft:
    heads = tuple(head if one.name == head.name else one for one in draft.heads)
    return draft.replace(heads=heads)


def _noted(draft: Draft, changes: list[str] | None, line: Any) -> Draft:
    """Return the draft with a line; guesses of the graph are settled by a run that passed."""
    graph = draft.graph
    if changes is not None:
        kept = tuple(one for one in graph.decisions if one.kind != GUESS)
        found = tuple(settled("graph", f"{words}, by trial") for words in changes)
        graph = graph.replace(decisions=(*kept, *found))
    return draft.replace(graph=graph, decisions=(*draft.decisions, line))
