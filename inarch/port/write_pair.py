"""Write the constructor's body of a drafted encoder-decoder: one stack after the other."""

from __future__ import annotations

from inarch.port.arguments import side_argument
from inarch.port.code import layer_lines
from inarch.port.draft import Draft
from inarch.port.graph import (
    AROUND,
    ATTENTION,
    CROSS_ATTENTION,
    DECODER,
    EMBEDDINGS,
    ENCODER,
    LAYER_END,
    POSITIONS,
    TOKENS,
)
from inarch.port.write_bricks import (
    attention_lines,
    attention_options,
    feed_forward_lines,
    indented,
    norm_code,
    scale_code,
    table_lines,
)
from inarch.port.write_missing import called_lines, raw_input

# Names in the code of the token ids and of the mask of each stack.
NAMES = {ENCODER: ("source", "source_mask"), DECODER: ("target", "target_mask")}


def pair_lines(draft: Draft) -> list[str]:
    """Return the lines of the constructor's body."""
    lines = [
        *_inputs(draft),
        f"init = initializers.RandomNormal(stddev={draft.deviation!r})",
        f"norm = {norm_code(draft)}",
        *_positions(draft),
        *_scale(draft),
        *_table(draft, TOKENS),
        *_shared_options(draft),
        *_stack(draft, ENCODER, "encoded"),
        *_decoder_table(draft),
        *_stack(draft, DECODER, "x"),
        'outputs = {"encoder_sequence_output": encoded, "decoder_sequence_output": x}',
        "super().__init__(inputs=inputs, outputs=outputs, **kwargs)",
    ]
    return indented(*lines)


def _inputs(draft: Draft) -> list[str]:
    if reads := draft.graph.reads:
        return [
            f'inputs = {{"{reads}": {raw_input(draft)}, **encoder_decoder_inputs()}}',
            'del inputs["encoder_token_ids"]',
            "source, source_mask, target, target_mask = inputs.values()",
        ]
    if not draft.single_text:
        return [
            "inputs = encoder_decoder_inputs()",
            "source, source_mask, target, target_mask = inputs.values()",
        ]
    return [
        "inputs = text_inputs() if single_text else encoder_decoder_inputs()",
        "source, source_mask, *others = inputs.values()",
        "if single_text:",
        "    others = ShiftRight(start_id)(source, padding_mask=source_mask), source_mask",
        "target, target_mask = others",
    ]


def has_two_tables(draft: Draft) -> bool:
    """Return whether each stack has a table of tokens."""
    return any(slot.side and TOKENS in slot.ours for slot in draft.graph.slots)


def decoder_table(draft: Draft) -> str:
    """Return the name of the layer of the decoder's table of tokens."""
    alone = has_two_tables(draft) and not draft.graph.has_input_layer
    return f"{DECODER}_{TOKENS}" if alone else TOKENS


def layer_names(draft: Draft, side: str) -> dict[str, str]:
    """Return the names of our layers outside of blocks by what they are, in a stack."""
    own = f"{side or ENCODER}_embedding"
    inside = draft.graph.has_input_layer
    table = decoder_table(draft) if side == DECODER else TOKENS
    return {
        TOKENS: f"{own}/{TOKENS}" if inside else table,
        POSITIONS: f"{own}/{POSITIONS}",
        "embeddings_norm": f"{own}/norm" if inside else f"{own}_norm",
        "final_norm": f"{side}_norm",
        "relative_bias": f"{side}_relative_bias",
    }


def _positions(draft: Draft) -> list[str]:
    """Return the line of the positions, of which each stack gets a copy."""
    if not draft.graph.has_input_layer:
        return []
    if draft.graph.positions == "sinusoidal":
        offset = "offset=padding_id + 1, " if draft.graph.padded else ""
        return [
            "positions = FixedPositionEmbedding(",
            f"    max_sequence_length, {offset}initializer=SinePositions({draft.graph.sines})",
            ")",
        ]
    offset = f", offset={draft.graph.offset}" if draft.graph.offset else ""
    return [f"positions = PositionEmbedding(max_sequence_length, init{offset})"]


def _decoder_table(draft: Draft) -> list[str]:
    """Return the lines of the decoder's table of tokens, where it has or may have its own."""
    if has_two_tables(draft):
        return _table(draft, decoder_table(draft))
    if not draft.has("shared_embeddings"):
        return []
    size, lines = "vocabulary_size", []
    if draft.has("decoder_vocabulary_size"):
        size, lines = "words", ["words = decoder_vocabulary_size or vocabulary_size"]
    lines += _table(draft, TOKENS, size, 88)
    return ["if not shared_embeddings:", *(f"    {line}" for line in lines)]


def _table(draft: Draft, name: str, size: str = "vocabulary_size", width: int = 92) -> list[str]:
    """Return the lines of a table of tokens.

    Args:
        size: its number of tokens, as code.
        width: of the longest line.
    """
    if not draft.graph.has(TOKENS):
        return []
    scale = "scale" if _is_scaled(draft) and not draft.graph.scales_input else None
    return table_lines(size, "hidden_dim", scale, name, width)


def _is_scaled(draft: Draft) -> bool:
    return draft.graph.scaling or draft.graph.scaled_tokens or draft.graph.scales_input


def _scale(draft: Draft) -> list[str]:
    """Return the line of what the tokens' vectors are multiplied with, where they are."""
    if not _is_scaled(draft) or not draft.graph.has(TOKENS):
        return []
    return [f"scale = {scale_code(draft, 'hidden_dim')}"]


def _attentions(draft: Draft) -> dict[tuple[str, str], list[str]]:
    """Return the arguments of each attention as code, by its stack and its name in a block."""
    places = ((ENCODER, ATTENTION), (DECODER, CROSS_ATTENTION), (DECODER, ATTENTION))
    return {
        (side, name): attention_options(draft, side, name)
        for side, name in places
        if not draft.graph.missing_text(name, side)
    }


def _common(draft: Draft) -> list[str]:
    """Return the arguments by name that all attentions have."""
    first, *others = [*_attentions(draft).values()] or [[]]
    return [o for o in first if "=" in o and all(o in other for other in others)] if others else []


def _shared_options(draft: Draft) -> list[str]:
    """Return the lines of what the layers of both stacks have in common."""
    options = [f'order="{draft.graph.order}"'] if draft.graph.order != "post" else []
    options += ["dropout=dropout"] if draft.has("dropout") else []
    lines = [f"block = partial(Block, {', '.join(options)})"] if options else ["block = Block"]
    if common := _common(draft):
        lines += layer_lines("attend = partial", ["MultiHeadAttention", *common])
    if draft.graph.has_input_layer:
        given = ["InputEmbedding", "position_embedding=positions"]
        given += ["norm=norm"] * _normalizes_all(draft)
        given += ["padding_id=padding_id"] * draft.graph.padded
        given += ["scale=scale"] * draft.graph.scales_input
        lines += layer_lines("embed = partial", given)
    return lines


def _attention(draft: Draft, side: str, name: str) -> list[str]:
    """Return the lines of an attention, by what both stacks have in common where there is any."""
    common = _common(draft)
    if not common or draft.graph.missing_text(name, side):
        return attention_lines(draft, side, crosses=name == CROSS_ATTENTION)
    own = [one for one in attention_options(draft, side, name) if one not in common]
    return layer_lines(f"{name} = attend", own)


def _normalizes_all(draft: Draft) -> bool:
    """Return whether the embeddings of both stacks are normalized."""
    return all(draft.graph.slot("embeddings_norm", side) is not None for side in NAMES)


def _is_one_feed_forward(draft: Draft) -> bool:
    """Return whether the feed-forward networks of both stacks are alike."""
    return feed_forward_lines(draft, ENCODER) == feed_forward_lines(draft, DECODER)


def _block(side: str) -> list[str]:
    """Return the lines that call a block of a stack."""
    parts = ["attention", "feed_forward", "norm", *(["cross_attention"] * (side == DECODER))]
    parts.append(f'name=f"{side}_layer_{{i}}"')
    whole = f"x = block({', '.join(parts)})(x, context=context)"
    if len(whole) <= 88:
        return [whole]
    return [*layer_lines("layer = block", parts, 88), "x = layer(x, context=context)"]


def _stack(draft: Draft, side: str, result: str) -> list[str]:
    """Return the lines of a stack, whose output is the variable `result`."""
    graph, names = draft.graph, [argument.name for argument in draft.arguments]
    _, mask = NAMES[side]
    lines = _input(draft, side)
    if draft.embedding_rate:
        lines.append(f'x = Dropout({draft.embedding_rate}, name="{side}_dropout")(x)')
    lines.append(f'context = {{"padding_mask": {mask}}}')
    if side == DECODER:
        lines += [
            'context["cross"] = {"source": encoded, "source_padding_mask": source_mask, **context}',
        ]
    if graph.slot("relative_bias", side) is not None:  # of no part in cross-attention
        lines += _bias(draft, side, side_argument("num_heads", side, names))
    if side == DECODER:
        lines += _attention(draft, side, CROSS_ATTENTION)
    lines += _attention(draft, side, ATTENTION)
    if side == ENCODER or not _is_one_feed_forward(draft):
        lines += feed_forward_lines(draft, side)
    lines += [
        f"for i in range({side_argument('num_layers', side, names)}):",
        *(f"    {line}" for line in _block(side)),
        *(f"    {line}" for line in called_lines(draft, LAYER_END, side=side)),
    ]
    lines += called_lines(draft, AROUND, side=side)
    norm = f"{norm_code(draft, f'{side}_norm')}(x)"
    if graph.slot("final_norm", side) is not None:
        if len(f"{result} = {norm}") <= 92:
            return [*lines, f"{result} = {norm}"]
        lines.append(f"x = {norm}")
    return lines if result == "x" else [*lines, f"{result} = x"]


def _input(draft: Draft, side: str) -> list[str]:
    """Return the lines that make the input of a stack."""
    tokens, mask = NAMES[side]
    if lines := called_lines(draft, EMBEDDINGS, tokens, side):
        return lines
    has_norm = draft.graph.slot("embeddings_norm", side) is not None
    if draft.graph.has_input_layer:
        norm = ", norm=norm" * (has_norm and not _normalizes_all(draft))
        return [f'x = embed(table{norm}, name="{side}_embedding")({tokens}, padding_mask={mask})']
    lines = [f"x = table({tokens})"]
    if has_norm:
        lines.append(f"x = {norm_code(draft, f'{side}_embedding_norm')}(x)")
    return lines


def _bias(draft: Draft, side: str, heads: str) -> list[str]:
    rows = str(draft.graph.size("relative_bias", 0))
    sizes = [n if draft.has(n) else d for n, d in (("num_buckets", rows), ("max_distance", "128"))]
    way = ", bidirectional=False" if side == DECODER else ""
    return [
        'context["attention_bias"] = RelativePositionBias(',
        f"    {heads}, {', '.join(sizes)}, init{way},",
        f'    name="{side}_relative_bias",',
        ")(x)  # fmt: skip",
    ]
