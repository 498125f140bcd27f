"""Graphs and heads that names and shapes allow in the place of a draft's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from inarch.json_fields import is_number
from inarch.port.arguments import find_activation, find_field, has_number
from inarch.port.draft import Draft
from inarch.port.find_choice import other_choices
from inarch.port.find_slots import (
    ATTENTION_NORM,
    CROSS_NORM,
    CROSS_PARTS,
    FEED_FORWARD_NORM,
    GATE,
    KEY,
    OUTPUT,
    QUERY,
    UP,
    VALUE,
)
from inarch.port.graph import ALIBI, BY_HEAD, BY_PROJECTION, ONE_NORM, SEQUENTIAL, TWO_NORMS
from inarch.port.heads import HeadDraft
from inarch.port.known_arguments import BY_ARGUMENT, SHARED
from inarch.port.norms import ORDERS
from inarch.port.sine_tables import FAIRSEQ_SINES, PLAIN_SINES

ACTIVATIONS = ("gelu", "gelu_approximate", "relu", "silu", "tanh", "squared_relu")
# Layers without weights that mix tokens, as code.
MIXERS = ("FourierMixing()",)
# Other values of fields of disentangled attention, and of a stem, by the arguments that they are.
OF_POSITIONS = {
    "position_terms": "p2c", "max_relative_positions": 5, "bucket_size": 6, "share_keys": False,
}  # fmt: skip
OF_STEM = {"stem_norm": "layer", "stem_bias": True, "position_kernel": 4}
# Fields of initial weights, which have no part in what a model computes.
IN_TRAINING = ("initializer_range", "init_std", "initializer_factor")


def alternatives(draft: Draft) -> Iterator[tuple[str, Draft]]:
    """Iterate over graphs that names and shapes allow too, each with what differs."""
    graph, other = draft.graph, draft.with_graph
    yield from _positions(draft)
    query, gate = graph.slot(QUERY), graph.slot(GATE)
    if query is not None and len(query.ours) == 3:
        way = BY_PROJECTION if graph.fused == BY_HEAD else BY_HEAD
        yield f"queries, keys and values {way}", other(fused=way)
    if gate is not None and len(gate.ours) == 2:
        yield "the gate on the other side", other(gate_first=not graph.gate_first)
    yield from ((words, draft.replace(graph=found)) for words, found in other_choices(graph))
    if graph.norm == "rms":
        words = "norms with" + ("out" if graph.offset_norms else "") + " 1 added to their weights"
        yield words, other(offset_norms=not graph.offset_norms)
    yield from _differing_layers(draft)
    if has_number("attention_soft_cap", draft.usual):
        words = "scores with" + ("out" if graph.capped_scores else "") + " a soft cap"
        yield words, other(capped_scores=not graph.capped_scores)
    words = "scores that are" + ("n't scaled" if graph.scaled_scores else " scaled")
    unscaled = words, other(scaled_scores=not graph.scaled_scores)
    if graph.positions == "relative":
        yield unscaled
    if graph.positions != "disentangled" and not graph.scaled_tokens:
        yield "tokens times the root of their width", other(scaled_tokens=True)
    # The encoder of disentangled attention has one order, and no scores of another scale.
    is_free = graph.positions != "disentangled"
    for order in ORDERS if is_free and graph.order in ORDERS else ():
        if order != graph.order:
            yield f"norms in the order {order!r}", other(order=order)
    if graph.parallel != ONE_NORM and graph.order == "pre":
        is_parallel = graph.parallel == TWO_NORMS
        way = SEQUENTIAL if is_parallel else TWO_NORMS
        words = "sublayers one after the other" if is_parallel else "parallel sublayers"
        yield words, other(parallel=way)
    if graph.positions == "rotary":
        words = "halves" if graph.interleaved else "neighbors"
        yield f"rotary positions that rotate {words}", other(interleaved=not graph.interleaved)
    yield from _exchanges(draft)
    if graph.positions not in ("relative", "disentangled"):
        yield unscaled
    padding = draft.usual.get("pad_token_id")
    if graph.positions == "learned" and isinstance(padding, int):
        yield "positions counted otherwise", other(padded=not graph.padded, offset=0)
    if find_activation(draft.usual) is None:
        for name in ACTIVATIONS:
            if name != graph.activation:
                yield f"the activation {name}", other(activation=name)


def _positions(draft: Draft) -> Iterator[tuple[str, Draft]]:
    """Iterate over graphs with positions, where no tensor and no field has them."""
    graph, other = draft.graph, draft.with_graph
    if graph.positions != "none":
        return
    kept = graph.decisions_without("positions")
    if graph.is_pair:
        sines = {"positions": "sinusoidal", "decisions": kept}
        yield "sines before cosines of positions", other(**sines, sines=PLAIN_SINES)
        words = "sines before cosines of positions, which count tokens after the padding id"
        yield words, other(**sines, sines=FAIRSEQ_SINES, padded=True)
    else:
        if graph.causal:
            yield "ALiBi, by no field", other(positions=ALIBI, decisions=kept)
        for interleaved, words in ((True, "neighbors"), (False, "halves")):
            rotary = {"positions": "rotary", "interleaved": interleaved, "decisions": kept}
            yield f"rotary positions that rotate {words}, by no field", other(**rotary)


def _differing_layers(draft: Draft) -> Iterator[tuple[str, Draft]]:
    """Iterate over graphs with other windows and positions by layer, and with scaled scores."""
    graph, other = draft.graph, draft.with_graph
    if graph.rotary_layers:
        others = {value: not is_rotary for value, is_rotary in graph.rotary_layers.items()}
        yield "positions in the other layers", other(rotary_layers=others)
    if graph.layer_types and graph.positions == "rotary":
        words = "all" if graph.local_positions else "local"
        other_layers = {"local_positions": not graph.local_positions}
        yield f"positions in {words} layers alone", other(**other_layers)
    if not graph.score_field and graph.positions == "rotary":
        for field in loose_numbers(draft):
            for words, way in (("divided by the root of", "**-0.5"), ("times", "")):
                scale = {"score_field": field, "score_scale": f"{field}{way}"}
                yield f"scores {words} {field}", other(**scale)
    for way in ("// 2", "- 1") if graph.layer_types else ():
        if not graph.window.endswith(way):
            window = f"{graph.window.split()[0]} {way}"
            yield f"local layers that see {window} tokens on a side", other(window=window)


def loose_numbers(draft: Draft) -> list[str]:
    """Return the fields of numbers that the reference's model reads and no argument is."""
    read = draft.evidence.model_reads if draft.evidence else ()
    known = {find_field(a.name, draft.usual) for a in draft.arguments if a.name in BY_ARGUMENT}
    return [
        name
        for name in read
        if is_number(draft.usual.get(name)) and name not in {*known, *SHARED, *IN_TRAINING}
        and not name.endswith("_id")
    ]  # fmt: skip


def _exchanges(draft: Draft) -> Iterator[tuple[str, Draft]]:
    """Iterate over the graphs in which two layers of equal shapes have each other's weights."""
    swaps = [(ATTENTION_NORM, FEED_FORWARD_NORM), (ATTENTION_NORM, CROSS_NORM), (GATE, UP)]
    for parts in ((QUERY, KEY, VALUE, OUTPUT), CROSS_PARTS):
        swaps += itertools.combinations(parts, 2)
    for one, two in swaps:
        slots = draft.graph.slot(one), draft.graph.slot(two)
        if all(slot is not None and len(slot.ours) == 1 for slot in slots):
            yield f"{one} and {two} exchanged", draft.replace(graph=draft.graph.swapped(one, two))


def mixers(draft: Draft) -> Iterator[tuple[str, Draft]]:
    """Iterate over layers without weights that may mix tokens, as code, each with its draft.

    There are some where nothing else is missing than attention, of which there is no tensor.
    """
    missing = draft.graph.missing
    if [one.is_bare for one in missing] == [True]:
        kept = draft.graph.decisions_without(missing[0].subject)
        heads = {head.name for head in draft.heads}  # guesses on a graph that lacks layers
        lines = tuple(one for one in draft.decisions if one.subject not in heads)
        for mixer in MIXERS:
            graph = draft.graph.replace(mixer=mixer, missing=(), decisions=kept)
            yield mixer, draft.replace(graph=graph, decisions=lines)


def head_variants(draft: Draft, head: HeadDraft) -> Iterator[HeadDraft]:
    """Iterate over what a head can be, the likeliest first."""
    yield head
    usual = [name for name in ("activation", *ACTIVATIONS) if name != head.activation]
    if head.name == "masked_lm" and head.dense:
        yield from (replace(head, activation=name) for name in usual if draft.has(name) or
                    name != "activation")  # fmt: skip
    elif head.name == "seq2seq_lm":
        yield replace(head, scaled=not head.scaled)
    elif head.name == "text_classifier" and not (draft.graph.causal or draft.graph.is_pair):
        if len(head.dense) == 2:
            yield from (replace(head, activation=name) for name in usual[1:])
        elif draft.pooler:
            yield replace(head, pooled=not head.pooled)


def other_values(draft: Draft) -> dict[str, Any]:
    """Return other values of fields whose runs show that they are computed, by argument."""
    if draft.graph.stem:
        return OF_STEM
    if field := draft.graph.switches.get("normalize_weights"):
        return {"normalize_weights": not draft.usual[field]}
    return OF_POSITIONS if draft.graph.positions == "disentangled" else {}
