"""Names of tensors as patterns with counted indices, and their axes by the config's sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo

INDICES = "ijkl"

# Fields of configs whose numbers are sizes, those that name an axis first in front. Of other
# fields, a number that is a size by chance would name it.
HIDDEN = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "n_state")
INNER = (
    "intermediate_size",
    "d_ff",
    "n_inner",
    "ffn_dim",
    "hidden_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "d_inner",
    "dim_feedforward",
    "dim_ff",
    "dff",
    "moe_intermediate_size",
    "ffn_hidden_size",
)
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
LENGTHS = (
    "max_position_embeddings", "n_positions", "max_target_positions", "max_source_positions",
    "n_ctx", "max_seq_len",
)  # fmt: skip
TABLES = (
    "vocab_size", "embedding_size", "word_embed_proj_dim", *LENGTHS, "type_vocab_size",
    "relative_attention_num_buckets", "num_mel_bins", "pooler_hidden_size", *EXPERTS,
    "classifier_proj_size",
)  # fmt: skip
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads",
    "attention_heads")  # fmt: skip
KEY_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads")
# Numbers in the name of a tensor, and its shape.
Member = tuple[tuple[int, ...], tuple[int, ...]]
WIDTHS = ("head_dim", "d_kv", "attention_head_size", "d_head")


@dataclass(frozen=True)
class TensorPattern:
    """Tensors whose names differ in numbers alone.

    Attributes:
        name: with an index for each number, such as `encoder.layer.{i}.output.dense.weight`.
        count: number of tensors.
        shapes: their shapes, each once.
        axes: each a field of the config, a product of such, or a number; of shapes that differ,
            all that it is, such as `3 or 2`.
        indices: what each index runs over: its smallest and its largest value, and how many.
    """

    name: str
    count: int
    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[str, ...]
    indices: tuple[tuple[int, int, int], ...]


def collapse_names(
    tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]
) -> tuple[TensorPattern, ...]:
    """Return the patterns of a checkpoint's tensors, in their order."""
    names = axis_names(config)
    # Braces in a name could be taken for an index, but for the number of indices.
    groups: dict[tuple[str, int], list[Member]] = {}
    for name, info in tensors.items():
        pattern, numbers = _numbered(name)
        groups.setdefault((pattern, len(numbers)), []).append((numbers, info.shape))
    found = []
    for pattern, members in _split(groups):
        shapes = tuple(dict.fromkeys(shape for _, shape in members))
        columns = map(set, zip(*(found for found, _ in members), strict=True))
        indices = tuple((min(c), max(c), len(c)) for c in columns)
        axes = tuple(
            _alternatives(names.get(size, str(size)) for size in sizes)
            for sizes in zip(*(s for s in shapes if len(s) == len(shapes[0])), strict=True)
        )
        found.append(TensorPattern(pattern, len(members), shapes, axes, indices))
    return tuple(found)


def _alternatives(words: Iterable[str]) -> str:
    """Return words once each, of many the first ones."""
    several = [*dict.fromkeys(words)]
    return " or ".join([*several[:3], *(["others"] if len(several) > 3 else [])])


def _split(groups: Mapping[tuple[str, int], list[Member]]) -> Iterator[tuple[str, list[Member]]]:
    """Iterate over patterns and their tensors, with the last index as a number where it decides.

    So the items of `ffn.0.weight`, `ffn.2.weight`, which differ in shape in every layer, are apart.
    """
    for (pattern, count), members in groups.items():
        ranks = {len(shape) for _, shape in members}
        apart: dict[int, list[Member]] = {}
        if count > 1 or len(ranks) > 1:
            for numbers, shape in members:
                apart.setdefault(numbers[-1], []).append((numbers[:-1], shape))
        kinds: list[set[Any]] = [
            {len(shape) if len(ranks) > 1 else shape for _, shape in some}
            for some in (members, *apart.values())
        ]
        if not apart or len(kinds[0]) == 1 or any(len(kind) > 1 for kind in kinds[1:]):
            yield pattern, members
            continue
        for number, some in apart.items():
            yield pattern.replace(f"{{{INDICES[count - 1]}}}", str(number)), some


def _numbered(name: str) -> tuple[str, tuple[int, ...]]:
    """Return a name with its numbers as indices, and the numbers."""
    parts: list[str] = []
    numbers: list[int] = []
    for part in name.split("."):
        # Longer numbers than a layer can have are part of a name.
        if part.isascii() and part.isdigit() and len(part) < 7 and len(numbers) < len(INDICES):
            parts.append(f"{{{INDICES[len(numbers)]}}}")
            numbers.append(int(part))
        else:
            parts.append(part)
    return ".".join(parts), tuple(numbers)


def index_names(name: str) -> str:
    """Return a name with an index in the place of its first number."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if number is not None:
        parts[number] = f"{{{INDICES[0]}}}"
    return ".".join(parts)


def axis_names(config: Mapping[str, Any]) -> dict[int, str]:
    """Return names of sizes by the config's fields, those of plain fields before products."""
    fields = flatten_sizes(config)
    found: dict[int, str] = {}
    for name in (*HIDDEN, *INNER, *TABLES, *HEADS, *KEY_HEADS, *WIDTHS, "num_labels"):
        if (size := fields.get(name, 0)) > 1:
            found.setdefault(size, name)
    for size, name in (*_of_heads(fields), *_multiples(fields)):
        if size > 1:
            found.setdefault(size, name)
    return found


def head_width(fields: Mapping[str, int]) -> int | None:
    """Return how many features a head has, by a field or as its share of the model's width."""
    hidden, heads, width = (first(fields, names) for names in (HIDDEN, HEADS, WIDTHS))
    if width is not None:
        return fields[width]
    return fields[hidden] // fields[heads] if hidden and heads and fields[heads] else None


def _of_heads(fields: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return the sizes of all heads together, with the products that they are."""
    heads, size = first(fields, HEADS), head_width(fields)
    keys = first(fields, KEY_HEADS) or heads
    if not heads or not keys or size is None:
        return []
    name = first(fields, WIDTHS) or f"{first(fields, HIDDEN)} / {heads}"
    queries, shared = fields[heads], fields[keys]
    fused = f"3 * {heads}" if keys == heads else f"({heads} + 2 * {keys})"
    return [
        (size, name),
        (size * queries, f"{heads} * {name}"),
        (size * shared, f"{keys} * {name}"),
        (size * (queries + 2 * shared), f"{fused} * {name}"),
    ]


def _multiples(fields: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return small multiples of widths, and tables with the rows that some begin with."""
    widths = [name for name in (*HIDDEN, *INNER) if fields.get(name)]
    found = [(n * fields[name], f"{n} * {name}") for name in widths for n in (3, 2, 4)]
    tables = [name for name in LENGTHS if fields.get(name)]
    return found + [(fields[name] + n, f"{name} + {n}") for name in tables for n in (1, 2)]


def flatten_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the whole numbers of a config and of what it nests, by the names of their fields."""
    found: dict[str, int] = {}
    nested = [value for value in config.values() if isinstance(value, Mapping)]
    for part in (config, *nested):
        for name, value in part.items():
            if isinstance(value, int) and not isinstance(value, bool):
                found.setdefault(name, value)
    if "num_labels" not in found and isinstance(config.get("id2label"), Mapping):
        found["num_labels"] = len(config["id2label"])
    return found


def first(fields: Mapping[str, int], names: tuple[str, ...]) -> str | None:
    """Return the first of the names that is a field with a size."""
    return next((name for name in names if fields.get(name, 0) > 0), None)


def model_prefix(names: Iterable[str]) -> str:
    """Return the model's name that most of the tensors' names begin with, such as `bert.`."""
    parted = [name.partition(".") for name in names]
    firsts = Counter(name for name, dot, _ in parted if dot)
    name, count = max(firsts.items(), key=lambda one: one[1], default=("", 0))
    is_module = name in ("encoder", "decoder", "layers", "layer", "h")
    return f"{name}." if 2 * count > len(parted) and not is_module else ""


def lower_words(name: str) -> str:
    """Return a name without the spelling of words: lower case, dots alone."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("/", ".").lower()
