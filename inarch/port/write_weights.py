"""Write the weight map of a draft."""

from __future__ import annotations

from collections.abc import Iterable

from inarch.port.arguments import side_argument
from inarch.port.code import call, code
from inarch.port.draft import Draft
from inarch.port.find_slots import GATE, UP
from inarch.port.graph import BY_HEAD, TOKENS, Slot
from inarch.port.write_experts import dense_rules, expert_rules, is_of_dense_layers
from inarch.port.write_pair import layer_names
from inarch.port.write_stem import stem_entries


def weight_lines(draft: Draft) -> list[str]:
    """Return the lines of the weight map, those of a stack's layers below its name."""
    lines: list[str] = []
    names = [argument.name for argument in draft.arguments]
    stacks: dict[str, list[Slot]] = {}
    for slot in draft.graph.slots:
        if slot.module.stack:
            stacks.setdefault(slot.module.stack, []).append(slot)
    done: set[str] = set()
    for slot in draft.graph.slots:
        stack = slot.module.stack
        if slot.ours in (("pooler",), ("stem_norm",)) or stack in done:
            continue
        if not stack:
            lines += _entries(draft, slot)
            continue
        done.add(stack)
        if stack == draft.graph.stem:
            lines += stem_entries(draft)
            continue
        side = slot.side
        index = "g" if draft.graph.shared else "i"
        theirs = stack.replace("{i}", f"{{{index}}}")
        start = f'under("{theirs}", "{side}{"_" if side else ""}layer_{{{index}}}",'
        late = [s for s in stacks[stack] if s.module.is_late and not is_of_dense_layers(draft, s)]
        for each in late:
            inner = _entries(draft, each)
            inner[-1] = inner[-1].rstrip(",") + ', i="num_layers[1:]"),'
            lines += [start, *(f"    {line}" for line in inner)]
        dense = [s for s in stacks[stack] if is_of_dense_layers(draft, s)]
        apart = [*late, *dense]
        inner = [line for s in stacks[stack] if s not in apart for line in _switched(draft, s)]
        inner += _buffers(draft, stack)
        if not inner:
            continue
        lines.append(start)
        if side:
            inner.append(f'i="{side_argument("num_layers", side, names)}",')
        if draft.graph.shared:
            inner.append('g="num_groups",')
        inner[-1] = inner[-1].rstrip(",") + "),"
        lines += [f"    {line}" for line in inner]
        lines += expert_rules(draft)
        if dense:
            lines += dense_rules(stack, [line for s in dense for line in _entries(draft, s)])
    return [*lines, *_copies(draft), *_frequencies(draft), *_buffers(draft, "")]


def _frequencies(draft: Draft) -> list[str]:
    """Return the lines of stored frequencies, by each of the names that files have them under."""
    name = draft.graph.stored
    if not name:
        return []
    lines = [f'rule("{name}", "rotary/frequencies", "d -> d"),']
    saved = draft.evidence.saved if draft.evidence else {}
    for other in (o for o, parts in saved.items() if parts == (name,)):
        if "*" in other:  # of each layer, as older files have them
            each = other.replace("*", "{i}")
            lines += [
                'under("", "", tied(', f'    "{each}",', f'    "{name}"), i="num_layers"),',
            ]  # fmt: skip
        lines += call("tied(", f'"{other}"', f'"{name}"')
    return _under_conditions(["rotary"] if draft.has("positions") else [], lines)


def _copies(draft: Draft) -> list[str]:
    """Return the lines of tensors that are the table of tokens again, or may be tables."""
    copies = [(f'tied("{copy}", "{table}"),', copy) for copy, table in draft.graph.copies]
    if not draft.has("shared_embeddings"):
        return [line for line, _ in copies]
    lines = []
    for line, copy in copies:
        name = copy.removesuffix(".weight")
        ours = layer_names(draft, name.partition(".")[0])[TOKENS]
        own = f'embedding("{name}", "{ours}"),'
        lines += _under_conditions(["not shared_embeddings"], [own])
        lines += _under_conditions(["shared_embeddings"], [line])
    return lines


def _switched(draft: Draft, slot: Slot) -> list[str]:
    """Return the lines of one slot, and of what is in its place where an argument decides."""
    graph = draft.graph
    others = [o for o in graph.switched if o.side == slot.side] if graph.gating else []
    lines = _entries(draft, slot)
    if not others or not {GATE, UP} & {*slot.ours}:
        return lines
    if graph.gated and slot.ours == (UP,):  # with the gate
        return []
    own = [s for s in graph.slots if s.side == slot.side and {GATE, UP} & {*s.ours}]
    gated, plain = (own, others) if graph.gated else (others, own)
    lines = []
    for name, slots in (("is_gated", gated), ("is_plain", plain)):
        inner = [line for each in slots for line in _entries(draft, each)]
        inner[-1] = inner[-1].rstrip(",") + "),"
        lines += [f"when({name},", *(f"    {line}" for line in inner)]
    return lines


def _entries(draft: Draft, slot: Slot) -> list[str]:
    """Return the lines of one slot, below the conditions on which it is there."""
    lines = _under_conditions(slot.when, _plain_entries(draft, slot))
    if not slot.idle:
        return lines
    like = draft.graph.slot("embeddings_norm")
    idle = []
    for tensor in slot.module.tensors:
        leaf = tensor.name.rpartition(".")[2]
        given = [f'"{slot.module.inner}.{leaf}"', 'reason="nothing reads it"']
        given += [f'like="{like.module.name}.{leaf}"'] if like is not None else []
        idle += call("unused(", *given)
    return lines + _under_conditions(slot.idle, idle)


def _under_conditions(conditions: Iterable[str], lines: list[str]) -> list[str]:
    """Return the lines of entries below the conditions on which they are there."""
    for condition in reversed([*conditions]):
        if condition in ("absolute", "rotary"):
            equals = "==" if condition == "rotary" else "!="
            start = f'when(lambda m: m["positions"] {equals} "rotary",'
        elif condition in ("c2p", "p2c"):
            start = f'when(lambda m: "{condition}" in m["position_terms"],'
        else:
            function = "unless" if condition.startswith("not ") else "when"
            start = f'{function}("{condition.removeprefix("not ")}",'
        lines = [start, *(f"    {line}" for line in lines)]
        lines[-1] = lines[-1].rstrip(",") + "),"
    return lines


def _plain_entries(draft: Draft, slot: Slot) -> list[str]:
    module, graph = slot.module, draft.graph
    ours = [_our_name(draft, name, slot) for name in slot.ours]
    if slot.kind == "embedding":
        if slot.ours == (TOKENS,) and draft.has("shared_embeddings"):
            line = f'embedding("{module.inner}", "{ours[0]}"),'
            return _under_conditions(["shared_embeddings"], [line])
        return call("embedding(", f'"{module.inner}"', f'"{ours[0]}"')
    if slot.kind == "norm":
        has = graph.biases.get(slot.ours[0], module.bias is not None)
        bias = "" if has is True else f", bias={code(has)}"
        line = f'norm("{module.inner}", "{ours[0]}"{bias})'
        if graph.ordering and ours == ["final_norm"]:
            line = f'when("normalize_first", {line})'
        return [f"{line},"]
    if slot.kind == "parameter":
        variable, axes = slot.rule
        return call("rule(", f'"{module.inner}"', f'"{ours[0]}{variable}"', f'"{axes}"')
    if slot.kind == "bias":
        return [f'rule("{module.inner}", "{ours[0]}", "o -> o"),']
    if slot.kind == "convolution":
        name = module.inner
        return [
            f'rule("{name}.weight", "{ours[0]}/kernel", "o i k -> k i o"),',
            f'rule("{name}.bias", "{ours[0]}/bias", "o -> o"),',
        ]
    if len(ours) > 1:
        return _fused(draft, slot, ours)
    has_bias = graph.biases.get(slot.ours[0], True)
    given = "" if has_bias is True else f", bias={code(has_bias)}"
    function = "CONV1D.dense" if graph.transposed else "dense"
    line = f'{function}("{module.inner}", "{ours[0]}"{given}),'
    if slot.ours == ("embeddings_projection",) and not graph.projects:
        return [
            'when(lambda arguments: arguments["embedding_dim"] != arguments["hidden_dim"],',
            f"    {line.rstrip(',')}),",
        ]
    return [line]


def _our_name(draft: Draft, name: str, slot: Slot) -> str:
    if draft.graph.is_pair:
        return layer_names(draft, slot.side).get(name, name)
    has_layer = draft.graph.has_input_layer
    if name == "embeddings_norm" and draft.graph.positions != "learned" and has_layer:
        return "embeddings/norm"
    is_table = name in ("token_embedding", "position_embedding")
    return f"embeddings/{name}" if is_table and has_layer else name


def _fused(draft: Draft, slot: Slot, ours: list[str]) -> list[str]:
    """Return the lines of a tensor that holds several of ours."""
    module, graph = slot.module, draft.graph
    if len(ours) == 2:
        ours = ours if graph.gate_first else ours[::-1]
        pieces, results, shifts = "(o + o)", ["o", "o"], "(o + o) -> o, o"
    elif graph.fused == BY_HEAD:
        pieces, results = "(h=num_heads (q + k + v))", ["(h q)", "(h k)", "(h v)"]
        shifts = "(h=num_heads (q + k + v)) -> (h q), (h k), (h v)"
    elif draft.has("num_key_value_heads"):
        pieces, results, shifts = "(q + k + v)", ["q", "k", "v"], "(q + k + v) -> q, k, v"
    else:
        pieces, results, shifts = "(o + o + o)", ["o", "o", "o"], "(o + o + o) -> o, o, o"
    theirs = f"i {pieces}" if graph.transposed else f"{pieces} i"
    pattern = f"{theirs} -> {', '.join(f'i {one}' for one in results)}"
    stem = ours[0].rpartition("/")[0]
    names = ", ".join(f'"{name.rpartition("/")[2]}"' for name in ours)
    lines = [
        f'rule("{module.inner}{module.joint}weight",',
        f'    [f"{stem}/{{name}}/kernel" for name in ({names})],',
        f'    "{pattern}"),',
    ]
    bias = graph.biases.get(slot.ours[0], False)
    if isinstance(bias, str) or (bias and module.bias is not None):
        shift = [
            f'rule("{module.inner}{module.joint}bias",',
            f'    [f"{stem}/{{name}}/bias" for name in ({names})],',
            f'    "{shifts}"),',
        ]
        if isinstance(bias, str):
            shift[-1] = shift[-1].rstrip(",") + "),"
            shift = [f'when("{bias}",', *(f"    {line}" for line in shift)]
        lines += shift
    return lines


def _buffers(draft: Draft, stack: str) -> list[str]:
    """Return the lines of tensors that are no weights."""
    lines = []
    reason = "no output of a run of the reference depends on it"
    for name in draft.computed if not stack else ():
        lines += [
            f'derived("{name}", lambda shape: SinePositions({draft.graph.sines}).table(*shape),',
            '    reason="table of sinusoids"),',
        ]
    for name in draft.unused:
        before, found, after = name.partition("{i}")
        if (before + found if found else "") == stack:
            lines += call("unused(", f'"{after.lstrip(".") if found else name}"',
                          f'reason="{reason}"')  # fmt: skip
    for name in draft.buffers:
        before, found, after = name.partition("{i}")
        if (before + found if found else "") != stack:
            continue
        inner = after.lstrip(".") if found else name
        if name.endswith("position_ids"):
            lines += [
                f'derived("{inner}", lambda shape: np.arange(shape[-1]).reshape(shape),',
                '    reason="range of positions"),',
            ]
        else:
            lines.append(f'unused("{inner}", reason="a buffer, which the graph computes"),')
    return lines
