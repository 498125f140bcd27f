"""Make a draft of a header, by what a reference shows or by names and shapes alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.errors import ConfigError
from inarch.port.arguments import find_activation, find_field
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.find_graph import find_graph
from inarch.port.graph import Graph
from inarch.port.header import Header
from inarch.port.heads import HeadClass, HeadDraft, class_names, draft_heads, purpose_of
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import collapse_names
from inarch.port.reference import Evidence
from inarch.port.roles import recognize
from inarch.validation import shown

# Names that can stand in code as they are.
PLAIN_NAME = re.compile(r"[A-Za-z_0-9.-]{1,200}")
# Names of a model that files begin with, by which its layers aren't meant.
STACKS = ("encoder", "decoder", "layers", "layer", "h", "blocks", "embeddings")
IN_TRAINING = (
    "it acts on what sublayers add and on the probabilities of attention; runs in inference don't "
    "show it"
)
DECODERS = ("ForCausalLM", "LMHeadModel")


def make_draft(name: str, header: Header, evidence: Evidence | None) -> Draft:
    """Return the draft of a header.

    Raises:
        ConfigError: the config has no model_type, or one that can't stand in code.
        InputError: its graph isn't one that is drafted.
    """
    model_type = header.config.get("model_type")
    if not isinstance(model_type, str) or not PLAIN_NAME.fullmatch(model_type):
        raise ConfigError(
            f"the config has model_type {shown(model_type)}; formats are told apart by it. Add "
            'the line "model_type" with the name that checkpoints of this kind will have'
        )
    tensors, decisions = plain_names(header.tensors)
    given, odd = _plain_fields(header.config)
    decisions += odd
    if evidence is not None:
        return _by_reference(name, model_type, tensors, given, evidence, decisions)
    return _by_names(name, model_type, tensors, given, decisions)


def plain_names(
    tensors: Mapping[str, TensorInfo],
) -> tuple[dict[str, TensorInfo], list[Decision]]:
    """Return the tensors whose names can stand in code, and a line on the others."""
    found = {name: info for name, info in tensors.items() if PLAIN_NAME.fullmatch(name)}
    left = [name for name in tensors if name not in found]
    if not left:
        return found, []
    text = f"{len(left)} tensors have names that no map can have; it leaves them out"
    return found, [decide(shown(left[0]), text)]


def _plain_fields(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Decision]]:
    """Return the fields whose names can stand in code, and a line on the others."""
    found = {name: value for name, value in config.items() if re.fullmatch(r"\w{1,100}", name)}
    left = [name for name in config if name not in found]
    text = f"{len(left)} fields have names that no map can have"
    return found, [decide(shown(left[0]), text)] if left else []


def _by_reference(
    name: str, model_type: str, tensors: Mapping[str, TensorInfo], given: Mapping[str, Any],
    evidence: Evidence, decisions: list[Decision],
) -> Draft:  # fmt: skip
    # Some classes with a head have a part of the backbone that the one without lacks: a pooler.
    known = {
        n.removeprefix(evidence.prefix): info
        for head in evidence.heads
        for n, info in head.tensors.items()
        if n.startswith(f"{evidence.prefix}pooler.")
    }
    whole = {**known, **evidence.tensors}
    parts = recognize(collapse_names(whole, evidence.config), evidence.config)
    modules, others = group_modules(parts)
    idle = [m for m in modules if m.tensor_name("weight") in evidence.unused and not
            m.words.startswith("pooler")]  # fmt: skip
    modules = [m for m in modules if m not in idle]
    graph = find_graph(modules, evidence.config, evidence.causal, evidence.calls)
    epsilons = Counter(evidence.epsilons.values())
    activations = {"epsilon": epsilons.most_common(1)[0][0]} if epsilons else {}
    graph = _with_switches(graph, evidence).replace(**activations)
    if evidence.padding and graph.positions == "learned" and not graph.offset:
        graph = graph.replace(padded=True)
    heads, of_heads = draft_heads(
        _with_fields(evidence), evidence.prefix, evidence.config, evidence.causal
    )
    names = {pattern.name for pattern in collapse_names(whole, {})}
    for head in evidence.heads:
        short = {n.removeprefix(evidence.prefix): info for n, info in head.tensors.items()}
        names |= {pattern.name for pattern in collapse_names(short, {})}
    short = {n.removeprefix(evidence.prefix): info for n, info in tensors.items()}
    strange = [p.name for p in collapse_names(short, given) if p.name not in names]
    buffers = [n for n in strange if _is_buffer(n)]
    for one in strange:
        if one not in buffers:
            decisions.append(decide(one, f"in the file, and {evidence.version} has no such tensor"))
    buffers += [part.pattern.name for part in others if part.role == "buffer"]
    loose = [part.pattern.name for part in others if part.role != "buffer"]
    decisions += [decide(one, "no layer has it: the weight map leaves it out") for one in loose]
    decisions.append(guess("dropout", IN_TRAINING))
    return Draft(
        name, model_type, graph, tuple(heads), evidence.defaults, given, evidence.prefix,
        evidence.base, tuple(dict.fromkeys(buffers)), evidence, (*decisions, *of_heads),
        tuple(tensor.name for m in idle for tensor in m.tensors),
    )  # fmt: skip


def _with_fields(evidence: Evidence) -> list[HeadClass]:
    """Return the classes of heads with the fields that each alone reads."""
    reads = evidence.reads.modeling if evidence.reads else {}
    return [
        replace(head, fields=tuple(reads.get(purpose_of(head.name, evidence.causal) or "", ())))
        for head in evidence.heads
    ]


def _with_switches(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the arguments that decide about biases."""
    by_bias = {
        slot.module.tensor_name("bias"): slot.ours
        for slot in graph.slots
        if slot.kind == "dense" and slot.module.stack
    }
    biases, switches, decisions = dict(graph.biases), {}, list(graph.decisions)
    for field, tensors in evidence.switches.items():
        if not tensors <= by_bias.keys():
            continue
        names = [ours for tensor in tensors for ours in by_bias[tensor]]
        kinds = {ours.partition("/")[0] for ours in names}
        argument = f"{kinds.pop()}_bias" if len(kinds) == 1 else "use_bias"
        if argument in switches:
            continue
        switches[argument] = field
        biases |= dict.fromkeys(names, argument)
    return graph.replace(biases=biases, switches=switches, decisions=tuple(decisions))


def _is_buffer(name: str) -> bool:
    return name.endswith(("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias"))


# --- without a reference -----------------------------------------------------------------------


def _by_names(
    name: str, model_type: str, tensors: Mapping[str, TensorInfo], given: Mapping[str, Any],
    decisions: list[Decision],
) -> Draft:  # fmt: skip
    written = class_names(given)
    own = _find_prefix(tensors)
    prefix = own or f"{model_type}."
    inside = {n: info for n, info in tensors.items() if n.startswith(own)} if own else tensors
    short = {n.removeprefix(own): info for n, info in inside.items()}
    if not own:
        decisions.append(guess("prefix", f"{prefix!r}: the file has the model alone", "'model.'"))
    parts = recognize(collapse_names(short, given), given)
    modules, others = group_modules(parts)
    modules, head_modules = _without_heads(modules) if not own else (modules, [])
    causal = any(a.endswith(DECODERS) for a in written)
    if not written:
        decisions.append(guess("architecture", "an encoder, since the config names no class"))
    graph = find_graph(modules, given, causal)
    heads, of_heads = _heads_by_names(written, tensors, own, prefix, given, causal)
    base = _base_name(written, name)
    decisions += [*of_heads, *_unknown_parts(graph, given)]
    decisions += [
        guess(m.name, "a head's, which the weight map leaves out") for m in head_modules
    ]  # fmt: skip
    buffers = [p.pattern.name for p in others if p.role == "buffer" or _is_buffer(p.pattern.name)]
    loose = [p.pattern.name for p in others if p.pattern.name not in buffers]
    decisions += [decide(one, "no layer has it: the weight map leaves it out") for one in loose]
    usual = {n: v for n, v in given.items() if n not in ("architectures", "model_type")}
    return Draft(
        name, model_type, graph, tuple(heads), usual, given, prefix, base,
        tuple(buffers), None, tuple(decisions),
    )  # fmt: skip


def _heads_by_names(
    written: Sequence[str], tensors: Mapping[str, TensorInfo], own: str, prefix: str,
    given: Mapping[str, Any], causal: bool,
) -> tuple[list[HeadDraft], list[Decision]]:  # fmt: skip
    """Return the head of the class that wrote the file, and what isn't known of it."""
    name = written[0] if written else ""
    if not purpose_of(name, causal) or not own:
        return [], []
    table = "lm_head.weight"
    outside = [n for n in tensors if not n.startswith(own)]
    if not outside and name.endswith(DECODERS):
        text = f"{table!r} where it isn't the table of tokens, which it is in the file"
        return [HeadDraft("causal_lm", (name,), table=table)], [guess(name, text)]
    heads, decisions = draft_heads([HeadClass(name, tensors)], prefix, given, causal)
    for head in heads:
        if head.activation:
            text = f"{head.activation!r} after its first layer, as is usual"
            decisions.append(guess(head.name, text, "the config's activation", "'tanh'", "'relu'"))
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
    found += [guess("attention", "scores are scaled by the root of a head's width")]
    if graph.positions == "rotary":
        found.append(guess("positions", "halves of a head are rotated together", "neighbors"))
    if graph.gated:
        found.append(guess("feed_forward", "the activation is the gate's"))
    if find_field("dropout", given) or find_field("embedding_dropout", given):
        found.append(guess("embeddings", "dropout acts on them"))
    if find_activation(given) is None:
        found.append(guess("activation", f"{graph.activation!r}, since no field has it"))
    if find_field("layer_norm_epsilon", given) is None:
        found.append(guess("epsilon of norms", f"{graph.epsilon}, since no field has it"))
    if graph.has("segment_embedding"):
        found.append(guess("segments", "added to the tokens before the norm"))
    return found
