"""Write a stem of convolutions over samples of sound: its code, and its entries in the maps."""

from __future__ import annotations

from inarch.layers.frames import NORMS
from inarch.port.arguments import find_field
from inarch.port.code import choice_lines, code
from inarch.port.draft import Draft
from inarch.port.find_stem import ENCODER_NORM
from inarch.port.head_arguments import LAYER_OUTPUTS
from inarch.port.heads import AUDIO_CLASSIFIER, CTC
from inarch.port.known_arguments import BY_ARGUMENT
from inarch.port.write_bricks import norm_code

STEM_METHODS = """
    @property
    def reference_reads_padding(self) -> bool:
        return self.arguments["stem_norm"] == "group"

    @property
    def windows(self) -> tuple[Sequence[int], Sequence[int]]:
        return self.arguments["conv_kernels"], self.arguments["conv_strides"]
"""
CLASSIFIER = '''
    def audio_classifier(self, outputs: Any, num_classes: int, projection_dim: int = {size}) -> Any:
        """Return logits `[batch, num_classes]` of each row of sound."""
        x = outputs["sequence_output"]{summed}
        x = Dense(projection_dim, name="projector")(x)
        x = SequencePooling("mean", name="pooling")(x, outputs["frame_mask"])
        return Dense(num_classes, name="logits")(x)
'''
SUMMED = """
        if self.arguments["layer_outputs"]:
            x = WeightedLayerSum(name="layer_weights")(outputs["layer_outputs"])"""
FRAMES = '''
    def ctc(self, outputs: Any, vocabulary_size: int = {size}, dropout: float = {rate}) -> Any:
        """Return logits `[batch, frames, vocabulary_size]` of each frame, the blank's included."""
        x = Dropout(dropout, name="ctc_dropout")(outputs["sequence_output"])
        return Dense(vocabulary_size, name="logits")(x)
'''


def stem_lines() -> list[str]:
    """Return the lines that make features of samples."""
    return [
        "x = ConvolutionStem(",
        "    conv_dims, conv_kernels, conv_strides, stem_bias, stem_norm, stem_activation,",
        '    name="stem",',
        ')(inputs["input_values"], padding_mask=mask)  # fmt: skip',
    ]


def convolved_lines(draft: Draft) -> list[str]:
    """Return the lines that add positions to projected features, and the mask of frames.

    Padding sees the frames that all see, as in the reference.
    """
    lines = [
        'x = Dropout(projection_dropout, name="projection_dropout")(x)',
        'mask = FrameMask(conv_kernels, conv_strides, name="frame_mask")(mask)',
        "x = x * ops.expand_dims(ops.cast(mask, x.dtype), -1)",
        "positions = ConvolutionalPositions(",
        '    position_kernel, position_groups, stem_activation, name="position_embedding"',
        ")",
        'x = Add(name="embeddings")([x, positions(x)])',
        "visible = ops.expand_dims(mask, 1)",
    ]
    graph = draft.graph
    if graph.has(ENCODER_NORM) and (graph.ordering or graph.order == "post"):
        norm = f"x = {norm_code(draft, ENCODER_NORM)}(x)"
        lines += ["if not normalize_first:", f"    {norm}"] if graph.ordering else [norm]
    return lines


def last_norm_lines(draft: Draft) -> list[str]:
    """Return the lines of the norm of a model with a stem, where it is after the layers."""
    graph = draft.graph
    if not graph.has(ENCODER_NORM) or (graph.order == "post" and not graph.ordering):
        return []
    norm = f"x = {norm_code(draft, ENCODER_NORM)}(x)"
    return ["if normalize_first:", f"    {norm}"] if graph.ordering else [norm]


def output_lines(draft: Draft) -> list[str]:
    """Return the lines of what every layer gives, where that may be an output."""
    if not draft.has(LAYER_OUTPUTS):
        return []
    return ["if layer_outputs:", '    outputs["layer_outputs"] = ops.stack(given, axis=1)']


def sound_methods(draft: Draft) -> str:
    """Return the methods that build the heads of a model of sound."""
    text = ""
    for head in draft.heads:
        sizes = [draft.usual[field] for field, _ in head.sizes]
        if head.name == AUDIO_CLASSIFIER:
            summed = SUMMED if head.layer_sum else ""
            text += CLASSIFIER.format(size=sizes[0], summed=summed)
        elif head.name == CTC:
            rate = head.dropout[1] if head.dropout is not None else 0.0
            text += FRAMES.format(size=sizes[0], rate=code(float(rate)))
    return text


def stem_entries(draft: Draft) -> list[str]:
    """Return the entries of the weight map for the stem."""
    stack = draft.graph.stem
    (stem,) = (slot for slot in draft.graph.slots if slot.ours == ("stem",))
    (norm,) = (slot for slot in draft.graph.slots if slot.ours == ("stem_norm",))
    first = stack.replace("{i}", "0")
    theirs, inner = stem.module.inner, norm.module.name.rpartition(".")[2]
    return [
        f'under("{stack}", "stem",',
        f'    rule("{theirs}.weight", "conv_{{i}}/kernel", "o i w -> w i o"),',
        f'    when("stem_bias", rule("{theirs}.bias", "conv_{{i}}/bias", "o -> o")),',
        '    when(lambda m: m["stem_norm"] == "layer",',
        f'        norm("{inner}", "conv_{{i}}_norm")),',
        '    i="conv_dims"),',
        'when(lambda m: m["stem_norm"] == "group",',
        f'    norm("{first}.{inner}", "stem/conv_0_norm")),',
    ]


def stem_line(draft: Draft, name: str, field: str) -> list[str]:
    """Return the lines of the config map for an argument of the stem; none where a usual one does.

    Args:
        field: that gives it.
    """
    if name == "conv_dims":
        return ["CONVOLUTIONS,"]
    if BY_ARGUMENT[name].form == "sizes":
        return [f"{sizes_code(draft, name, 'CONVOLUTIONS')},"]
    if name == "stem_norm":
        return choice_lines(field, name, draft.usual[field], {norm: norm for norm in NORMS})
    return []


def sizes_code(draft: Draft, name: str, like: str = "") -> str:
    """Return the entry of a list of sizes as code.

    Args:
        like: name of the entry of a list that has as many.
    """
    field = find_field(name, draft.usual) or ""
    option = f", like={like}" if like else ""
    return f'sizes("{field}", "{name}", {code(tuple(draft.usual[field]))}{option})'
