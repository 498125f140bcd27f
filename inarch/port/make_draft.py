"""Make a draft of a header, by what a reference shows or by names and shapes alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.errors import ConfigError
from inarch.port.arguments import find_field
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.draft_by_names import IN_A_RUN, IN_TRAINING, by_names, is_buffer
from inarch.port.evidence import Evidence
from inarch.port.find_choice import with_read_choice
from inarch.port.find_embeddings import with_own_embeddings
from inarch.port.find_graph import find_graph
from inarch.port.find_heads import draft_heads
from inarch.port.find_pair import side_of
from inarch.port.find_parts import (
    optional_tensors,
    read_defaults,
    with_layer_fields,
    with_parts,
    with_switched_window,
)
from inarch.port.find_slots import DENSE, GATE, UP
from inarch.port.find_sound_heads import sound_heads
from inarch.port.find_stem import with_stem
from inarch.port.graph import BY_THEMSELVES, TOKENS, Graph, Slot
from inarch.port.header import Header
from inarch.port.heads import PAIR_HEADS, HeadClass, HeadDraft, purpose_of
from inarch.port.in_files import strange_tensors
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import collapse_names
from inarch.port.roles import Recognized, recognize
from inarch.validation import listed, shown

# Names that can stand in code as they are.
PLAIN_NAME = re.compile(r"[A-Za-z_0-9.-]{1,200}")


def make_draft(name: str, header: Header, evidence: Evidence | None) -> Draft:
    """Return the draft of a header.

    Raises:
        ConfigError: the config has no model_type, or one that can't stand in code.
    """
    model_type = header.config.get("model_type")
    if not isinstance(model_type, str) or not PLAIN_NAME.fullmatch(model_type):
        raise ConfigError(
            f"the config has model_type={shown(model_type)}, which can't be the name of a format. "
            'Give "model_type" the name that checkpoints of this kind will have, such as "my_bert"'
        )
    tensors, decisions = plain_names(header.tensors)
    given, odd = _plain_fields(header.config)
    decisions += odd
    if evidence is not None:
        draft = _by_reference(name, model_type, tensors, given, evidence, decisions)
    else:
        draft = by_names(name, model_type, tensors, given, decisions)
    return _with_open_heads(draft)


def _with_open_heads(draft: Draft) -> Draft:
    """Return the draft with what isn't known of heads on a graph that lacks layers."""
    if draft.graph.reads and not (draft.graph.is_pair or draft.graph.stem):
        text = "a head that isn't drafted: the input isn't text"
        lines = [decide(head.classes[0], text) for head in draft.heads]
        return draft.replace(heads=(), decisions=(*draft.decisions, *lines))
    text = "by the names of its tensors alone, since the graph lacks layers"
    heads = draft.heads if draft.graph.missing else ()
    lines = [guess(head.name, text) for head in heads]
    return draft.replace(decisions=(*draft.decisions, *lines))


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
    whole = {**known, **evidence.tensors, **optional_tensors(evidence)}
    parts = recognize(collapse_names(whole, evidence.config), evidence.config)
    modules, others = group_modules(parts)
    idle = [m for m in modules if m.tensor_name("weight") in evidence.unused and not
            m.words.startswith("pooler")]  # fmt: skip
    tables = [m for m in modules if m.tensor_name("weight") in evidence.sines and
              (evidence.is_pair or _is_of_heads(m, evidence.config))]  # fmt: skip
    modules = [m for m in modules if m not in (*idle, *tables)]
    lonely = [part for part in others if part.pattern.name in evidence.unused]
    others = [part for part in others if part not in lonely]
    graph = _graph(modules, others, evidence)
    placed = {slot.module.weight.name for slot in graph.slots if slot.kind in BY_THEMSELVES}
    others = [part for part in others if part.pattern.name not in placed]
    graph = _with_trials(graph, evidence, tables)
    heads, of_heads = draft_heads(
        _with_fields(evidence), evidence.prefix, evidence.config, evidence.kind,
        () if evidence.prefix else evidence.tensors,
    )  # fmt: skip
    if graph.stem:
        heads, of_heads = sound_heads(_with_fields(evidence), evidence)
    if evidence.is_pair:
        heads, lines = _of_single_texts(heads, evidence)
        of_heads += lines
    strange = strange_tensors(tensors, given, whole, evidence)
    buffers = [n for n in strange if is_buffer(n)]
    decisions += [decide(one, text) for one, text in strange.items() if one not in buffers]
    buffers += [part.pattern.name for part in others if part.role == "buffer" and
                part.pattern.name != graph.stored]  # fmt: skip
    loose = [part.pattern.name for part in others if part.role != "buffer"]
    loose = [one for one in loose if one not in graph.unplaced | graph.expert_tensors]
    decisions += [decide(one, "no layer has it: the weight map leaves it out") for one in loose]
    decisions += [*_lines_on_heads(evidence), guess("dropout", IN_TRAINING)]
    usual = {**evidence.usual, **read_defaults(evidence, graph)}
    if graph.positions == "disentangled":  # of heads of one width
        usual = {n: value for n, value in usual.items() if n not in evidence.widths}
    unused = [tensor.name for m in idle for tensor in m.tensors]
    unused += [part.pattern.name for part in lonely]
    if unused:
        decisions.append(guess("unused", IN_A_RUN.format(listed(unused, 6))))
    return Draft(
        name, model_type, graph, tuple(heads), usual, given, evidence.prefix,
        evidence.base, tuple(dict.fromkeys(buffers)), evidence, (*decisions, *of_heads),
        tuple(unused), tuple(m.tensor_name("weight") for m in tables),
    )  # fmt: skip


def _graph(
    modules: Sequence[TheirModule], others: Sequence[Recognized], evidence: Evidence
) -> Graph:
    """Return the graph of a reference's modules, with what its code and its runs show of it."""
    graph = find_graph(
        modules, evidence.config, evidence.causal, evidence.calls, evidence.ties, others
    )
    graph = with_read_choice(graph, evidence.model_reads)
    graph = with_stem(with_parts(graph, evidence), evidence, modules, others)
    halved = {*map(str, evidence.properties.values())}
    graph = with_layer_fields(graph, evidence.layers, evidence.usual, halved)
    return with_switched_window(graph, evidence)


def _lines_on_heads(evidence: Evidence) -> list[Decision]:
    """Return a line on each head of which a run has shown nothing."""
    text = "can't run its class here, so that not all fields that it reads are known"
    failed = evidence.reads.failed if evidence.reads else {}
    return [decide(head, f"{evidence.version} {text}: {why}") for head, why in failed.items()]


def _with_trials(graph: Graph, evidence: Evidence, tables: Sequence[TheirModule]) -> Graph:
    """Return the graph with what changes of single fields show, and the kind of its norms."""
    graph = _with_gating(_with_switches(graph, evidence), evidence)
    if epsilons := Counter(evidence.epsilons.values()):
        graph = graph.replace(epsilon=epsilons.most_common(1)[0][0])
    field = find_field("layer_norm_epsilon", evidence.config)
    is_read = not evidence.model_reads or field in evidence.model_reads
    graph = graph.replace(fixed_epsilon=not is_read)
    graph = _with_shared_table(_with_computed(graph, evidence, tables), evidence)
    graph = with_own_embeddings(graph, evidence)
    if evidence.padding and graph.positions == "learned" and not graph.offset:
        graph = graph.replace(padded=True)
    if graph.norm in ("rms", "uncentered") and evidence.rms is not None:
        graph = graph.replace(norm="rms" if evidence.rms else "uncentered")
    return graph


def _with_computed(graph: Graph, evidence: Evidence, tables: Sequence[TheirModule]) -> Graph:
    """Return the graph with sinusoids, and an encoder-decoder's with scaled tokens by default.

    Other tables of sinusoids than an encoder-decoder's are of angles, which a run settles.
    """
    if tables:
        graph = graph.replace(sines=evidence.sines[tables[0].tensor_name("weight")])
    if tables and graph.is_pair:
        kept = graph.decisions_without("positions")
        graph = graph.replace(positions="sinusoidal", decisions=kept)
    if graph.is_pair and evidence.defaults.get("scale_embedding") is True:
        graph = graph.replace(scaled_tokens=True)
    return graph


def _is_of_heads(module: TheirModule, config: Mapping[str, Any]) -> bool:
    """Return whether a table has the width of a head, and not the model's."""
    hidden, heads = (
        config.get(find_field(name, config) or "") for name in ("hidden_dim", "num_heads")
    )
    if not isinstance(hidden, int) or not isinstance(heads, int) or heads == 1:
        return False
    return bool(module.shape[-1] * heads == hidden)


def _with_shared_table(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph of an encoder-decoder with the field that gives it one table of tokens."""
    tokens = graph.slot(TOKENS)
    if not graph.copies or tokens is None or graph.positions not in ("learned", "sinusoidal"):
        return graph
    for field, tensors in evidence.switches.items():
        if tensors == {tokens.module.tensor_name("weight")} and evidence.config[field] is True:
            return graph.replace(switches={**graph.switches, "shared_embeddings": field})
    return graph


def _of_single_texts(
    heads: Sequence[HeadDraft], evidence: Evidence
) -> tuple[list[HeadDraft], list[Decision]]:
    """Return the heads of an encoder-decoder that are drafted, and what isn't known of them."""
    if isinstance(evidence.defaults.get("decoder_start_token_id"), int):
        text = "one linear layer over the decoder's tokens, which read the source one place later"
        one = [guess(h.name, text) for h in heads if h.name == "question_answering"]
        return [*heads], one
    left = [head for head in heads if head.name in PAIR_HEADS[1:]]
    text = "a head that isn't drafted: the decoder has no start token by default"
    return [h for h in heads if h not in left], [decide(h.classes[0], text) for h in left]


def _with_fields(evidence: Evidence) -> list[HeadClass]:
    """Return the classes of heads with the fields that each alone reads."""
    reads = evidence.reads.modeling if evidence.reads else {}
    return [
        replace(
            head,
            fields=(fields := tuple(reads.get(purpose_of(head.name, evidence.kind) or "", ()))),
            switched={n: replace(o, fields=fields) for n, o in head.switched.items()},
        )
        for head in evidence.heads
    ]


def _with_gating(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the slots of a network that has a gate where its own has none."""
    known = {slot.module.name for slot in graph.slots}
    config = evidence.config
    modules, _ = group_modules(recognize(collapse_names(evidence.gated, config), config))
    found = []
    for module in modules:
        names = DENSE.get(module.role, ())
        if module.name not in known and {*names} & {GATE, UP}:
            found.append(Slot(module, names, "dense", side_of(module)))
    up = graph.slot(UP)
    bias = up is not None and graph.biases.get(up.ours[0], True)
    biases = {name: bias for slot in found for name in slot.ours}
    return graph.replace(switched=tuple(found), biases={**biases, **graph.biases})


def _with_switches(graph: Graph, evidence: Evidence) -> Graph:
    """Return the graph with the arguments that decide about biases and about shared weights."""
    by_bias = {
        slot.module.tensor_name("bias"): slot.ours
        for slot in graph.slots
        if slot.kind == "dense" and slot.module.stack
    }
    biases, switches, decisions = dict(graph.biases), {**graph.switches}, list(graph.decisions)
    final = graph.slot("final_norm") if graph.order == "pre" and not graph.is_pair else None
    last = {tensor.name for tensor in final.module.tensors} if final is not None else set()
    for field, tensors in evidence.switches.items():
        # A norm after the last layer is there where norms come first.
        if tensors == last and evidence.defaults.get(field) is True:
            switches["normalize_first"] = field
        if not tensors <= by_bias.keys():
            continue
        names = [ours for tensor in tensors for ours in by_bias[tensor]]
        kinds = {ours.partition("/")[0] for ours in names}
        argument = f"{kinds.pop()}_bias" if len(kinds) == 1 else "use_bias"
        if argument in switches:
            continue
        switches[argument] = field
        biases |= dict.fromkeys(names, argument)
    width, narrow = (graph.size("embeddings_projection", axis) for axis in (0, 1))
    projects = evidence.projects or bool(width and width == narrow)
    graph = graph.replace(projects=projects, decisions=tuple(decisions))
    if (sharing := evidence.sharing) is not None:
        switches["num_groups"] = sharing.field
        graph = graph.replace(shared=sharing.way)
    return graph.replace(biases=biases, switches=switches)
