"""Make a draft by names and shapes alone, where no reference can be run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.arguments import find_activation, find_field, has_number
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.find_graph import find_graph
from inarch.port.find_heads import draft_heads
from inarch.port.find_pair import is_pair
from inarch.port.find_slots import QUERY
from inarch.port.graph import BY_THEMSELVES, Graph
from inarch.port.heads import (
    DECODERS,
    ENCODERS,
    OWN,
    PAIRS,
    HeadClass,
    HeadDraft,
    class_names,
    named_heads,
    purpose_of,
)
from inarch.port.known_arguments import GATING
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize

# Names of a model that files begin with, by which its layers aren't meant.
STACKS = ("encoder", "decoder", "layers", "layer", "h", "blocks", "embeddings")
# What the tensors of an encoder-decoder begin with, where no name of a model precedes them.
OF_PAIRS = ("encoder.", "decoder.", "shared.")
IN_TRAINING = (
    "it acts on what sublayers add and on the probabilities of attention; runs in inference don't "
    "show it"
)
# Of tensors that a run doesn't need.
IN_A_RUN = (
    "no output of a run of tokens depends on {}; whether one does with other inputs isn't known"
)
OF_DECODERS = ("ForCausalLM", "LMHeadModel")


def by_names(
    name: str, model_type: str, tensors: Mapping[str, TensorInfo], given: Mapping[str, Any],
    decisions: list[Decision],
) -> Draft:  # fmt: skip
    written = class_names(given)
    own = _find_prefix(tensors)
    inside = {n: info for n, info in tensors.items() if n.startswith(own)} if own else tensors
    short = {n.removeprefix(own): info for n, info in inside.items()}
    parts = recognize(collapse_names(short, given), given)
    modules, others = group_modules(parts)
    modules, head_modules = _without_heads(modules) if not own else (modules, [])
    if not own and is_pair(modules):
        inside = {n: info for n, info in tensors.items() if n.startswith(OF_PAIRS)}
        others = [
            part for part in others if part.pattern.name in inside or "{" in part.pattern.name
        ]
    decisions += _outer_layers(tensors, own)
    kind = _kind(written, modules)
    # The class of an encoder-decoder with a head has no name of a model in front of others.
    if own or len(inside) < len(tensors) or (kind == PAIRS and any(
            purpose_of(one, kind) for one in written)):  # fmt: skip
        prefix = own
    else:
        prefix = f"{model_type}."
        decisions.append(guess("prefix", f"{prefix!r}: the file has the model alone", "'model.'"))
    causal = kind == DECODERS
    if not written:
        text = f"{PAIRS}, by its stacks" if kind == PAIRS else "an encoder"
        decisions.append(guess("architecture", f"{text}, since the config names no class"))
    graph = find_graph(modules, given, causal, others=others)
    placed = {slot.module.name for slot in graph.slots if slot.kind in BY_THEMSELVES}
    others = [part for part in others if part.pattern.name not in placed]
    acting = str(given.get(GATING)).removeprefix("gated-")
    graph = graph.replace(activation=ACTIVATIONS.get(acting, graph.activation))
    heads, of_heads = _heads_by_names(written, tensors, inside, prefix, given, kind)
    base = _base_name(written, name)
    decisions += [*of_heads, *_unknown_parts(graph, given)]
    decisions += [
        guess(m.name, "a head's, which the weight map leaves out") for m in head_modules
    ]  # fmt: skip
    buffers = [p.pattern.name for p in others if p.role == "buffer" or is_buffer(p.pattern.name)]
    known = {*buffers, *graph.unplaced, *graph.expert_tensors}
    loose = [p.pattern.name for p in others if p.pattern.name not in known]
    decisions += [decide(one, "no layer has it: the weight map leaves it out") for one in loose]
    usual = {n: v for n, v in given.items() if n not in ("architectures", "model_type")}
    return Draft(
        name, model_type, graph, tuple(heads), usual, given, prefix, base,
        tuple(buffers), None, tuple(decisions),
    )  # fmt: skip


def _outer_layers(tensors: Mapping[str, TensorInfo], own: str) -> list[Decision]:
    """Return a line on numbered layers that a model of one name and its head don't explain."""
    outside = Counter(
        name.partition(".")[0]
        for name in tensors
        if own and not name.startswith(own) and re.search(r"\.\d+\.", name)
    )
    text = f"tensors in numbered layers outside of {own}, which is drafted alone"
    return [decide(name, f"{count} {text}") for name, count in outside.items()]


def _kind(written: Sequence[str], modules: Sequence[TheirModule]) -> str:
    """Return the kind of a model by its stacks, or else by the classes that its config names."""
    if is_pair(modules):
        return PAIRS
    return DECODERS if any(a.endswith(OF_DECODERS) for a in written) else ENCODERS


def _heads_by_names(
    written: Sequence[str], tensors: Mapping[str, TensorInfo], inside: Mapping[str, TensorInfo],
    prefix: str, given: Mapping[str, Any], kind: str,
) -> tuple[list[HeadDraft], list[Decision]]:  # fmt: skip
    """Return the head of the class that wrote the file, and what isn't known of it."""
    name = written[0] if written else ""
    purpose = purpose_of(name, kind)
    if not purpose or (prefix and not any(n.startswith(prefix) for n in tensors)):
        return [], []
    table = "lm_head.weight"
    outside = [n for n in tensors if n not in inside]
    if not outside and purpose in ("causal_lm", "seq2seq_lm"):
        text = f"{table!r} where it isn't the table of tokens, which it is in the file"
        return [HeadDraft(purpose, (name,), table=table)], [guess(name, text)]
    heads, decisions = draft_heads([HeadClass(name, tensors)], prefix, given, kind, inside)
    for head in heads:
        if head.activation:
            text = f"{head.activation!r} after its first layer, as is usual"
            decisions.append(guess(head.name, text, "the config's activation", "'tanh'", "'relu'"))
        if head.name == "seq2seq_lm":
            text = "tied logits are products with the vectors as they are"
            decisions.append(guess(head.name, text, "divided by the root of their width"))
        if head.name == "masked_lm" and not head.table:
            decisions.append(guess(head.name, "the table of tokens is that of its outputs"))
    return heads, decisions


def _base_name(written: Sequence[str], name: str) -> str:
    """Return the name of the class without a head."""
    if not written:
        return f"{name.title().replace('_', '')}Model"
    stem = re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", written[0])
    return f"{stem}Model"


def _find_prefix(tensors: Mapping[str, TensorInfo]) -> str:
    """Return the model's name that the tensors of layers begin with; `""` without one."""
    first = Counter(
        name.partition(".")[0] for name in tensors if re.search(r"\.\d+\.", name)
    ).most_common(1)
    if not first or first[0][0] in STACKS or first[0][0].isdigit():
        return ""
    name = first[0][0]
    rest = {n.split(".")[1] for n in tensors if n.startswith(f"{name}.") and n.count(".") > 1}
    # A model has more than one part; a stack of layers has numbers alone.
    if all(part.isdigit() for part in rest) or len(rest) < 2:
        return ""
    return f"{name}."


def _without_heads(
    modules: Sequence[TheirModule],
) -> tuple[list[TheirModule], list[TheirModule]]:
    """Return the modules of the backbone, and those that look like a head's."""
    of_heads = [
        m for m in modules
        if not m.stack and m.role in ("head", "language head") and "pooler" not in m.words
    ]  # fmt: skip
    return [m for m in modules if m not in of_heads], of_heads


def _unknown_parts(graph: Graph, given: Mapping[str, Any]) -> list[Decision]:
    """Return a line for each part of the graph that no tensor and no field shows."""
    found = [guess("dropout", IN_TRAINING)]
    if graph.norm == "uncentered":
        found.append(guess("norms", "layer norms without an offset", "RMS norms"))
    if graph.has(QUERY):
        found += [guess("attention", "scores are scaled by the root of a head's width")]
    if graph.joint_norms:
        name = "norms of queries and keys"
        text = "over all heads together, by the shapes of their weights"
        if graph.norm == "rms":
            found.append(guess(name, text, "each head by itself, with weights of its own"))
        else:
            found.append(decide(name, f"{text}; RMSNorm alone has that, with num_axes=2"))
    if graph.capped_scores:
        found.append(guess("soft cap", "on the scores, before any is masked"))
    if has_number("logits_soft_cap", given) and OWN[DECODERS] in named_heads(given):
        found.append(guess("soft cap of logits", "on all of them, after the output embeddings"))
    if graph.positions == "rotary":
        found.append(guess("positions", "halves of a head are rotated together", "neighbors"))
    if graph.gated:
        found.append(guess("feed_forward", "the activation is the gate's"))
    if find_field("dropout", given) or find_field("embedding_dropout", given):
        found.append(guess("embeddings", "dropout acts on them"))
    if find_activation(given) is None:
        why = f"as {GATING} is {given[GATING]!r}" if GATING in given else "since no field has it"
        found.append(guess("activation", f"{graph.activation!r}, {why}"))
    if graph.is_pair and graph.positions == "relative":
        text = "buckets of both directions in the encoder, and of one in the decoder"
        found.append(guess("relative bias", text))
    if find_field("layer_norm_epsilon", given) is None:
        found.append(guess("epsilon of norms", f"{graph.epsilon}, since no field has it"))
    if graph.has("segment_embedding"):
        found.append(guess("segments", "added to the tokens before the norm"))
    return found


def is_buffer(name: str) -> bool:
    return name.endswith(("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias"))
