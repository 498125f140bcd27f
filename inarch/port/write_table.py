"""Write `presets.toml`, `text.py` and `__init__.py` of a draft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inarch.port.arguments import find_field
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.graph import ENCODER, POSITIONS, SIDES, TOKENS
from inarch.port.known_arguments import STEM
from inarch.port.tiny_model import POSITION_CONVOLUTION, TINY, TINY_STEM
from inarch.port.write_pair import layer_names
from inarch.validation import shown

# Sizes of [tiny] by our names, in the order of `TINY`.
SIZES = dict(
    zip(
        ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim",
         "num_key_value_heads", "head_dim", "max_sequence_length", "embedding_dim",
         "num_encoder_layers", "num_decoder_layers", "num_encoder_heads", "num_decoder_heads",
         "encoder_intermediate_dim", "decoder_intermediate_dim", "num_buckets", "max_distance",
         "num_experts", "experts_per_token", "moe_intermediate_dim"),
        (size for _, size in TINY), strict=True,
    )
)  # fmt: skip
# Sizes that tensors show where no field has them.
BY_TENSORS = ("num_layers", "num_heads", "hidden_dim", "num_experts")
# Of the features of a tiny head, so that there are two that are rotated.
TINY_SHARE = 0.5
# Of a tiny head of whose features a share is rotated, which comes in pairs.
EVEN_WIDTH = 8
WORD_PIECE = '''"""{title}'s tokenizer: {from_} under another name."""

from dataclasses import replace

from inarch.text.{module} import {family}

TOKENIZERS = (replace({family}, tokenizer_class="{name}", model_types=("{model_type}",)),)
'''


def table_text(draft: Draft) -> str:
    """Return the text of `presets.toml`."""
    lines = [
        f'backbone = "{draft.class_name}"',
        f"model_types = [{json.dumps(draft.model_type)}]",
        "",
        "[inputs]",
        *_inputs(draft),
    ]
    if draft.graph.has_global_tokens:
        lines.append('global_mask = { reference = "global_attention_mask", rows = 2 }')
    if draft.reads_segments:
        lines.append('segment_ids = { reference = "token_type_ids", rows = "num_segments" }')
    lines += ["", "[tiny]", *_sizes(draft)]
    return "\n".join([*lines, *_unreached(draft), ""])


def _sizes(draft: Draft) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in tiny_arguments(draft).items()]


def _inputs(draft: Draft) -> list[str]:
    lines = _text_inputs(draft)
    if reads := draft.graph.reads:  # in the place of the first stack's tokens
        lines[0] = f'{reads} = {{ reference = "{reads}" }}'
    return lines


def _text_inputs(draft: Draft) -> list[str]:
    sides = {"encoder_": "", "decoder_": "decoder_"} if draft.graph.is_pair else {}
    sides |= {"": ""} if draft.single_text or not draft.graph.is_pair else {}
    return [
        line
        for ours, theirs in sides.items()
        for line in (
            f'{ours}token_ids = {{ reference = "{theirs}input_ids", rows = "vocabulary_size" }}',
            f'{ours}padding_mask = {{ reference = "{theirs}attention_mask" }}',
        )
    ]


def tiny_arguments(draft: Draft) -> dict[str, Any]:
    """Return the arguments of the tiny model."""
    found: dict[str, Any] = {
        argument.name: SIZES[argument.name]
        for argument in draft.arguments
        if argument.name in SIZES
        and (find_field(argument.name, draft.usual) is not None or argument.name in BY_TENSORS)
    }
    if not draft.graph.has("embeddings_projection"):
        found.pop("embedding_dim", None)
    if draft.has("num_groups"):
        found |= {"num_layers": 3, "num_groups": 2}
    if draft.has("bucket_size") and draft.published(["position_buckets"]):
        found["bucket_size"] = 4
    if draft.has("rotary_dim"):
        found["rotary_dim"] = 2
    if draft.has("partial_rotary_factor"):
        found["partial_rotary_factor"] = TINY_SHARE
        if "head_dim" in found:
            found["head_dim"] = EVEN_WIDTH
    if draft.graph.stem:
        found |= dict(zip(STEM[:3], map(list, TINY_STEM.values()), strict=True))
        found |= dict(zip(STEM[-2:], POSITION_CONVOLUTION.values(), strict=True))
    if draft.graph.is_late:  # of which another than the last layer shows
        found["num_layers"] = 3
    if draft.graph.layer_types:
        kinds = [*draft.graph.layer_types.values()]
        found["layer_types"] = [kinds[i % len(kinds)] for i in range(found["num_layers"])]
    if draft.has("attention_windows"):
        found["attention_windows"] = [4 + 8 * (i % 2) for i in range(found["num_layers"])]
    if draft.graph.rotary_layers:
        found["rotary_layers"] = [i % 2 == 0 for i in range(found["num_layers"])]
    if draft.has("sparse_layers"):
        found["sparse_layers"] = [False, True]
    if "use_sliding_window" in draft.graph.switches:
        found["use_sliding_window"] = True
    if "zero_mask_tokens" in draft.graph.switches:
        found |= {"zero_mask_tokens": True, "mask_id": SIZES["vocabulary_size"] - 1}
    for name, value in (("global_rope_theta", 160.0), ("local_rope_theta", 10.0),
                        ("local_attention", 5)):  # fmt: skip
        if draft.has(name):
            found[name] = value
    if draft.has("sliding_window"):
        found["sliding_window"] = 4
    if draft.graph.padded_table:
        found["max_sequence_length"] = SIZES["max_sequence_length"] - 2
    if draft.has("padding_id") and not draft.graph.padded:
        found["padding_id"] = 0
    elif draft.graph.padded and not isinstance(draft.usual.get("pad_token_id"), int):
        found["padding_id"] = 1
    return found


def _unreached(draft: Draft) -> list[str]:
    """Return the lines on rows that no input reaches."""
    graph = draft.graph
    prefix = "embeddings/" if graph.has_input_layer else ""
    padding = 1 if graph.padded else 0
    found = []
    if draft.has("padding_id"):
        first = layer_names(draft, "")[TOKENS] if graph.is_pair else f"{prefix}{TOKENS}"
        rows, reason = [padding], "the row of padding"
        if "zero_mask_tokens" in graph.switches:
            rows.append(tiny_arguments(draft)["mask_id"])
            reason = "the rows of padding and of the mask token, whose vectors are 0"
        found.append((first, rows, reason))
    tables = [layer_names(draft, side)[POSITIONS] for side in SIDES]
    for table in tables if graph.is_pair else [f"{prefix}{POSITIONS}"]:
        if graph.padded_table and graph.positions == "learned":
            reason = "positions of tokens begin after the padding id"
            found.append((table, [*range(padding + 1)], reason))
        if graph.offset:
            found.append((table, [*range(graph.offset)], "rows before the first position"))
    if graph.is_pair and draft.has("num_buckets"):
        reason = "distance 0 is among those to keys before the query"
        found.append((f"{ENCODER}_relative_bias", [SIZES["num_buckets"] // 2], reason))
    return [
        line
        for layer, rows, reason in found
        for line in (
            "", "[[unreached]]", f'layer = "{layer}"', f"rows = {rows}", f'reason = "{reason}"',
        )
    ]  # fmt: skip


def text_text(draft: Draft, tokenizer: Mapping[str, Any]) -> str | None:
    """Return the text of `text.py`; None where a checkpoint's tokenizer.json is enough.

    Args:
        tokenizer: `class` and `files` of the checkpoint's tokenizer, as far as they are known.
    """
    name, files = tokenizer.get("class"), tokenizer.get("files", ())
    if not isinstance(name, str) or not _is_own_class(name):
        return None
    known = {
        "vocab.txt": ("BERT", "word_piece_json", "BERT's"),
        "merges.txt": ("GPT2" if draft.graph.causal else "ROBERTA", "byte_level", "byte pairs"),
    }
    found = next((value for file, value in known.items() if file in files), None)
    if found is None:
        return None
    family, module, from_ = found
    return WORD_PIECE.format(
        title=draft.title, from_=from_, module=module, family=family,
        name=name.removesuffix("Fast"), model_type=draft.model_type,
    )  # fmt: skip


def tokenizer_line(draft: Draft, tokenizer: Mapping[str, Any]) -> Decision | None:
    """Return what isn't known of the tokenizer; None where a tokenizer.json is all of it."""
    name, files = tokenizer.get("class"), tokenizer.get("files", ())
    if text_text(draft, tokenizer) is not None:
        return guess("text.py", f"{name} is the tokenizer of such files under another name")
    if "tokenizer.json" in files and not _is_own_class(name):
        return None
    if not files:
        return guess("text.py", "none is drafted, since the source has no tokenizer")
    kind = "no class" if name is None else f"the class {shown(name)}"
    text = f"none is drafted for {', '.join(files)}, for which the source names {kind}"
    return decide("text.py", text)


def _is_own_class(name: Any) -> bool:
    """Return whether a class is one of an architecture's own, whose name can stand in code."""
    is_class = isinstance(name, str) and name.isascii() and name.isidentifier()
    return is_class and not name.startswith("PreTrained") and name != "TokenizersBackend"
