"""Write the beginning of a drafted constructor: inputs, checks and embeddings."""

from __future__ import annotations

from inarch.port.draft import Draft
from inarch.port.graph import POSITIONS, SEGMENTS
from inarch.port.write_bricks import indented, norm_code, scale_code, table_lines
from inarch.port.write_disentangled import position_lines
from inarch.port.write_missing import missing_embedding, raw_input_lines
from inarch.port.write_stem import convolved_lines, stem_lines


def input_lines(draft: Draft) -> list[str]:
    """Return the lines of the inputs, of the initializer and of what is checked."""
    slot = draft.graph.slot(SEGMENTS)
    init = f"init = initializers.RandomNormal(stddev={draft.deviation!r})"
    if draft.graph.reads:
        return indented(*raw_input_lines(draft), init, "", *_checks(draft))
    extra = ['"global_mask"'] if draft.graph.has_global_tokens else []
    if slot is not None and slot.when:
        extra.append('*(["segment_ids"] if num_segments > 1 else [])')
    elif draft.reads_segments:
        extra.append('"segment_ids"')
    named = 'global_mask = inputs["global_mask"]'
    return indented(
        f"inputs = text_inputs({', '.join(extra)})",
        'mask = inputs["padding_mask"]',
        *([named] if draft.graph.has_global_tokens else []),
        init,
        "",
        *_checks(draft),
    )


def _checks(draft: Draft) -> list[str]:
    """Return the lines that refuse what isn't drafted, or doesn't go together."""
    found = []
    if draft.has("num_groups"):
        found += [
            "if not 1 <= num_groups <= num_layers:",
            "    raise InputError(",
            '        f"num_groups={num_groups} isn\'t from 1 to num_layers={num_layers}. Each "',
            '        "group needs a layer."',
            "    )",
        ]
    if draft.graph.layer_types:
        found.append('check_layer_types(layer_types, num_layers, ("global", "local"))')
    if draft.has("embedding_dim") and not draft.graph.has("embeddings_projection"):
        found += [
            "if embedding_dim not in (None, hidden_dim):",
            "    raise InputError(",
            '        f"embedding_dim={embedding_dim} and hidden_dim={hidden_dim}. Pass one width "',
            '        "for both: no projection is drafted."',
            "    )",
        ]
    if draft.has("positions"):
        found += [
            'if positions not in ("rotary", "absolute"):',
            '    raise InputError(f"positions={positions!r}. Pass rotary or absolute.")',
        ]
    if draft.has("zero_mask_tokens"):
        found += [
            "if zero_mask_tokens and mask_id is None:",
            '    text = "zero_mask_tokens=True and mask_id=None. Pass the mask token\'s id."',
            "    raise InputError(text)",
        ]
    if draft.has("attention_windows"):
        found += [
            "if len(attention_windows) != num_layers or any(n < 2 or n % 2 for n in "
            "attention_windows):",
            "    raise InputError(",
            '        f"attention_windows={attention_windows}. Pass an even number for each of "',
            '        f"{num_layers} layers."',
            "    )",
        ]
    if draft.graph.rotary_layers:
        given = '"rotary_layers", rotary_layers, num_layers'
        found.append(f"is_rotary = values_per_layer({given})")
    return found


def embedding_lines(draft: Draft) -> list[str]:
    """Return the lines of what makes the input of the first layer."""
    graph = draft.graph
    width = draft.embedding_width
    if "zero_mask_tokens" in graph.switches:
        return indented(*_with_dropped_tokens(draft), "")
    lines = missing_embedding(draft)
    if draft.graph.stem:
        lines = [*stem_lines(), *_projection(draft), *convolved_lines(draft)]
    elif lines:
        lines += _projection(draft)
    elif graph.positions == "learned":
        if graph.scaled_tokens:
            lines += _scaled_and_learned(draft)
        else:
            options = "padding_id=padding_id, " if graph.padded else ""
            if graph.offset:
                options = f"position_offset={graph.offset}, "
            lines += [
                "x = TokenAndPositionEmbedding(",
                f"    vocabulary_size, {_position_rows(draft)}, {width},",
                f'    embeddings_initializer=init, {options}name="embeddings",',
                ')(inputs["token_ids"], padding_mask=mask)  # fmt: skip',
            ]
    else:
        lines += [*_table(draft), 'x = table(inputs["token_ids"])']
    if graph.positions == "disentangled":
        lines += position_lines(draft, width)
    lines += _segments(draft, width)
    if graph.has("embeddings_norm"):
        lines.append(f"x = {norm_code(draft, 'embeddings_norm')}(x)")
    if rate := draft.embedding_rate:
        lines.append(f'x = Dropout({rate}, name="embeddings_dropout")(x)')
    if graph.has("embeddings_projection"):
        bias = "" if graph.biases["embeddings_projection"] else ", use_bias=False"
        name = 'name="embeddings_projection"'
        line = f"x = Dense(hidden_dim{bias}, kernel_initializer=init, {name})(x)"
        always = graph.projects
        lines += [line] if always else ["if embedding_dim != hidden_dim:", f"    {line}"]
    return indented(*lines, "")


def _table(draft: Draft) -> list[str]:
    """Return the lines of a table of tokens by itself."""
    dim = draft.embedding_width
    scale = scale_code(draft, dim) if draft.graph.scaled_tokens else None
    return table_lines("vocabulary_size", dim, scale)


def _scaled_and_learned(draft: Draft) -> list[str]:
    """Return the lines of scaled tokens and of learned positions."""
    graph = draft.graph
    offset = f", offset={graph.offset}" if graph.offset else ""
    padding = "padding_id=padding_id, " if graph.padded and not graph.offset else ""
    return [
        *_table(draft),
        f"positions = PositionEmbedding({_position_rows(draft)}, init{offset})",
        f'embed = InputEmbedding(table, positions, {padding}name="embeddings")',
        'x = embed(inputs["token_ids"], padding_mask=mask)',
    ]


def _position_rows(draft: Draft) -> str:
    """Return the number of rows of learned positions, as code."""
    return "max_sequence_length" + (" + padding_id + 1" if draft.graph.padded else "")


def _with_dropped_tokens(draft: Draft) -> list[str]:
    """Return the lines of embeddings in which mask tokens may count as dropped."""
    has_table = draft.graph.has(POSITIONS)
    table, given = [], "None"
    if has_table:
        table = ["table = PositionEmbedding(max_sequence_length + padding_id + 1, init)"]
        given = 'table if positions == "absolute" else None'
    norm = "None"
    if draft.graph.has("embeddings_norm"):
        norm = f"{norm_code(draft)} if embeddings_norm else None"
    return [
        *table,
        "x = TokenDropoutEmbedding(",
        "    vocabulary_size, hidden_dim,",
        "    mask_id if zero_mask_tokens else None,",
        f"    {given},",
        "    padding_id,",
        f"    {norm},",
        '    embeddings_initializer=init, name="embeddings",',
        ')(inputs["token_ids"], padding_mask=mask)  # fmt: skip',
    ]


def _projection(draft: Draft) -> list[str]:
    """Return the lines that bring features, which aren't tokens, to the width of the model."""
    graph = draft.graph
    slot = graph.slot("projection_norm")
    norms = [f"x = {norm_code(draft, 'projection_norm')}(x)"] if slot is not None else []
    for switch in slot.when if slot is not None else ():
        norms = [f"if {switch}:", *(f"    {line}" for line in norms)]
    bias = "" if graph.biases.get("projection") else ", use_bias=False"
    dense = f'x = Dense(hidden_dim{bias}, kernel_initializer=init, name="projection")(x)'
    return norms + [dense] * graph.has("projection")


def _segments(draft: Draft, width: str) -> list[str]:
    slot = draft.graph.slot(SEGMENTS)
    if slot is None:
        return []
    table = f'segments = Embedding(num_segments, {width}, init, name="segment_embedding")'
    if not slot.when:
        return [table, 'x = Add(name="embeddings_sum")([x, segments(inputs["segment_ids"])])']
    return [
        "if num_segments > 0:",
        f"    {table}",
        '    ids = inputs.get("segment_ids", inputs["token_ids"] * 0)',
        '    x = Add(name="embeddings_sum")([x, segments(ids)])',
    ]
