"""Write `backbone.py` of a draft: its graph as a composition of bricks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from inarch.port.arguments import Argument
from inarch.port.draft import Draft
from inarch.port.graph import ONE_NORM, SEGMENTS, SEQUENTIAL
from inarch.port.write_heads import head_methods

INDENT = " " * 8


def backbone_text(draft: Draft) -> str:
    """Return the text of the module."""
    body = [*_inputs(draft), *_embeddings(draft), *_bricks(draft), *_blocks(draft)]
    methods = head_methods(draft)
    text = "\n".join(
        [
            f"class {draft.class_name}(Backbone):",
            *_docstring(draft),
            "",
            "    def __init__(",
            "        self,",
            *(f"        {_signature(argument)}," for argument in draft.arguments),
            "        **kwargs: Any,",
            "    ):",
            *body,
            *methods,
        ]
    )
    notes = draft.comments("backbone")
    return "\n".join([*_head(draft, notes), *_imports(draft, text), "", "", text, ""])


def _head(draft: Draft, notes: Sequence[str]) -> list[str]:
    return [f'"""{draft.title}\'s graph. {draft.source_words}"""', "", *notes]


def _imports(draft: Draft, text: str) -> list[str]:
    """Return the imports of the names that a text has."""

    def used(names: Iterable[str]) -> str:
        return ", ".join(name for name in names if f"{name}(" in text)

    keras_layers = used(
        ("Add", "Dense", "Dropout", "Embedding", "LayerNormalization", "ReversibleEmbedding")
    )
    bricks = used(
        ("Block", "FeedForward", "GatedFeedForward", "MaskedLMHead", "MultiHeadAttention",
            "ParallelBlock",
         "RMSNorm", "RelativePositionBias", "RotaryEmbedding", "TokenAndPositionEmbedding")
    )  # fmt: skip
    # Names that end alike are told apart.
    bricks = ", ".join(
        n for n in bricks.split(", ") if n != "FeedForward" or " FeedForward(" in text
    )
    names = keras_layers.split(", ")
    names = [n for n in names if n != "Embedding" or " Embedding(" in text]
    lines = ["from typing import Any", ""]
    if "keras." in text:
        lines.append("import keras")
    lines += ["from keras import initializers", f"from keras.layers import {', '.join(names)}", ""]
    if "InputError(" in text:
        lines.append("from inarch.errors import InputError")
    lines += _wrapped("from inarch.layers import ", bricks.split(", "))
    lines.append("from inarch.models.backbone import Backbone, text_inputs")
    if "DecoderStack(" in text:
        found = "DecoderStack, check_output_embeddings"
        lines.append(f"from inarch.models.decoder_stack import {found}")
    if "GPT2Backbone." in text:
        lines.append("from inarch.models.gpt2.backbone import GPT2Backbone")
    return lines


def _wrapped(start: str, names: Sequence[str]) -> list[str]:
    whole = start + ", ".join(names)
    if len(whole) <= 100:
        return [whole]
    return [f"{start}(", *(f"    {name}," for name in names), ")"]


def _signature(argument: Argument) -> str:
    default = "" if argument.default is None else f" = {argument.default}"
    return f"{argument.name}: {argument.type}{default}"


def _docstring(draft: Draft) -> list[str]:
    graph = draft.graph
    kind = "decoder" if graph.causal else "encoder"
    inputs = "`token_ids`, `segment_ids` and `padding_mask`" if graph.has(SEGMENTS) else (
        "`token_ids` and `padding_mask`"
    )  # fmt: skip
    outputs = "the output is `[batch, length, hidden_dim]`."
    if draft.pooler:
        outputs = (
            "outputs are `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, "
            "`pooled_output` `[batch, hidden_dim]`: the first token through a tanh layer."
        )
    sentences = [f"Inputs are {inputs}, int32 `[batch, length]`; {outputs}"]
    if graph.causal:
        sentences.append("A token attends to those before it and to itself.")
    text = textwrap.wrap(" ".join(sentences), 96)
    arguments = [f"{a.name}: {a.text}" for a in draft.arguments]
    lines = [f'"""{draft.title} {kind}.', "", *text, "", "Args:"]
    for argument in arguments:
        words = " ".join(argument.split())
        lines += textwrap.wrap(words, 96, initial_indent="    ", subsequent_indent=" " * 8)
    return [*(f"    {line}" if line else "" for line in lines), '    """']


def _inputs(draft: Draft) -> list[str]:
    extra = '"segment_ids"' if draft.graph.has(SEGMENTS) else ""
    return _indented(
        f"inputs = text_inputs({extra})",
        'mask = inputs["padding_mask"]',
        f"init = initializers.RandomNormal(stddev={draft.deviation!r})",
        "",
        *_checks(draft),
    )


def _checks(draft: Draft) -> list[str]:
    """Return the lines that refuse what isn't drafted."""
    if not draft.has("embedding_dim") or draft.graph.has("embeddings_projection"):
        return []
    return [
        "if embedding_dim != hidden_dim:",
        "    raise InputError(",
        '        f"embedding_dim={embedding_dim} and hidden_dim={hidden_dim}. Pass one width for "',
        '        "both: no projection is drafted."',
        "    )",
    ]


def _embeddings(draft: Draft) -> list[str]:
    graph = draft.graph
    width = draft.embedding_width
    lines = []
    if graph.positions == "learned":
        rows = "max_sequence_length" + (" + padding_id + 1" if graph.padded else "")
        options = "padding_id=padding_id, " if graph.padded else ""
        if graph.offset:
            options = f"position_offset={graph.offset}, "
        lines += [
            "x = TokenAndPositionEmbedding(",
            f"    vocabulary_size, {rows}, {width},",
            f'    embeddings_initializer=init, {options}name="embeddings",',
            ')(inputs["token_ids"], padding_mask=mask)  # fmt: skip',
        ]
    else:
        lines += [
            "table = ReversibleEmbedding(",
            f'    vocabulary_size, {width}, True, init, name="token_embedding"',
            ")",
            'x = table(inputs["token_ids"])',
        ]
    if graph.has(SEGMENTS):
        lines += [
            f'segments = Embedding(num_segments, {width}, init, name="segment_embedding")',
            'x = Add(name="embeddings_sum")([x, segments(inputs["segment_ids"])])',
        ]
    if graph.has("embeddings_norm"):
        lines.append(f"x = {_norm(draft, 'embeddings_norm')}(x)")
    if rate := draft.embedding_rate:
        lines.append(f'x = Dropout({rate}, name="embeddings_dropout")(x)')
    if graph.has("embeddings_projection"):
        bias = "" if graph.biases["embeddings_projection"] else ", use_bias=False"
        name = 'name="embeddings_projection"'
        lines += [
            "if embedding_dim != hidden_dim:",
            f"    x = Dense(hidden_dim{bias}, kernel_initializer=init, {name})(x)",
        ]
    return _indented(*lines, "")


def _bricks(draft: Draft) -> list[str]:
    graph = draft.graph
    lines = []
    if graph.positions == "relative":
        rows = graph.size("relative_bias", 0)
        lines.append(f"bias = RelativePositionBias(num_heads, {rows}, 128, init,")
        lines.append('    name="relative_bias")(x)  # fmt: skip')
    lines += [f"norm = {_norm(draft)}", "attention = MultiHeadAttention("]
    lines += [f"    {option}," for option in _attention_options(draft)]
    lines.append(")")
    kind = "GatedFeedForward" if graph.gated else "FeedForward"
    options = [draft.intermediate, draft.activation, "init", *_feed_forward_options(draft)]
    return _indented(*lines, *_call(f"feed_forward = {kind}", options))


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


def _norm(draft: Draft, name: str = "") -> str:
    """Return a norm as code."""
    named = f', name="{name}"' if name else ""
    if draft.graph.norm == "rms":
        return f"RMSNorm({draft.epsilon}{named})"
    center = ", center=False" if draft.graph.norm == "uncentered" else ""
    return f"LayerNormalization(epsilon={draft.epsilon}{center}{named})"


def _blocks(draft: Draft) -> list[str]:
    graph = draft.graph
    bias = ', "attention_bias": bias' if graph.positions == "relative" else ""
    rate = ", dropout=dropout" if draft.has("dropout") else ""
    block, option = "Block", f', order="{graph.order}"' if graph.order != "post" else ""
    if graph.parallel != SEQUENTIAL:
        block, option = "ParallelBlock", ", shared_norm=True" * (graph.parallel == ONE_NORM)
    lines = [
        "for i in range(num_layers):",
        f'    x = {block}(attention, feed_forward, norm{option}{rate}, name=f"layer_{{i}}")(',
        f'        x, context={{"padding_mask": mask{bias}}}',
        "    )",
    ]
    if graph.has("final_norm"):
        lines.append(f"x = {_norm(draft, 'final_norm')}(x)")
    outputs = "x"
    if draft.pooler:
        outputs = "outputs"
        lines += [
            'outputs = {"sequence_output": x}',
            "if pooler:",
            '    layer = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")',
            '    outputs["pooled_output"] = layer(x[:, 0])',
        ]
    return _indented(*lines, f"super().__init__(inputs=inputs, outputs={outputs}, **kwargs)")


def _indented(*lines: str) -> list[str]:
    return [f"{INDENT}{line}" if line else "" for line in lines]
