"""Write the bricks of a drafted backbone: norms, attention and feed-forward network."""

from __future__ import annotations

from inarch.port.arguments import side_argument
from inarch.port.code import layer_lines
from inarch.port.draft import Draft
from inarch.port.graph import ALIBI, ATTENTION, CROSS_ATTENTION, DECODER, FEED_FORWARD, TOKENS
from inarch.port.write_experts import expert_lines
from inarch.port.write_missing import cross_lines, missing_lines

INDENT = " " * 8
# Longer calls of a position layer are on several lines.
MAX_POSITION = 72


def brick_lines(draft: Draft) -> list[str]:
    """Return the lines that make the parts of blocks."""
    graph = draft.graph
    lines = []
    if graph.has("relative_bias"):
        rows = graph.size("relative_bias", 0)
        lines.append(f"bias = RelativePositionBias(num_heads, {rows}, 128, init,")
        lines.append('    name="relative_bias")(x)  # fmt: skip')
    lines += _stored_angles(draft)
    lines.append(f"norm = {norm_code(draft)}")
    lines += _window_lines(draft)
    if not graph.varies:
        lines += attention_lines(draft)
    lines += cross_lines(draft)
    return indented(*lines, *feed_forward_lines(draft))


def scale_code(draft: Draft, width: str) -> str:
    """Return what the tokens' vectors of a width are multiplied with, as code."""
    return f"{width}**0.5" + " if scale_embedding else 1.0" * draft.graph.scaling


def table_lines(
    size: str, dim: str, scale: str | None, name: str = TOKENS, width: int = 92
) -> list[str]:
    """Return the lines of a table of tokens.

    Args:
        size: its number of tokens, as code.
        dim: its number of features, as code.
        scale: what the tokens' vectors are multiplied with, as code; None for nothing.
        name: of the layer.
        width: of the longest line.
    """
    named = f'name="{name}"'
    if scale is None:
        options = [size, dim, "True", "init", named]
        return layer_lines("table = ReversibleEmbedding", options, width)
    options = [size, dim, scale, "embeddings_initializer=init", named]
    return layer_lines("table = ScaledEmbedding", options, width)


def attention_lines(draft: Draft, side: str = "", crosses: bool = False) -> list[str]:
    """Return the lines that make attention.

    Args:
        side: the stack of an encoder-decoder that it is in.
        crosses: whether it attends to the other stack.
    """
    name = CROSS_ATTENTION if crosses else ATTENTION
    if draft.graph.mixer:
        return [f"attention = {draft.graph.mixer}"]
    if text := draft.graph.missing_text(name, side):
        return missing_lines(f"{name} = ", text)
    if draft.graph.has_global_tokens:
        return layer_lines(f"{name} = GlobalLocalAttention", _global_options(draft))
    return layer_lines(f"{name} = MultiHeadAttention", attention_options(draft, side, name))


def relative_lines(draft: Draft) -> list[str]:
    """Return the lines of attention with relative positions and segments, and of its blocks."""
    rate = "dropout" if draft.has("dropout") else "0.0"
    limit = "clamp_length if clamp_length > 0 else None" if draft.has("clamp_length") else "None"
    return indented(
        f"norm = {norm_code(draft)}",
        f"limit = {limit}",
        f"attention = TransformerXLAttention(num_heads, norm, {rate}, limit, init)",
        *feed_forward_lines(draft),
        'context = {"padding_mask": mask, "segment_ids": inputs["segment_ids"]}',
        "for i in range(num_layers):",
        "    x = TransformerXLBlock(",
        f'        attention, feed_forward, norm, dropout={rate}, name=f"layer_{{i}}"',
        "    )(x, context=context)",
    )


def feed_forward_lines(draft: Draft, side: str = "") -> list[str]:
    """Return the lines that make the feed-forward network, of a stack of an encoder-decoder."""
    if text := draft.graph.missing_text(FEED_FORWARD, side):
        return missing_lines("feed_forward = ", text)
    if draft.graph.mixture is not None:
        return expert_lines(draft, _network_lines(draft) if draft.graph.mixture.is_mixed else [])
    return _network_lines(draft, side)


def _network_lines(draft: Draft, side: str = "") -> list[str]:
    """Return the lines that make a feed-forward network without experts."""
    width = draft.intermediate
    if side and draft.has("encoder_intermediate_dim"):
        names = [argument.name for argument in draft.arguments]
        width = side_argument("intermediate_dim", side, names)
    kind = "GatedFeedForward" if draft.graph.gated else "FeedForward"
    others = ["init", *_feed_forward_options(draft)]
    if not draft.graph.gating:
        return layer_lines(f"feed_forward = {kind}", [width, draft.activation, *others])
    options = [width, 'activation.removeprefix("gated_")', *others]
    return [
        *layer_lines("feed_forward = FeedForward", options),
        'if activation.startswith("gated_"):',
        *(f"    {line}" for line in layer_lines("feed_forward = GatedFeedForward", options, 88)),
    ]


def attention_options(draft: Draft, side: str, stem: str) -> list[str]:
    """Return the arguments of attention as code.

    Args:
        side: the stack of an encoder-decoder that it is in.
        stem: its name in a block.
    """
    graph, names = draft.graph, [argument.name for argument in draft.arguments]
    options = [side_argument("num_heads", side, names) if side else "num_heads"]
    if "head_dim" in names:
        options.append("head_dim")
    if "attention_dropout" in names:
        options.append("dropout=attention_dropout")
    biases = {n: graph.biases.get(f"{stem}/{n}", True) for n in ("query", "key", "value")}
    output = graph.biases.get(f"{stem}/output", True)
    usual = biases["query"]
    if usual is not True:
        options.append(f"use_bias={usual}")
    options += [f"{name}_bias={bias}" for name, bias in biases.items() if bias != usual]
    if output != usual:
        options.append(f"output_bias={output}")
    options.append("kernel_initializer=init")
    if "num_key_value_heads" in names:
        options.append("num_key_value_heads=num_key_value_heads")
    if graph.layer_types:
        window = "window" if _window_lines(draft) else graph.window
        options.append(f"window=None if is_global else {window}")
    elif "use_sliding_window" in graph.switches:
        options.append("window=window")
    elif draft.has("sliding_window"):
        options.append("window=None if sliding_window is None else sliding_window - 1")
    if graph.positions == "rotary":
        options.append(f"position={'rotation' if graph.stored else _rotary(draft)}")
    if graph.has("attention/query_norm"):
        is_joint = graph.joint_norms and graph.norm == "rms"
        options.append(f"query_key_norm={norm_code(draft, num_axes=2) if is_joint else 'norm'}")
    if not graph.scaled_scores:
        options.append("scale=1.0")
    if graph.score_scale:
        options.append(f"scale={graph.score_scale}")
    if draft.has("attention_soft_cap"):
        options.append("soft_cap=attention_soft_cap")
    if graph.positions == ALIBI:
        options.append("score_bias=AlibiBias(num_heads)")
    if "bidirectional" in graph.switches:
        options.append("causal=not bidirectional")
    elif graph.causal or (side == DECODER and stem == "attention"):
        options.append("causal=True")
    return options


def _global_options(draft: Draft) -> list[str]:
    """Return the arguments of attention with global tokens as code."""
    options = ["num_heads"]
    if draft.has("attention_windows"):
        options.append("window // 2")
    if draft.has("attention_dropout"):
        options.append("dropout=attention_dropout")
    return [*options, "kernel_initializer=init"]


def _stored_angles(draft: Draft) -> list[str]:
    """Return the lines of rotary positions whose frequencies are stored."""
    if not draft.graph.stored:
        return []
    width = "head_dim" if draft.has("head_dim") else "hidden_dim // num_heads"
    angles = f'RotaryAngles({width}, rope_theta, name="rotary")'
    own = ["rotation = AngleRotation()", f"angles = {angles}", 'context["positions"] = angles(x)']
    lines = ['context = {"padding_mask": mask}']
    if not draft.has("positions"):
        return [*lines, *own]
    where = 'if positions == "rotary":'
    return [*lines, "rotation = None", where, *(f"    {line}" for line in own)]


def _rotary(draft: Draft) -> str:
    """Return rotary positions as code."""
    by_type = "global_rope_theta if is_global else local_rope_theta"
    options = [by_type if draft.has("global_rope_theta") else "rope_theta"]
    if draft.graph.scaled:
        kind = draft.graph.layer_types.get(draft.scaled_kind)
        words = {"global": " if is_global else None", "local": " if not is_global else None"}
        options.append(f"scaling=rope_scaling{words.get(str(kind), '')}")
    if draft.graph.interleaved:
        options.append("interleaved=True")
    if draft.has("partial_rotary_factor"):
        options.append("partial_rotary_factor=partial_rotary_factor")
    if draft.has("rotary_dim"):
        options.append("partial_rotary_factor=rotary_dim * num_heads / hidden_dim")
    after = " if is_rotary[i] else None" if draft.graph.rotary_layers else ""
    before = "None if is_global else " if draft.graph.local_positions else ""
    whole = f"{before}RotaryEmbedding({', '.join(options)}){after}"
    if len(whole) <= MAX_POSITION:
        return whole
    return "\n".join([f"{before}RotaryEmbedding(", *(f"    {o}," for o in options), f"){after}"])


def _window_lines(draft: Draft) -> list[str]:
    """Return the line of the window of local layers, where arguments decide about it."""
    graph = draft.graph
    if "use_sliding_window" in graph.switches:
        way = f"{graph.window} if use_sliding_window and sliding_window else None"
        return [f"window = {way}"]
    if graph.two_way_window:
        return [f"window = {graph.two_way_window} if bidirectional else {graph.window}"]
    return []


def _feed_forward_options(draft: Draft) -> list[str]:
    graph, names = draft.graph, {argument.name for argument in draft.arguments}
    options = []
    up, down = (graph.biases.get(f"feed_forward/{name}", True) for name in ("up", "down"))
    if up is not True:
        options.append(f"use_bias={up}")
    if down != up:
        options.append(f"down_bias={down}")
    if "feed_forward_dropout" in names:
        options.append("activation_dropout=feed_forward_dropout")
    return options


def norm_code(draft: Draft, name: str = "", num_axes: int = 1) -> str:
    """Return a norm as code, of the last axis or of several together."""
    named = f', name="{name}"' if name else ""
    if draft.graph.norm == "rms":
        offset = ", offset=1.0" if draft.graph.offset_norms else ""
        axes = f", num_axes={num_axes}" if num_axes > 1 else ""
        return f"RMSNorm({draft.epsilon}{offset}{axes}{named})"
    biases = draft.graph.biases
    bias = next((biases[n] for n in biases if n.endswith("norm") and biases[n] in
                draft.graph.parts), None)  # fmt: skip
    center = ", center=False" if draft.graph.norm == "uncentered" else ""
    center = f", center={bias}" if bias else center
    return f"LayerNormalization(epsilon={draft.epsilon}{center}{named})"


def indented(*lines: str) -> list[str]:
    """Return lines as those of a constructor's body."""
    return [f"{INDENT}{line}" if line else "" for line in lines]
