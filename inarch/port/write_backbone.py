"""Write `backbone.py` of a draft: its graph as a composition of bricks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from inarch.port.arguments import Argument
from inarch.port.draft import Draft
from inarch.port.find_relative import RELATIVE_SEGMENTS
from inarch.port.find_slots import QUERY
from inarch.port.graph import (
    AROUND,
    CROSS_ATTENTION,
    EMBEDDINGS,
    LAYER_END,
    LAYERS,
    ONE_NORM,
    SEQUENTIAL,
)
from inarch.port.head_arguments import LAYER_OUTPUTS
from inarch.port.write_bricks import (
    attention_lines,
    brick_lines,
    indented,
    norm_code,
    relative_lines,
)
from inarch.port.write_disentangled import disentangled_lines
from inarch.port.write_experts import chosen_lines
from inarch.port.write_heads import head_methods
from inarch.port.write_input import embedding_lines, input_lines
from inarch.port.write_missing import called_lines
from inarch.port.write_pair import pair_lines
from inarch.port.write_stem import STEM_METHODS, last_norm_lines, output_lines

ROWS_OF_WINDOWS = '''
    @property
    def reference_row_multiple(self) -> int:
        """Return a number of tokens that each window divides, as the reference wants rows."""
        return lcm(*self.arguments["attention_windows"])
'''
DEFAULT_INPUTS = '''
    def default_inputs(self, head: str | None, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return a mask of no global tokens, whatever the head."""
        return {"global_mask": 0 * arrays["token_ids"]}
'''


def backbone_text(draft: Draft) -> str:
    """Return the text of the module."""
    if draft.graph.is_pair:
        body = pair_lines(draft)
    else:
        body = [*input_lines(draft), *embedding_lines(draft), *_layers(draft), *_outputs(draft)]
    methods = head_methods(draft)
    base = "CausalBackbone" if draft.is_causal_class else "Backbone"
    text = "\n".join(
        [
            f"class {draft.class_name}({base}):",
            *_docstring(draft),
            *(["", "    padding_affects_output = True"] if draft.graph.mixer else []),
            *(["", "    packs_sequences = False"] if draft.graph.stem else []),
            "",
            "    def __init__(",
            "        self,",
            *(f"        {_signature(argument)}," for argument in draft.arguments),
            "        **kwargs: Any,",
            "    ):",
            *body,
            *(STEM_METHODS.rstrip().split("\n") if draft.graph.stem else []),
            *methods,
            *(_global_methods(draft) if draft.graph.has_global_tokens else []),
        ]
    )
    notes = draft.comments("backbone")
    return "\n".join([*_head(draft, notes), *_imports(draft, text), "", "", text, ""])


def _layers(draft: Draft) -> list[str]:
    """Return the lines of the layers, from the input of the first one on."""
    parts = {one.part for one in draft.graph.missing} - {EMBEDDINGS, AROUND}
    if draft.graph.positions == "disentangled":
        places = [line for part in sorted(parts) for line in called_lines(draft, part)]
        return [*indented(*places), *disentangled_lines(draft)]
    if draft.graph.positions == RELATIVE_SEGMENTS and not parts:
        return relative_lines(draft)
    if LAYERS in parts:
        return indented(*called_lines(draft, LAYERS))
    return [*brick_lines(draft), *_blocks(draft)]


def _head(draft: Draft, notes: Sequence[str]) -> list[str]:
    return [f'"""{draft.title}\'s graph.', "", f'{draft.source_words}\n"""', "", *notes]


def _imports(draft: Draft, text: str) -> list[str]:
    """Return the imports of the names that a text has."""

    def used(names: Iterable[str]) -> list[str]:
        called = r"\b{0}\(|partial\(\s*{0}\b|= {0}$"
        return [n for n in names if re.search(called.format(n), text, re.MULTILINE)]

    keras_layers = used(
        (
            "Add",
            "Dense",
            "Dropout",
            "Embedding",
            "Identity",
            "LayerNormalization",
            "ReversibleEmbedding",
        )
    )
    bricks = used(
        ("AlibiBias", "AngleRotation", "Block", "ConvResidual", "ConvolutionalPositions",
         "ConvolutionStem", "DisentangledAttentionEncoder", "FeedForward", "FixedPositionEmbedding",
         "FourierMixing", "FrameMask", "GatedFeedForward", "GlobalLocalAttention", "InputEmbedding",
         "LastTokenOf", "LogitsBias", "MaskedLMHead", "MixtureOfExperts", "MultiHeadAttention",
         "ParallelBlock",
         "PositionEmbedding", "RelativeEmbedding", "RelativePositionBias", "RMSNorm",
         "RotaryAngles", "RotaryEmbedding", "ScaledEmbedding", "ShiftRight", "SinePositions",
         "TokenAndPositionEmbedding", "TokenDropoutEmbedding", "TransformerXLAttention",
         "TransformerXLBlock", "VocabularyHead", "WeightedLayerSum", "get_activation")
    )  # fmt: skip
    lines = ["from typing import Any", ""]
    if kinds := [name for name in ("Mapping", "Sequence") if f"{name}[" in text]:
        lines.insert(0, f"from collections.abc import {', '.join(kinds)}")
    if "partial(" in text:
        lines.insert(-2, "from functools import partial")
    if "lcm(" in text:
        lines.insert(-2, "from math import lcm")
    if "keras." in text:
        lines.append("import keras")
    lines.append(f"from keras import initializers{', ops' * ('ops.' in text)}")
    lines += [f"from keras.layers import {', '.join(keras_layers)}"] if keras_layers else []
    lines.append("")
    if "InputError(" in text:
        lines.append("from inarch.errors import InputError")
    lines += _wrapped("from inarch.layers import ", bricks) if bricks else []
    if "MissingLayer(" in text:
        lines.append("from inarch.layers.missing import MissingLayer")
    if "SequencePooling(" in text:
        lines.append("from inarch.layers.pooling import SequencePooling")
    inputs = ["Backbone"] if "(Backbone)" in text else []
    inputs += used(("encoder_decoder_inputs", "text_inputs"))
    lines += [f"from inarch.models.backbone import {', '.join(inputs)}"] if inputs else []
    if checks := used(("check_layer_types", "values_per_layer")):
        lines.append(f"from inarch.models.input_checks import {', '.join(checks)}")
    if "CausalBackbone" in text:
        lines.append("from inarch.models.causal_backbone import CausalBackbone")
    stack = [n for n in ("DecoderStack", "check_output_embeddings") if n in text]
    if stack:
        lines.append(f"from inarch.models.decoder_stack import {', '.join(stack)}")
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
    kind = "encoder and decoder" if graph.is_pair else "decoder" if graph.causal else "encoder"
    inputs = "`token_ids`, `segment_ids` and `padding_mask`" if draft.reads_segments else (
        "`token_ids` and `padding_mask`"
    )  # fmt: skip
    if graph.has_global_tokens:
        inputs = inputs.replace(" and ", ", ") + " and `global_mask`"
    outputs = "the output is `[batch, length, hidden_dim]`."
    if draft.pooler:
        outputs = (
            "outputs are `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, "
            "`pooled_output` `[batch, hidden_dim]`: the first token through a tanh layer."
        )
    if graph.is_pair:
        inputs = "those of an encoder-decoder (see `Backbone`)"
        outputs = (
            "outputs are `encoder_sequence_output` and `decoder_sequence_output` "
            "`[batch, length, hidden_dim]`."
        )
    if graph.stem:
        outputs = (
            "outputs are `sequence_output` `[batch, frames, hidden_dim]` and `frame_mask` "
            "`[batch, frames]`."
        )
    if graph.reads:
        inputs = f"`{graph.reads}`, float, and masks"
    else:
        inputs += ", int32 `[batch, length]`"
    sentences = [f"Inputs are {inputs}; {outputs}"]
    if graph.causal and graph.has(QUERY):
        sentences.append("A token attends to those before it and to itself.")
    text = textwrap.wrap(" ".join(sentences), 96)
    arguments = [f"{a.name}: {a.text}" for a in draft.arguments]
    lines = [f'"""{draft.title} {kind}.', "", *text, "", "Args:"]
    for argument in arguments:
        words = " ".join(argument.split())
        lines += textwrap.wrap(words, 96, initial_indent="    ", subsequent_indent=" " * 8)
    return [*(f"    {line}" if line else "" for line in lines), '    """']


def _blocks(draft: Draft) -> list[str]:
    graph = draft.graph
    bias = ', "attention_bias": bias' if graph.has("relative_bias") else ""
    rate = ", dropout=dropout" if draft.has("dropout") else ""
    block, option = "Block", f', order="{graph.order}"' if graph.order != "post" else ""
    option = ", order=order" if graph.ordering else option
    if graph.missing_text(CROSS_ATTENTION):
        option = f", cross_attention{option}"
    elif graph.parallel != SEQUENTIAL:
        block, option = "ParallelBlock", ", shared_norm=True" * (graph.parallel == ONE_NORM)
    if graph.is_late:
        option += ", first_norm=None if i else Identity()"
    given = f'attention, feed_forward, norm{option}{rate}, name=f"layer_{{i}}"'
    crosses = ', "cross": {"padding_mask": mask}' * ("cross_attention" in option)
    others = ', "global_mask": global_mask' * graph.has_global_tokens
    context = f'x, context={{"padding_mask": mask{bias}{crosses}{others}}}'
    context = "x, context=context" if graph.stored else context
    context = 'x, context={"attention_mask": visible}' if graph.stem else context
    lines = ["for i in range(num_layers):"]
    if graph.shared:
        way = graph.shared.format(layers="num_layers", stored="num_groups")
        lines = [
            "groups = [",
            f"    {block}({given})",
            "    for i in range(num_groups)",
            "]",
            *lines,
            f"    x = groups[{way}]({context})",
        ]
        return indented(*lines)
    if graph.varies:
        inner = attention_lines(draft)
        if graph.layer_types:
            lines = ["for i, layer_type in enumerate(layer_types):"]
            inner = ['is_global = layer_type == "global"', *inner]
        elif draft.has("attention_windows"):
            lines = ["for i, window in enumerate(attention_windows):"]
        lines += [f"    {line}" for line in inner]
    lines += [f"    {line}" for line in chosen_lines(draft)]
    if len(given) + len(block) <= 78:
        lines += [f"    x = {block}({given})(", f"        {context}", "    )"]
    else:
        lines += [f"    x = {block}(", f"        {given}", f"    )({context})"]
    if graph.ordering:
        lines.insert(0, 'order = "pre" if normalize_first else "post"')
    lines += [f"    {line}" for line in called_lines(draft, LAYER_END)]
    if draft.has(LAYER_OUTPUTS):
        lines = ["given = [x]", *lines, "    given.append(x)"]
    return indented(*lines)


def _global_methods(draft: Draft) -> list[str]:
    """Return the lines of what comparisons and tasks ask of a model with global tokens."""
    rows = ROWS_OF_WINDOWS if draft.has("attention_windows") else ""
    return [*rows.rstrip().split("\n"), *DEFAULT_INPUTS.rstrip().split("\n")]


def _outputs(draft: Draft) -> list[str]:
    """Return the lines after the last layer."""
    graph = draft.graph
    lines = [*called_lines(draft, AROUND), *last_norm_lines(draft)]
    if graph.has("final_norm"):
        lines += ["if normalize_first:"] if graph.ordering else []
        lines.append(f"{'    ' * graph.ordering}x = {norm_code(draft, 'final_norm')}(x)")
    outputs = "x"
    if graph.stem:
        outputs = "outputs"
        lines += ['outputs = {"sequence_output": x, "frame_mask": mask}', *output_lines(draft)]
    if draft.pooler:
        outputs = "outputs"
        lines += [
            'outputs = {"sequence_output": x}',
            "if pooler:",
            '    layer = Dense(hidden_dim, "tanh", kernel_initializer=init, name="pooler")',
            '    outputs["pooled_output"] = layer(x[:, 0])',
        ]
    return indented(*lines, f"super().__init__(inputs=inputs, outputs={outputs}, **kwargs)")
