"""Write a drafted encoder of disentangled attention (He et al., 2021, arXiv:2006.03654)."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.draft import Draft
from inarch.port.find_slots import KEY, POSITION_KEY, RELATIVE, RELATIVE_NORM
from inarch.port.graph import POSITIONS, Slot
from inarch.port.write_bricks import indented, norm_code


def position_lines(draft: Draft, width: str) -> list[str]:
    """Return the lines that add a table of positions, where there is one besides distances."""
    slot = draft.graph.slot(POSITIONS)
    if slot is None:
        return []
    return _where(slot, [
        'positions = PositionEmbedding(max_sequence_length, init, name="position_embedding")',
        'x = Add(name="positions_sum")([x, positions(x, padding_mask=mask)])',
    ])  # fmt: skip


def disentangled_lines(draft: Draft) -> list[str]:
    """Return the lines of the table of distances and of the layers that read it."""
    graph = draft.graph
    table, norm = graph.slot(RELATIVE), graph.slot(RELATIVE_NORM)
    assert table is not None
    buckets = "bucket_size" if draft.has("bucket_size") else "0"
    named = 'name="relative_embedding"'
    made = [f"table = RelativeEmbedding(reach, {buckets}, init, {named})", "relative = table(x)"]
    lines = [*_reach(draft), "relative = None", *_where(table, made)]
    if norm is not None:
        inner = [f"relative = {norm_code(draft, RELATIVE_NORM)}(relative)"]
        lines += _where(norm, inner)
    convolution = _convolution(draft)
    return indented(
        *(["embeddings = x"] if convolution else []),
        *lines,
        "for i in range(num_layers):",
        "    x = DisentangledAttentionEncoder(",
        *(f"        {option}," for option in _options(draft)),
        "    )(x, relative, padding_mask=mask)",
        *(f"    {line}" for line in convolution),
    )


def _where(slot: Slot, lines: Sequence[str]) -> list[str]:
    """Return lines below the arguments that decide about a slot."""
    if not slot.when:
        return [*lines]
    return [f"if {' and '.join(slot.when)}:", *(f"    {line}" for line in lines)]


def _reach(draft: Draft) -> list[str]:
    name = "max_relative_positions"
    if not draft.has(name):
        return ["reach = max_sequence_length"]
    return [f"reach = {name} if {name} > 0 else max_sequence_length"]


def _options(draft: Draft) -> list[str]:
    graph = draft.graph
    rate = "dropout" if draft.has("dropout") else "0.0"
    options = [draft.intermediate, "num_heads", rate, draft.activation, draft.epsilon, "init"]
    if draft.has("attention_dropout"):
        options.append("attention_dropout=attention_dropout")
    options.append("max_relative_positions=reach")
    options.append(f"bucket_size={'bucket_size' if draft.has('bucket_size') else 0}")
    if draft.has("position_terms"):
        options.append("position_terms=position_terms")
    shared = "share_keys" if draft.has("share_keys") else str(not graph.has(POSITION_KEY))
    options.append(f"share_keys={shared}")
    if not graph.biases.get(KEY, True):
        options.append("key_bias=False")
    return [*options, 'name=f"layer_{i}"']


def _convolution(draft: Draft) -> list[str]:
    """Return the lines of the convolution of the embeddings, next to the first layer."""
    if not draft.graph.has("convolution"):
        return []
    names = ("conv_kernel_size", "conv_activation", "conv_groups")
    usual = ("3", '"tanh"', "1")
    size, *others = (n if draft.has(n) else u for n, u in zip(names, usual, strict=True))
    condition = f"i == 0 and {size} > 0" if draft.has(names[0]) else "i == 0"
    rate = "dropout" if draft.has("dropout") else "0.0"
    options = ", ".join([size, *others, rate, draft.epsilon, "init"])
    return [
        f"if {condition}:",
        "    layer = ConvResidual(",
        f'        {options}, name="convolution"',
        "    )",
        "    x = layer(embeddings, x, padding_mask=mask)",
    ]
