"""Inputs that show what a model does: ragged padding, both segments, as long as positions go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inarch.errors import InputError
from inarch.models.registry import Input, inputs_of
from inarch.models.serving import axis_names
from inarch.verify.reference import mask_of_tokens

# A long row shows what depends on the position; more would show nothing new.
LONGEST = 512
WORDS = "vocabulary_size"


def make_inputs(
    model: Any,
    seed: int = 0,
    lengths: Sequence[int] = (),
    decoder_lengths: Sequence[int] = (),
    padding_side: str | None = None,
) -> dict[str, np.ndarray]:
    """Make random inputs for a model: rows of very different lengths.

    Args:
        model: a backbone or a task; the folder of its architecture declares what its inputs are.
        lengths: of the rows, in positions of the backbone's vectors; by default from as long as
            positions go down to one token. All are as long as the longest of a model whose
            reference reads padding (`Backbone.reference_reads_padding`).
        decoder_lengths: of a decoder's rows, where an encoder has rows of tokens too; by default
            those of the encoder in reverse, each with a token less, so that no row of one passes
            for a row of the other.
        padding_side: `"right"` or `"left"`; `None` is that of the reference.

    Returns:
        int32 arrays `[batch, length]`; of samples, float32 of the same shape; of features, float32
        with every open axis as long as the model takes it.

    Raises:
        InputError: the folder doesn't declare an input that the model has.
    """
    backbone = getattr(model, "backbone", model)
    arguments, declared = backbone.arguments, _declared_inputs(backbone)
    random = np.random.default_rng(seed)
    lengths = _row_lengths(backbone, lengths)
    rows = [*map(backbone.row_length, lengths)]
    is_left = (padding_side or backbone.padding_side) == "left"
    first = _mask(rows, is_left, _padded_length(backbone, max(rows)))
    padding = arguments.get("padding_id") or 0
    second = _mask(decoder_lengths or [max(1, n - 1) for n in reversed(lengths)])

    def draw(mask: np.ndarray, count: int) -> np.ndarray:
        words = random.integers(1, count, mask.shape)
        # A token that isn't padding may not look like it.
        return np.where(mask, np.where(words == padding, 0, words), padding).astype("int32")

    words = draw(first, arguments[WORDS]) if WORDS in arguments else first
    if (end := arguments.get("end_id")) is not None:
        words = _ended(words, first, end)
    made = {}
    for name, tensor in backbone.input.items():
        is_second = name.startswith("decoder_") and "encoder_token_ids" in backbone.input
        mask = second if is_second else first
        if "int" not in tensor.dtype and len(tensor.shape) == 2:
            made[name] = (random.standard_normal(mask.shape) * mask).astype(tensor.dtype)
        elif "int" not in tensor.dtype:
            sizes = [backbone.axis_limits.get(axis, axis) for axis in axis_names(backbone)[name]]
            made[name] = random.standard_normal([len(mask), *sizes[1:]]).astype(tensor.dtype)
        elif declared[name].rows is None:
            made[name] = mask
        elif is_token_ids(declared[name]):
            made[name] = draw(mask, row_count(backbone, name)) if is_second else words
        else:
            count = max(declared[name].value_count(arguments) or 0, 1)
            made[name] = (random.integers(0, count, mask.shape) * mask).astype("int32")
    return made


def _declared_inputs(backbone: Any) -> Mapping[str, Any]:
    """Return what the folder of an architecture declares about each input of its backbone."""
    declared = inputs_of(type(backbone))
    if unknown := sorted(backbone.input.keys() - declared.keys()):
        raise InputError(
            f"no input can be made up for {', '.join(unknown)}; [inputs] of the architecture's "
            f"presets.toml declares {', '.join(declared) or 'none'}"
        )
    return declared


def _row_lengths(backbone: Any, given: Sequence[int]) -> Sequence[int]:
    """Return the lengths of rows in positions; all are the longest where padding would count."""
    limit = backbone.max_length or backbone.arguments.get("max_sequence_length", LONGEST)
    longest = max(given or [min(limit, LONGEST)])
    # Rows are cheap as long as they are short.
    shares = (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0) if longest <= 64 else (1, 0.4, 0)
    lengths = given or [max(1, round(longest * share)) for share in shares]
    return [longest] * len(lengths) if backbone.reference_reads_padding else lengths


def _padded_length(backbone: Any, length: int) -> int:
    """Return the length to which the reference pads rows, as far as its positions go."""
    multiple, most = backbone.reference_row_multiple, backbone.max_length
    padded = -(-length // multiple) * multiple
    return padded if most is None or padded <= most else length


def _mask(lengths: Sequence[int], is_left: bool = False, size: int | None = None) -> np.ndarray:
    """Return the padding mask of rows of a size, by default that of the longest."""
    size = max(lengths) if size is None else size
    mask = (np.arange(size) < np.array(lengths)[:, None]).astype("int32")
    return np.ascontiguousarray(mask[:, ::-1]) if is_left else mask


def _ended(words: np.ndarray, mask: np.ndarray, end: int) -> np.ndarray:
    """Return rows of tokens of which the last is the end token, and no other."""
    is_last = mask * (np.cumsum(mask, axis=1) == mask.sum(axis=1, keepdims=True))
    return np.where(is_last, end, np.where(words == end, 0, words)).astype("int32")


def covering_inputs(
    model: Any, inputs: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Make inputs that reach the rows of tables which other `inputs` of the backbone leave out.

    Rows have the model's maximal length, or twice `max_sequence_length` where any length is
    accepted, and the tokens that `inputs` lack. A model without a table of tokens or positions
    has a row of two positions.
    """
    if WORDS not in model.arguments and model.max_length is None:
        return make_inputs(model, seed, [2])
    limit = model.max_length or 2 * model.arguments.get("max_sequence_length", LONGEST)
    padding = model.arguments.get("padding_id")
    declared = inputs_of(type(model))
    words, lacking = {}, {}
    for name, array in inputs.items():
        if is_token_ids(declared[name]):
            words[name] = [w for w in range(row_count(model, name)) if w != padding]
            mask = mask_of_tokens(array.shape, inputs)
            seen = array if mask is None else array[mask != 0]
            lacking[name] = [w for w in words[name] if w not in seen]
    # A decoder's rows are shorter by a token, unless it has a last position.
    count = max(1, *(-(-len(rest) // (limit - 1)) for rest in lacking.values()))
    whole = [limit] * count
    made = make_inputs(model, seed, whole, whole if model.max_length else ())
    for name, rest in lacking.items():
        made[name] = np.resize([*rest, *words[name]], made[name].shape).astype("int32")
    return made


def is_token_ids(declared: Input) -> bool:
    """Return whether an input has ids of a vocabulary, of the model's or of the decoder's own."""
    return isinstance(declared.rows, str) and declared.rows.endswith(WORDS)


def row_count(backbone: Any, name: str) -> int:
    """Return the number of tokens that an input may have; a decoder may have its own."""
    count = inputs_of(type(backbone))[name].value_count(backbone.arguments)
    return count or backbone.arguments[WORDS]


def reference_inputs(
    inputs: Mapping[str, np.ndarray], declared: Mapping[str, Input]
) -> dict[str, np.ndarray]:
    """Return inputs by the names of the reference's `forward`, its axes, and ids in 64 bits."""
    found = {}
    for name, array in inputs.items():
        axes, whole = declared[name].axes, array.dtype.kind != "f"
        moved = np.transpose(array, axes) if axes else array
        found[declared[name].reference] = moved.astype("int64" if whole else array.dtype)
    return found
