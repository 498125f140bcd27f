"""Evidence from an installed transformers: defaults, classes, calls and reads.

A tiny model is built and run; nothing of a checkpoint is, and no code that it names.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.errors import InarchError, ReferenceModelError
from inarch.port.config_parts import OF_ALL_MODELS, find_parts, followed_widths, trials_of
from inarch.port.config_trials import (
    absent_widths,
    feed_forwards,
    gated_tensors,
    older_names,
    switches,
)
from inarch.port.evidence import Evidence
from inarch.port.heads import (
    JOINT,
    KINDS,
    LABELS,
    OWN,
    PAIRS,
    HeadClass,
    purpose_of,
)
from inarch.port.layer_fields import layer_fields, scaled_kind, switched_window
from inarch.port.model_facts import norm_epsilon, norms_are_shifted, ties_of, untied_model
from inarch.port.patterns import index_names
from inarch.port.recorded_reads import record
from inarch.port.saved_names import saved_names, unused_tensors
from inarch.port.sharing import find_sharing
from inarch.port.sine_tables import sine_tables
from inarch.port.tiny_inputs import attends_ahead, module_calls, run_ids
from inarch.port.tiny_model import (
    derived_fields,
    embedding_dropout,
    idle_fields,
    projects_alike,
    quiet,
    shaping_fields,
    tiny_model,
)
from inarch.verify.transformers_reference import has_reference, libraries

# Seconds that a run of a tiny model may take.
MAX_SECONDS = 3.0


def find_evidence(model_type: str, given: Mapping[str, Any]) -> Evidence | None:
    """Return what transformers shows of a model type; None where it has none or isn't installed.

    Args:
        given: the checkpoint's config, whose switches the tiny model has.

    Raises:
        ReferenceModelError: a tiny model can't be built or run.
    """
    if not has_reference():
        return None
    torch, transformers = libraries()
    if model_type not in transformers.CONFIG_MAPPING:
        return None
    try:
        # Older names of fields are read as all others, whatever transformers says of them.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            return _evidence(model_type, given, torch, transformers)
    except Exception as e:  # of whatever its code does with sizes that it never had
        text = " ".join(str(e).split()) or type(e).__name__
        raise ReferenceModelError(
            f"transformers {transformers.__version__} can't run a tiny {model_type!r}: {text}"
        ) from e


def _evidence(model_type: str, given: Mapping[str, Any], torch: Any, transformers: Any) -> Evidence:
    usual = transformers.AutoConfig.for_model(model_type)
    with quiet(transformers), torch.no_grad():
        config, model, sparse = tiny_model(model_type, usual.to_dict(), given, torch, transformers)
        ids = torch.arange(1, 8)[None]
        start = time.perf_counter()
        calls = module_calls(model, lambda: run_ids(model, ids))
        check_seconds(time.perf_counter() - start)
        heads = tuple(_heads(model, config, ids, transformers))
        switched = switches(type(model), config, model.state_dict())
        sharing = find_sharing(model, config, ids)
        sines = sine_tables(model)
        layers = layer_fields(model_type, usual.to_dict(), given, transformers)
    saved, experts = saved_names(model, torch)
    ties = ties_of(model)
    evidence = Evidence(
        model_type,
        "/".join(type(model).__module__.split(".")[1:]) + ".py",
        type(model).__name__,
        _prefix(model, heads),
        usual.to_dict(),
        dict(type(usual).attribute_map),
        config.to_dict(),
        _tensors(model),
        calls,
        _epsilons(model),
        _has_padding_position(model),
        heads,
        tuple(inspect.signature(model.forward).parameters),
        switched,
        legacy=older_names(model_type, transformers),
        saved=saved | _saved_heads(model, config, transformers, torch),
        embedding_dropout=embedding_dropout(config, model, ids, transformers),
        shaping=shaping_fields(model_type, usual.to_dict(), given, transformers),
        derived=derived_fields(model_type, usual.to_dict(), transformers),
        unused=unused_tensors(model, ids),
        rms=norms_are_shifted(model, torch),
        feed_forwards=feed_forwards(model_type, transformers),
        gated=gated_tensors(type(model), config),
        ties=ties,
        tie=bool(usual.to_dict().get("tie_word_embeddings", True)),
        ties_tables=bool(ties) and not ties_of(untied_model(model, config)),
        sharing=sharing,
        sines=sines,
        layers=layers,
        idle=idle_fields(config, model, ids),
        scaled_kind=scaled_kind(model_type, transformers),
        widths=absent_widths(type(model), config, model.state_dict()),
        projects=projects_alike(model, config),
        window=switched_window(model_type, usual.to_dict(), transformers),
        sparse=sparse,
        experts=experts,
        attends_ahead=attends_ahead(model, ids),
        version=f"transformers {transformers.__version__}",
    )
    reads = record(evidence, config, model, torch, transformers)
    names = {name for read in reads.modeling.values() for name in read} - evidence.defaults.keys()
    values = {name: _plain(getattr(usual, name, None)) for name in names}
    whole = replace(evidence, reads=reads, properties=values)
    return _with_parts(whole, given, type(model), type(config), torch)


def _has_padding_position(model: Any) -> bool:
    """Return whether a table of positions has a row for padding."""
    tables = [m for n, m in model.named_modules() if "position" in n and hasattr(m, "weight")]
    return any(getattr(table, "padding_idx", None) is not None for table in tables)


def _epsilons(model: Any) -> dict[str, float]:
    found = {index_names(name): norm_epsilon(m) for name, m in model.named_modules()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _with_parts(
    evidence: Evidence, given: Mapping[str, Any], cls: Any, config_class: Any, torch: Any
) -> Evidence:
    """Return the evidence with what further models show: of configs with other values of fields."""
    config, reads = evidence.config, evidence.reads
    read = {*evidence.model_reads}
    absent = {n: v for n, v in (reads.absent if reads else {}).items() if n in read}
    unknown = {n: v for n, v in absent.items() if evidence.properties.get(n) is None}

    def make(fields: Mapping[str, Any]) -> dict[str, TensorInfo]:
        return _tensors(cls(config_class(**{**config, **fields})))

    trials = {n: v for n, v in trials_of(config, evidence.defaults, given, absent) if n in read}
    with torch.no_grad():
        parts = find_parts(make, trials)
        follows = followed_widths(make, config, evidence.defaults, unknown)
    return replace(evidence, parts=parts, follows=follows)


def check_seconds(seconds: float) -> None:
    """Refuse a model that a draft can't wait for, which runs it dozens of times."""
    if seconds > MAX_SECONDS:
        raise InarchError(
            f"one run takes {seconds:.1f} seconds, more than {MAX_SECONDS:.0f}: fields that aren't "
            "known here make it large or slow"
        )


def _plain(value: Any) -> Any:
    """Return a value that a file can hold; None of another, which a file then lacks."""
    return value if isinstance(value, bool | int | float | str | list | dict) else None


def _tensors(model: Any) -> dict[str, TensorInfo]:
    return {name: TensorInfo("F32", tuple(t.shape)) for name, t in model.state_dict().items()}


def _heads(base: Any, config: Any, ids: Any, transformers: Any) -> Iterator[HeadClass]:
    """Iterate over the classes of heads in the base class's module."""
    for cls in _head_classes(base, transformers):
        model = _built(cls, config)
        if model is None:
            continue
        switched = {
            name: HeadClass(cls.__name__, _tensors(other), ties_of(other))
            for name, other in _with_other_switches(cls, config)
            if other.state_dict().keys() != model.state_dict().keys()
        }
        yield HeadClass(
            cls.__name__, _tensors(model), ties_of(model), switched=switched,
            inputs=tuple(inspect.signature(cls.forward).parameters),
            is_per_token=cls.__name__.endswith(JOINT) and _is_per_token(model, ids),
        )  # fmt: skip


def _with_other_switches(cls: Any, config: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over models of a class in which a field of true and false has its other value."""
    fields = config.to_dict()
    own = [n for n, v in fields.items() if isinstance(v, bool) and n not in OF_ALL_MODELS]
    for name in own:
        model = _built(cls, type(config)(**{**fields, name: not fields[name]}))
        if model is not None:
            yield name, model


def _is_per_token(model: Any, ids: Any) -> bool:
    """Return whether a head gives one number for each token."""
    with contextlib.suppress(Exception):  # of a head that takes other inputs
        return tuple(model.eval()(input_ids=ids).logits.shape) == tuple(ids.shape)
    return False


def _prefix(base: Any, heads: Iterable[HeadClass]) -> str:
    """Return what precedes the tensors of a model in files with a head; `""` where nothing does."""
    prefix = f"{base.base_model_prefix}."
    own = [head for head in heads if purpose_of(head.name, PAIRS) in OWN.values()] or heads
    names = [name for head in own for name in head.tensors]
    return prefix if not names or any(name.startswith(prefix) for name in names) else ""


def _head_classes(base: Any, transformers: Any) -> Iterator[Any]:
    module = sys.modules[type(base).__module__]
    for name, cls in vars(module).items():
        is_model = inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)
        has_head = any(purpose_of(name, kind) for kind in KINDS) or name.endswith(JOINT)
        if is_model and cls.__module__ == module.__name__ and has_head:
            yield cls


def _saved_heads(
    base: Any, config: Any, transformers: Any, torch: Any
) -> dict[str, tuple[str, ...]]:
    """Return the tensors of heads that files have under other names."""
    found: dict[str, tuple[str, ...]] = {}
    prefix = f"{base.base_model_prefix}."
    for cls in _head_classes(base, transformers):
        own = copy.deepcopy(config)
        own.tie_word_embeddings = False
        model = _built(cls, own)
        names, _ = ({}, {}) if model is None else saved_names(model, torch)
        found |= {n: parts for n, parts in names.items() if not n.startswith(prefix)}
    return found


def _built(cls: Any, config: Any) -> Any:
    """Return a model of a class, with two labels if it takes no others; None of a class of none."""
    for labels in (LABELS, 2):
        own = copy.deepcopy(config)
        own.num_labels = labels
        with contextlib.suppress(Exception):  # of a head of a task that this config isn't for
            return cls(own)
    return None
