"""Write the bricks of a drafted backbone: norms, attention and feed-forward network."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.draft import Draft

INDENT = " " * 8


def brick_lines(draft: Draft) -> list[str]:
    """Return the lines that make the parts of blocks."""
    graph = draft.graph
    lines = []
    if graph.has("relative_bias"):
        rows = graph.size("relative_bias", 0)
        lines.append(f"bias = RelativePositionBias(num_heads, {rows}, 128, init,")
        lines.append('    name="relative_bias")(x)  # fmt: skip')
    lines += [f"norm = {norm_code(draft)}", "attention = MultiHeadAttention("]
    lines += [f"    {option}," for option in _attention_options(draft)]
    lines.append(")")
    kind = "GatedFeedForward" if graph.gated else "FeedForward"
    options = [draft.intermediate, draft.activation, "init", *_feed_forward_options(draft)]
    return indented(*lines, *_call(f"feed_forward = {kind}", options))


def _call(start: str, options: Sequence[str]) -> list[str]:
    whole = f"{start}({', '.join(options)})"
    if len(whole) <= 92:
        return [whole]
    return [f"{start}(", *(f"    {option}," for option in options), ")"]


def _attention_options(draft: Draft) -> list[str]:
    graph, names = draft.graph, {argument.name for argument in draft.arguments}
    options = ["num_heads"]
    if "head_dim" in names:
        options.append("head_dim")
    if "attention_dropout" in names:
        options.append("dropout=attention_dropout")
    biases = {n: graph.biases.get(f"attention/{n}", True) for n in ("query", "key", "value")}
    output = graph.biases.get("attention/output", True)
    usual = biases["query"]
    if usual is not True:
        options.append(f"use_bias={usual}")
    options += [f"{name}_bias={bias}" for name, bias in biases.items() if bias != usual]
    if output != usual:
        options.append(f"output_bias={output}")
    options.append("kernel_initializer=init")
    if "num_key_value_heads" in names:
        options.append("num_key_value_heads=num_key_value_heads")
    if draft.has("sliding_window"):
        options.append("window=None if sliding_window is None else sliding_window - 1")
    if graph.positions == "rotary":
        options.append(f"position={_rotary(draft)}")
    if graph.has("attention/query_norm"):
        options.append("query_key_norm=norm")
    if graph.causal:
        options.append("causal=True")
    return options


def _rotary(draft: Draft) -> str:
    """Return rotary positions as code."""
    options = ["rope_theta"]
    if draft.graph.scaled:
        options.append("scaling=rope_scaling")
    if draft.graph.interleaved:
        options.append("interleaved=True")
    if draft.has("partial_rotary_factor"):
        options.append("partial_rotary_factor=partial_rotary_factor")
    if draft.has("rotary_dim"):
        options.append("partial_rotary_factor=rotary_dim * num_heads / hidden_dim")
    return f"RotaryEmbedding({', '.join(options)})"


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


def norm_code(draft: Draft, name: str = "") -> str:
    """Return a norm as code."""
    named = f', name="{name}"' if name else ""
    if draft.graph.norm == "rms":
        offset = ", offset=1.0" if draft.graph.offset_norms else ""
        return f"RMSNorm({draft.epsilon}{offset}{named})"
    center = ", center=False" if draft.graph.norm == "uncentered" else ""
    return f"LayerNormalization(epsilon={draft.epsilon}{center}{named})"


def indented(*lines: str) -> list[str]:
    """Return lines as those of a constructor's body."""
    return [f"{INDENT}{line}" if line else "" for line in lines]
