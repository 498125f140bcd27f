"""Write the constructor's body of a drafted encoder-decoder: one stack after the other."""

from __future__ import annotations

from inarch.port.arguments import side_argument
from inarch.port.draft import Draft
from inarch.port.graph import AROUND, DECODER, EMBEDDINGS, ENCODER, LAYER_END, POSITIONS, TOKENS
from inarch.port.write_bricks import attention_lines, feed_forward_lines, indented, norm_code
from inarch.port.write_missing import called_lines, raw_input

# Names in the code of the token ids and of the mask of each stack.
NAMES = {ENCODER: ("source", "source_mask"), DECODER: ("target", "target_mask")}
ROOT = "hidden_dim**0.5"


def pair_lines(draft: Draft) -> list[str]:
    """Return the lines of the constructor's body."""
    lines = [
        *_inputs(draft),
        f"init = initializers.RandomNormal(stddev={draft.deviation!r})",
        f"norm = {norm_code(draft)}",
        *_positions(draft),
        *_table(draft, TOKENS),
        *_stack(draft, ENCODER),
        "encoded = x",
        "",
        *_decoder_table(draft),
        *_stack(draft, DECODER),
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
    size = "vocabulary_size"
    if draft.has("decoder_vocabulary_size"):
        size = f"decoder_vocabulary_size or {size}"
    return ["if not shared_embeddings:", *(f"    {line}" for line in _table(draft, TOKENS, size))]


def _table(draft: Draft, name: str, size: str = "vocabulary_size") -> list[str]:
    graph = draft.graph
    if not graph.has(TOKENS):
        return []
    if (graph.scaling or graph.scaled_tokens) and not graph.scales_input:
        scale = f"{ROOT} if scale_embedding else 1.0" if graph.scaling else ROOT
        return [
            "table = ScaledEmbedding(",
            f"    {size}, hidden_dim, {scale},",
            f'    embeddings_initializer=init, name="{name}",',
            ")  # fmt: skip",
        ]
    name = f'name="{name}"'
    given = f"{size}, hidden_dim, True, init"
    whole = f"table = ReversibleEmbedding({given}, {name})"
    if len(whole) <= 88:
        return [whole]
    if len(f"{given}, {name}") <= 84:
        return ["table = ReversibleEmbedding(", f"    {given}, {name}", ")"]
    return ["table = ReversibleEmbedding(", f"    {given},", f"    {name},", ")  # fmt: skip"]


def _stack(draft: Draft, side: str) -> list[str]:
    graph, names = draft.graph, [argument.name for argument in draft.arguments]
    _, mask = NAMES[side]
    rate = ", dropout=dropout" if draft.has("dropout") else ""
    order = f', order="{graph.order}"' if graph.order != "post" else ""
    cross = ", cross_attention" if side == DECODER else ""
    lines = _input(draft, side)
    if draft.embedding_rate:
        lines.append(f'x = Dropout({draft.embedding_rate}, name="{side}_dropout")(x)')
    lines.append(f'context = {{"padding_mask": {mask}}}')
    if graph.slot("relative_bias", side) is not None:
        lines += _bias(draft, side, side_argument("num_heads", side, names))
    if side == DECODER:
        lines += [
            'context["cross"] = {"source": encoded, "source_padding_mask": source_mask,',
            '    "padding_mask": target_mask}  # fmt: skip',
            *attention_lines(draft, side, crosses=True),
        ]
    lines += [
        *attention_lines(draft, side),
        *feed_forward_lines(draft, side),
        f"for i in range({side_argument('num_layers', side, names)}):",
        "    x = Block(",
        f"        attention, feed_forward, norm{cross}{order}{rate},",
        f'        name=f"{side}_layer_{{i}}",',
        "    )(x, context=context)  # fmt: skip",
        *(f"    {line}" for line in called_lines(draft, LAYER_END, side=side)),
    ]
    lines += called_lines(draft, AROUND, side=side)
    if graph.slot("final_norm", side) is not None:
        lines.append(f"x = {norm_code(draft, f'{side}_norm')}(x)")
    return lines


def _input(draft: Draft, side: str) -> list[str]:
    """Return the lines that make the input of a stack."""
    tokens, mask = NAMES[side]
    if lines := called_lines(draft, EMBEDDINGS, tokens, side):
        return lines
    has_norm = draft.graph.slot("embeddings_norm", side) is not None
    if draft.graph.has_input_layer:
        options = ["table", "positions", *(["norm"] if has_norm else [])]
        options += ["padding_id=padding_id"] if draft.graph.padded else []
        if draft.graph.scales_input:
            options.append(f"scale={ROOT} if scale_embedding else 1.0")
        options.append(f'name="{side}_embedding"')
        return [
            f"x = InputEmbedding({', '.join(options)})(",
            f"    {tokens}, padding_mask={mask}",
            ")",
        ]
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
