"""Tiny models of an architecture of transformers, none of whose sizes are alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from inarch.port.experts import CHOSEN
from inarch.port.heads import LABELS
from inarch.port.known_arguments import EXPERT_WIDTHS, LAYERS, LENGTHS, NARROW, SHARED
from inarch.port.patterns import EXPERTS, HEADS, HIDDEN, INNER, KEY_HEADS, WIDTHS
from inarch.port.sparse_layers import MIXED, SparseLayers, find_sparse_layers
from inarch.port.tiny_inputs import run_ids
from inarch.verify.transformers_reference import with_eager_experts

# Sizes of a tiny model. No two are alike, so that axes are known by their sizes.
TINY = (
    (("vocab_size",), 29), (LAYERS, 2), (HEADS, 4), (HIDDEN, 16), (INNER, 20), (KEY_HEADS, 2),
    (WIDTHS, 6), (LENGTHS, 14), (NARROW, 10), (("encoder_layers", "num_encoder_layers"), 2),
    (("decoder_layers", "num_decoder_layers"), 2), (("encoder_attention_heads",), 4),
    (("decoder_attention_heads",), 2), (("encoder_ffn_dim",), 20), (("decoder_ffn_dim",), 24),
    (("relative_attention_num_buckets",), 8), (("relative_attention_max_distance",), 20),
    (EXPERTS, 5), (CHOSEN, 2), (EXPERT_WIDTHS, 11),
)  # fmt: skip
# Of a stem of convolutions, and of the one that gives positions.
TINY_STEM = {"dim": (12, 10), "kernel": (5, 3), "stride": (3, 2)}
POSITION_CONVOLUTION = {"num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 4}
# Of what training masks, as many positions in a row as are fewer than a tiny input has.
MASKED = ("mask_time_length", "mask_feature_length")
# Of relative positions, in the place of distances.
BUCKETS = "position_buckets"
# The window around each token, and a tiny one.
WINDOW, TINY_WINDOW = "attention_window", 8
# A value of a field that has none, and the largest difference of outputs that are alike.
SOME = 3
CLOSE = 1e-4


def tiny_model(
    model_type: str, usual: Mapping[str, Any], given: Mapping[str, Any], torch: Any,
    transformers: Any,
) -> tuple[Any, Any, SparseLayers | None]:  # fmt: skip
    """Return the config and the model without a head, in inference, and which layers have experts.

    Args:
        usual: the config's defaults.
        given: a checkpoint's config, whose switches the model has.
    """
    fields = tiny_fields(usual, given)
    ids = torch.arange(1, 8)[None]
    # Code may have one width follow from others, or groups of so many experts.
    alike = _widths_alike(fields)
    counts = {name: usual.get(name) for name in EXPERTS if name in fields}
    usual_counts = {name: count for name, count in counts.items() if count is not None}
    for changes in ({}, alike, usual_counts):
        with contextlib.suppress(Exception):
            config, model = _build(model_type, fields | changes, transformers)
            run_ids(model, ids)
            fields |= changes
            break
    else:
        fields |= alike | usual_counts
        config, model = _build(model_type, fields, transformers)
    sparse = find_sparse_layers(
        lambda changed: _build(model_type, changed, transformers)[1], fields, usual
    )
    if sparse is not None and sparse.tiny:
        layers = next(name for name in LAYERS if name in fields)
        fields |= {layers: MIXED, **sparse.tiny}
        config, model = _build(model_type, fields, transformers)
    if not _has_two_widths(model):  # which are projected before positions are added
        return config, model, sparse
    hidden = next(fields[name] for name in HIDDEN if name in fields)
    alike = {name: hidden for name in NARROW if name in fields}
    return *_build(model_type, fields | alike, transformers), sparse


def _widths_alike(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widths of embeddings and of heads as the width of the model gives them."""
    hidden, heads = (next((fields[n] for n in names if n in fields), 0) for names in
                     (HIDDEN, HEADS))  # fmt: skip
    found = {name: hidden for name in NARROW if name in fields and hidden}
    return found | {n: hidden // heads for n in WIDTHS if n in fields and hidden and heads}


def _build(model_type: str, fields: Mapping[str, Any], transformers: Any) -> tuple[Any, Any]:
    config = transformers.AutoConfig.for_model(model_type, **fields)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager")
    return config, with_eager_experts(model.eval())


def derived_fields(model_type: str, usual: Mapping[str, Any], transformers: Any) -> tuple[str, ...]:
    """Return the sizes whose defaults follow from other fields: those of a tiny config show it."""
    fields = tiny_fields(usual, {})
    found = []
    for names, _ in TINY:
        for name in (n for n in names if n in fields):
            others = {other: value for other, value in fields.items() if other != name}
            with contextlib.suppress(Exception):  # a size that its code refuses with the others
                made = transformers.AutoConfig.for_model(model_type, **others).to_dict()
                if made.get(name) != usual[name]:
                    found.append(name)
    with contextlib.suppress(Exception):  # sizes that its code refuses together
        tiny = transformers.AutoConfig.for_model(model_type, **fields).to_dict()
        words = TINY[0][0][0]  # further tables of as many tokens
        found += [name for name, value in tiny.items() if name not in fields and words in fields
                  and (value, usual.get(name)) == (fields[words], usual[words])]  # fmt: skip
    return tuple(found)


def shaping_fields(
    model_type: str, usual: Mapping[str, Any], given: Mapping[str, Any], transformers: Any
) -> tuple[str, ...]:
    """Return the fields that the config's class makes others of: a change of one changes others.

    Args:
        given: a checkpoint's config, whose further fields are tried too.
    """
    others = {name: _other(value) for name, value in usual.items()}
    others |= {name: value for name, value in given.items() if name not in usual}
    found = []
    for name, other in others.items():
        with contextlib.suppress(Exception):  # a value that its code refuses
            fields = {} if other is None or name == "model_type" else {name: other}
            made = transformers.AutoConfig.for_model(model_type, **fields).to_dict()
            if any(made.get(n) != v for n, v in usual.items() if n != name):
                found.append(name)
    return tuple(found)


def _other(value: Any) -> Any:
    """Return another value of a switch or a number; None of anything else."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else None


def embedding_dropout(config: Any, model: Any, ids: Any, transformers: Any) -> tuple[str, ...]:
    """Return the fields of rates of dropout that act before the first layer.

    Each is set to 1 by itself: what such a field drops is 0 at the input of the first layer.
    """
    first = next((n for n, _ in model.named_modules() if n.endswith((".0", "layers.0"))), None)
    rates = [n for n, v in config.to_dict().items() if "drop" in n and isinstance(v, float)]
    found = []
    for rate in rates if first else ():
        fields = {**config.to_dict(), **dict.fromkeys(rates, 0.0), rate: 1.0}
        with contextlib.suppress(Exception):  # a rate that its code refuses
            other = type(config)(**fields)
            changed = transformers.AutoModel.from_config(other, attn_implementation="eager").train()
            seen: list[Any] = []
            block = changed.get_submodule(str(first))
            block.register_forward_pre_hook(
                lambda _, given, named, seen=seen: seen.append([*given, *named.values()][0]),
                with_kwargs=True,
            )
            run_ids(changed, ids)
            if seen and not seen[0].any():
                found.append(rate)
    return tuple(found)


def idle_fields(config: Any, model: Any, ids: Any) -> tuple[str, ...]:
    """Return the fields without a value on which no output depends where they have one."""
    found = []
    expected = _first_output(model, ids)
    for name in (n for n, v in config.to_dict().items() if v is None and not n.endswith("_id")):
        with contextlib.suppress(Exception):  # a value that its code refuses
            other = type(model)(type(config)(**{**config.to_dict(), name: SOME})).eval()
            other.load_state_dict(model.state_dict())
            if abs(_first_output(other, ids) - expected).max() < CLOSE:
                found.append(name)
    return tuple(found)


def _first_output(model: Any, ids: Any) -> Any:
    """Return the first output of a model for token ids."""
    return run_ids(model, ids)[0].detach().numpy()


def projects_alike(model: Any, config: Any) -> bool:
    """Return whether a model whose embeddings are as wide as it is has all modules that it has."""
    fields = config.to_dict()
    narrow = next((name for name in NARROW if name in fields), None)
    hidden = next((name for name in HIDDEN if name in fields), None)
    if narrow is None or hidden is None:
        return False
    with contextlib.suppress(Exception):  # a width that its code refuses
        alike = type(model)(type(config)(**{**fields, narrow: fields[hidden]}))
        return alike.state_dict().keys() == model.state_dict().keys()
    return False


def _has_two_widths(model: Any) -> bool:
    """Return whether the tables of tokens and positions have other widths."""
    tables = {
        "position" in name: tuple(t.shape)
        for name, t in model.state_dict().items()
        if "embed" in name and t.ndim == 2 and name.endswith("weight") and "project" not in name
    }
    return len(tables) == 2 and tables[True][-1] != tables[False][-1]


def tiny_fields(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a tiny config: its sizes, and the switches of a given one."""
    found: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if name not in ("model_type", "transformers_version", "dtype", "torch_dtype")
        and (name not in SHARED or defaults.get(name) is not None)
        and _is_switch(value, defaults.get(name))
    }
    taken: set[str] = set()
    is_pair = defaults.get("is_encoder_decoder") is True
    for names, size in TINY:
        if names[0].startswith("relative_") and not is_pair:  # which code has as constants too
            continue
        if name := next((n for n in names if n in defaults and n not in taken), None):
            is_set = defaults[name] is not None or given.get(name) is not None
            if not is_set and name not in ("vocab_size", "n_inner"):
                continue
            found[name] = size
            taken.add(name)
    found |= _convolutions(defaults)
    buckets = given.get(BUCKETS, defaults.get(BUCKETS))
    if isinstance(buckets, int) and buckets > 0:
        found[BUCKETS] = 4
    if isinstance(defaults.get(WINDOW), int):  # to whose multiples rows are padded
        found[WINDOW] = TINY_WINDOW
    if isinstance(defaults.get("rotary_dim"), int):
        found["rotary_dim"] = 2
    if isinstance(defaults.get("attention_types"), list):  # a pattern and how often it comes
        found["attention_types"] = [[["global"], 2]]
    for name, usual in defaults.items():
        value = given.get(name, usual)
        if name.endswith("_token_id") and isinstance(value, int):
            found[name] = value % TINY[0][1]
    if "pad_token_id" in defaults:
        found.setdefault("pad_token_id", 0)
    return found | {"id2label": {i: f"LABEL_{i}" for i in range(LABELS)}}


def _convolutions(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a stem of two convolutions, where lists have one item for each."""
    lists = {n: v for n, v in defaults.items() if n.startswith("conv_") and isinstance(v, list)}
    counts = [n for n, v in defaults.items() if n.startswith("num_") and "layers" in n and
              any(len(one) == v for one in lists.values())]  # fmt: skip
    if not counts:
        return {}
    found: dict[str, Any] = dict.fromkeys(counts, len(TINY_STEM["dim"]))
    for name in lists:
        kind = name.removeprefix("conv_")
        if kind in TINY_STEM:
            found[name] = [*TINY_STEM[kind]]
    found |= {n: size for n, size in POSITION_CONVOLUTION.items() if n in defaults}
    return found | {name: 2 for name in MASKED if name in defaults}


def _is_switch(value: Any, usual: Any) -> bool:
    """Return whether a field chooses between ways to compute, and isn't a size."""
    if isinstance(value, bool):
        return isinstance(usual, bool | None)
    return isinstance(value, str) and isinstance(usual, str | None)


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from warning."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
